"""TLS with the certificates of docs/dicom-node.md: who has none that its authority signed does not get in."""

import socket
import ssl
import subprocess
from dataclasses import replace

import pytest
import yaml
from node_kit import Pacs, answered_store, association, ct_files, dcmtk, receiving, settings_in, states, store
from tls_kit import make_certificates, peer, write_self_signed

from ctan_monai.errors import ConfigError
from ctan_monai.node.check import call, entry_for, replay_folder
from ctan_monai.node.send import Sender
from ctan_monai.node.settings import Destination, Tls
from ctan_monai.node.settings_file import read_settings


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the page's certificates, and one that nobody signed."""
    folder = make_certificates(tmp_path_factory.mktemp("certificates"))
    write_self_signed(folder, "stranger")
    return folder


def own(folder, **other):
    return Tls((folder / "ca.pem",), folder / "node.pem", folder / "node.key", **other)


def test_who_has_a_certificate_gets_in_and_nobody_else(made, tmp_path, capfd):
    files = ct_files(tmp_path / "ct")
    settings = settings_in(tmp_path / "node", tls=own(made), idle_s=60.0)
    stranger = peer(made)
    stranger.load_cert_chain(made / "stranger.pem", made / "stranger.key")
    older = peer(made, "pacs", newest=ssl.TLSVersion.TLSv1_1)
    with receiving(settings) as (_, port, journal), socket.create_connection(("127.0.0.1", port)):  # silent
        for wrong in (None, peer(made), stranger, older):
            with association(port, tls=wrong) as refused:
                assert not refused.is_established
        assert store(port, files, tls=peer(made, "pacs")) == [0] * 4
        assert len(journal.rows("SELECT * FROM instances")) == 4
    assert "Traceback" not in capfd.readouterr().err


def test_the_tools_of_dcmtk_are_answered(made, tmp_path):
    echo, send = dcmtk("echoscu"), dcmtk("storescu")
    files = ct_files(tmp_path / "ct")
    with receiving(settings_in(tmp_path / "node", tls=own(made))) as (_, port, journal):
        to = ["+cf", str(made / "ca.pem"), "-aec", "CTAN_MONAI", "localhost", str(port)]
        shown = ["+tls", str(made / "pacs.key"), str(made / "pacs.pem")]
        for command in ([echo, *shown, *to], [send, "+sd", "+r", *shown, *to, str(tmp_path / "ct")]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
        assert subprocess.run([echo, "+tla", *to], capture_output=True, timeout=60).returncode != 0
        assert len(journal.rows("SELECT * FROM instances")) == len(files)


def test_answers_go_to_a_destination_with_tls(made, tmp_path):
    store, _ = answered_store(tmp_path, retry_s=0.0)
    wrong = {
        "not accepted": own(made, name="elsewhere"),
        "signed this node's": Tls((made / "ca.pem",)),
        "self-signed": replace(own(made), ca=(made / "stranger.pem",)),
    }
    with Pacs(tls=peer(made, "pacs", server=True)) as pacs:
        to = Destination("pacs", "PACS", "localhost", pacs.port, own(made))
        for words, files in wrong.items():
            assert Sender(store.journal, store.settings, replace(to, tls=files)).work()
            reasons = {row["reason"] for row in store.journal.rows("SELECT reason FROM deliveries")}
            assert all(words in reason for reason in reasons), reasons
        assert states(store) == ["waiting"] * 2
        assert not pacs.got
        assert Sender(store.journal, store.settings, to).work()
        assert states(store) == ["sent"] * 2
        any_name = replace(to, host="127.0.0.1", tls=own(made, name="*"))
        assert call(store.settings, any_name) == ""
        assert "TLS" in call(store.settings, replace(to, tls=wrong["self-signed"]))


def test_replay_shows_the_certificate_of_the_node(made, tmp_path):
    ct_files(tmp_path / "ct")
    settings = settings_in(tmp_path / "node", tls=own(made))
    assert str(made / "ca.pem") in entry_for(settings)
    with receiving(settings) as (_, port, _journal):
        assert replay_folder(tmp_path / "ct", replace(settings, port=port), "127.0.0.1") == (4, {})


@pytest.fixture
def write(made, tmp_path):
    """Return a function that writes settings with files of TLS beside the certificates."""
    write_self_signed(tmp_path, "expired", first=-3, last=-1)
    write_self_signed(tmp_path, "early", first=2, last=3)
    write_self_signed(tmp_path, "secret", password=b"x")
    (tmp_path / "empty").touch()
    for name in ("ca.pem", "node.pem", "node.key", "pacs.key"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.yaml").touch()
    (tmp_path / "model.pt").touch()

    def write(changed, destination=False):
        tls = {"certificate": "node.pem", "key": "node.key", "ca": ["ca.pem"], **changed}
        tls = {name: value for name, value in tls.items() if value is not None}
        pacs = {"ae_title": "PACS", "host": "localhost", "port": 1, **({"tls": tls} if destination else {})}
        content = {"folder": "node", "destinations": {"pacs": pacs}, **({} if destination else {"tls": tls})}
        content["rules"] = [{"run": ".", "bundle": ".", "send_to": []}]
        (tmp_path / "node.yaml").write_text(yaml.safe_dump(content))
        return read_settings(tmp_path / "node.yaml")

    return write


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"certificate": "none.pem"}, "none.pem cannot be read (No such file or directory)"),
        ({"certificate": "empty"}, "empty holds no certificate"),
        ({"certificate": "configs"}, "configs cannot be read (Is a directory)"),
        ({"certificate": "expired.pem", "key": "expired.key"}, "expired.pem has expired on"),
        ({"certificate": "early.pem", "key": "early.key"}, "early.pem is valid from"),
        ({"certificate": "secret.pem", "key": "secret.key"}, "secret.key has a password"),
        ({"key": "node.pem"}, "node.pem holds no key"),
        ({"key": "pacs.key"}, "does not belong to"),
        ({"key": None}, "tls: key: it is missing"),
        ({"ca": []}, "tls: ca: nobody's certificate would be trusted"),
        ({"ca": ["ca.pem", "expired.pem"]}, "expired.pem has expired on"),
        ({"cipher": "x"}, "tls: cipher: there is no such entry"),
    ],
)
@pytest.mark.parametrize("destination", [False, True], ids=["node", "destination"])
def test_files_that_cannot_be_used_are_named_at_the_start(changed, named, destination, write):
    with pytest.raises(ConfigError) as refused:
        write(changed, destination)
    assert named in str(refused.value)
    assert f"node.yaml: {'destinations: pacs: ' if destination else ''}tls: " in str(refused.value)
    assert "Remedy: " in str(refused.value)


def test_settings_hold_the_files(write, tmp_path):
    assert write({}).tls == Tls((tmp_path / "ca.pem",), tmp_path / "node.pem", tmp_path / "node.key")
    without = write({"certificate": None, "key": None, "name": "pacs.example"}, destination=True)
    assert without.destinations["pacs"].tls == Tls((tmp_path / "ca.pem",), name="pacs.example")
