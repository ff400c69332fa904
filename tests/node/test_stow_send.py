"""Answers go to a STOW-RS service as they go by C-STORE: again and again until it has them, byte for byte."""

import json

from node_kit import answered_store, states
from orthanc_kit import DICOMWEB, orthanc
from stow_kit import serving

from ctan_monai.node.check import call
from ctan_monai.node.send import Sender
from ctan_monai.node.settings import Destination


def send(store, **destination):
    """Let a sender work once; returns the states of its deliveries and the reasons."""
    to = Destination("pacs", **destination)
    assert Sender(store.journal, store.settings, to).work()
    return states(store), {row["reason"] for row in store.journal.rows("SELECT reason FROM deliveries")}


def test_orthanc_gets_the_answers(tmp_path):
    store, files = answered_store(tmp_path, retry_s=0.0)
    with orthanc(tmp_path / "orthanc", plugins=[DICOMWEB], DicomWeb={"Enable": True, "Root": "/dicom-web/"}) as pacs:
        url = f"http://127.0.0.1:{pacs.http}/dicom-web"
        assert call(store.settings, Destination("pacs", url=url)) == ""
        assert send(store, url=f"{url}/") == (["sent", "sent"], {""})
        found = [pacs.file(instance) for instance in json.loads(pacs.ask("/instances"))]
    assert sorted(found) == sorted(path.read_bytes() for path in files)


def test_a_service_that_is_down_or_refuses_gets_the_bytes_later(tmp_path):
    store, files = answered_store(tmp_path / "sender", retry_s=0.0)
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "wrong").write_text("0123456789abcdee")
    with serving(tmp_path / "node", stow_token=tmp_path / "token", study_instances=1) as (_, other, url):
        to = Destination("pacs", url=url, token=tmp_path / "wrong")
        assert "401" in call(store.settings, to)
        assert send(store, url=url, token=tmp_path / "wrong")[1] == {"it was refused with status 401"}
        right = Destination("pacs", url=url, token=tmp_path / "token")
        assert call(store.settings, right) == ""
        sent, reasons = send(store, url=url, token=tmp_path / "token")
        assert sorted(sent) == ["sent", "waiting"]
        assert reasons == {"", "it was refused with status 409 (A700)"}
        (row,) = other.journal.rows("SELECT uid, file FROM instances")
        content = (other.settings.folder / row["file"]).read_bytes()
        assert content in [path.read_bytes() for path in files]
    sent, reasons = send(store, url=url, token=tmp_path / "token")
    assert sorted(sent) == ["sent", "waiting"]
    assert any("it cannot be reached" in reason for reason in reasons)
    assert "it cannot be reached" in call(store.settings, right)
