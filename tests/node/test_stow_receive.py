"""STOW-RS as a way in keeps the promises of C-STORE: on the disk and in the journal before success is answered."""

import socket
import time

import httpx
import pydicom
import pytest
from node_kit import ct_files, wait_for
from stow_kit import TYPE, body, post, serving
from tls_kit import make_certificates, peer

from ctan_monai.node import stow_receive
from ctan_monai.node.settings import Tls


def uids(answer, tag):
    """Return the UIDs that an answer lists, with the reason of each failure."""
    items = answer.json().get(tag, {}).get("Value", [])
    return {item["00081155"]["Value"][0]: item.get("00081197", {}).get("Value", [0])[0] for item in items}


def test_instances_are_stored_as_they_were_sent(tmp_path):
    files = ct_files(tmp_path / "ct")
    sent = {str(pydicom.dcmread(path).SOPInstanceUID): path.read_bytes() for path in files}
    with serving(tmp_path / "node") as (receiver, store, url):
        answer = post(url, body(files))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/dicom+json"
        assert uids(answer, "00081199") == dict.fromkeys(sent, 0)
        rows = store.journal.rows("SELECT uid, file FROM instances")
        assert receiver.busy_studies() == set()
        assert {row["uid"]: (store.settings.folder / row["file"]).read_bytes() for row in rows} == sent
        assert post(url, body(files)).status_code == 200  # again: passed over
        (study,) = store.journal.rows("SELECT count FROM studies")
        assert study["count"] == 4


def test_what_is_refused_is_told_and_the_rest_stored(tmp_path):
    files = ct_files(tmp_path / "ct")
    study = str(pydicom.dcmread(files[0]).StudyInstanceUID)
    with serving(tmp_path / "node", study_instances=2) as (_, store, url):
        answer = post(url, body([b"no DICOM", *files]), path=f"/studies/{study}")
        assert answer.status_code == 202
        assert len(uids(answer, "00081199")) == 2
        failed = answer.json()["00081198"]["Value"]
        assert [item["00081197"]["Value"] for item in failed] == [[0xC000], [0xA700], [0xA700]]
        other = post(url, body(files[:1]), path="/studies/1.2.3")
        assert (other.status_code, list(uids(other, "00081198").values())) == (409, [0xA900])
        assert len(store.journal.rows("SELECT * FROM instances")) == 2


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"--xx\r\n", TYPE, 400),
        (b"", TYPE, 400),
        (b"--xx--\r\n", TYPE, 400),
        (b"--xx\r\nno end of headers\r\n--xx--\r\n", TYPE, 400),
        (b"--xx\r\n\r\n" + b"x" * (3 * 2**20), TYPE, 413),
        (b"{}", "application/json", 415),
        (b"--xx--", 'multipart/related; type="application/dicom+json"; boundary=xx', 415),
    ],
    ids=["cut", "empty", "no parts", "no headers", "too large", "JSON", "metadata"],
)
def test_what_is_no_multipart_of_instances_is_refused(content, kind, status, tmp_path):
    with serving(tmp_path / "node", instance_mib=1) as (_, store, url):
        assert post(url, content, kind).status_code == status
        assert not store.journal.rows("SELECT * FROM instances")


def test_what_stands_before_a_fault_stays(tmp_path):
    files = ct_files(tmp_path / "ct", slices=2)
    with serving(tmp_path / "node", idle_s=0.5) as (_, store, url):
        assert post(url, body(files)[:-20]).status_code == 400
        assert len(store.journal.rows("SELECT * FROM instances")) == 1
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10) as slow:
            head = f"POST /studies HTTP/1.1\r\nHost: x\r\nContent-Type: {TYPE}\r\nContent-Length: 9999\r\n\r\n--xx"
            slow.sendall(head.encode())
            assert b" 408 " in slow.recv(100)


def test_an_unexpected_fault_refuses_the_instance_without_a_traceback(tmp_path, monkeypatch, capfd):
    files = ct_files(tmp_path / "ct", slices=1)
    with serving(tmp_path / "node") as (_, store, url):

        def broken(*_):
            raise ValueError("Doe^John")

        monkeypatch.setattr(store, "add", broken)
        answer = post(url, body(files))
    assert (answer.status_code, list(uids(answer, "00081198").values())) == (409, [0xC000])
    assert "Doe" not in answer.text
    assert "Traceback" not in capfd.readouterr().err


def test_only_who_has_the_token_or_a_listed_address_may_send(tmp_path):
    files = ct_files(tmp_path / "ct", slices=1)
    (tmp_path / "token").write_text("0123456789abcdef\n")
    with serving(tmp_path / "node", stow_token=tmp_path / "token") as (_, _store, url):
        for wrong in ({}, {"Authorization": "Bearer 0123456789abcdee"}, {"Authorization": "Basic x"}):
            assert post(url, body(files), **wrong).status_code == 401
        assert post(url, body(files), Authorization="Bearer 0123456789abcdef").status_code == 200
    with serving(tmp_path / "other", addresses=("192.0.2.1",)) as (_, store, url):
        assert post(url, body(files)).status_code == 403
        assert not store.journal.rows("SELECT * FROM instances")


def test_with_tls_a_certificate_is_needed(tmp_path):
    made, files = make_certificates(tmp_path / "certificates"), ct_files(tmp_path / "ct", slices=1)
    tls = Tls((made / "ca.pem",), made / "node.pem", made / "node.key")
    with serving(tmp_path / "node", tls=tls) as (_, _store, url):
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"{url}/studies", content=body(files), verify=peer(made), headers={"Content-Type": TYPE})
        given = {"content": body(files), "headers": {"Content-Type": TYPE}}
        assert httpx.post(f"{url}/studies", verify=peer(made, "pacs"), **given).status_code == 200


def test_connections_that_ask_for_nothing_are_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(stow_receive, "_ASKING_S", 0.3)
    with serving(tmp_path / "node") as (_, _store, url):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as silent:
            silent.sendall(b"POST /studies HTTP/1.1\r\n")
            assert silent.recv(10) == b""


def test_a_study_is_busy_while_it_comes(tmp_path):
    files = ct_files(tmp_path / "ct", slices=2)
    with serving(tmp_path / "node") as (receiver, store, url):
        whole = body(files)
        study = str(pydicom.dcmread(files[0]).StudyInstanceUID)

        def slowly():
            yield whole[:-200]
            wait_for(lambda: receiver.busy_studies() == {study}, 10, "the first instance")
            yield whole[-200:]

        before = time.time()
        assert post(url, slowly()).status_code == 200
        wait_for(lambda: not receiver.busy_studies(), 5, "the end")
        (row,) = store.journal.rows("SELECT changed FROM studies")
        assert row["changed"] >= before
