"""What a node receives is on the disk and in the journal before success is answered; what it refuses is said."""

import socket
import struct
import subprocess
import time
from contextlib import ExitStack

import pydicom
import pytest
from node_kit import association, ct_files, dcmtk, receiving, settings_in, store, wait_for

from ctan_monai.node import incoming, jobs
from ctan_monai.node.studies import quiet_studies


def stored(journal):
    return journal.rows("SELECT * FROM instances ORDER BY uid")


def test_a_ct_is_stored_as_it_was_sent(tmp_path):
    files = ct_files(tmp_path / "ct")
    settings = settings_in(tmp_path / "node")
    with receiving(settings) as (_, port, journal):
        assert store(port, files) == [0] * 4
        rows = stored(journal)
    sent = {str(each.SOPInstanceUID): each for each in map(pydicom.dcmread, files)}
    assert [row["uid"] for row in rows] == sorted(sent)
    for row in rows:
        found = pydicom.dcmread(settings.folder / row["file"])
        assert found == sent[row["uid"]]
        assert str(found.PatientID) not in row["file"]
    assert (settings.folder / "journal.sqlite").stat().st_mode & 0o777 == 0o600


def test_the_tools_of_dcmtk_are_answered(tmp_path):
    echo, send = dcmtk("echoscu"), dcmtk("storescu")
    files = ct_files(tmp_path / "ct")
    with receiving(settings_in(tmp_path / "node")) as (_, port, journal):
        to = ["-aec", "CTAN_MONAI", "127.0.0.1", str(port)]
        for command in ([echo, *to], [send, "+sd", "+r", *to, str(tmp_path / "ct")]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
        assert len(stored(journal)) == len(files)


def test_an_instance_that_comes_again_is_one(tmp_path):
    files = ct_files(tmp_path / "ct")
    with receiving(settings_in(tmp_path / "node")) as (_, port, journal):
        assert store(port, files + files) == [0] * 8
        (study,) = journal.rows("SELECT count, bytes FROM studies")
        assert study["count"] == 4 == len(stored(journal))
        assert study["bytes"] == sum(row["bytes"] for row in stored(journal))


def test_a_study_is_quiet_after_its_associations_have_ended(tmp_path):
    files = ct_files(tmp_path / "ct")
    with receiving(settings_in(tmp_path / "node")) as (receiver, port, journal):
        with association(port) as made:
            made.send_c_store(pydicom.dcmread(files[0]))
            busy = receiver.busy_studies()
            assert len(busy) == 1
            assert quiet_studies(journal, time.time() + 1, busy) == []
        deadline = time.time() + 5
        while receiver.busy_studies() and time.time() < deadline:
            time.sleep(0.01)
        assert quiet_studies(journal, time.time() + 1, receiver.busy_studies()) == list(busy)
        assert quiet_studies(journal, time.time() - 60, ()) == []


def test_a_study_that_was_coming_when_the_node_ended_is_waited_for_again(tmp_path):
    files = ct_files(tmp_path / "ct", slices=2)
    with receiving(settings_in(tmp_path / "node")) as (_, port, journal):
        assert store(port, files[:1]) == [0]
        later = time.time() + 3600  # the node was down, and the rest could not be sent
        (study,) = quiet_studies(journal, later - 10, ())
        jobs.recover(journal, later)
        assert quiet_studies(journal, later - 10, ()) == []
        assert quiet_studies(journal, later, ()) == [study]


@pytest.mark.parametrize(
    ("limits", "accepted"),
    [
        ({"study_instances": 2}, 2),
        ({"free_mib": 10**8}, 0),
        ({}, 4),
    ],
    ids=["instances of a study", "free space", "none"],
)
def test_what_is_beyond_the_limits_is_refused_as_out_of_resources(limits, accepted, tmp_path):
    files = ct_files(tmp_path / "ct")
    with receiving(settings_in(tmp_path / "node", **limits)) as (receiver, port, journal):
        assert store(port, files) == [0] * accepted + [0xA700] * (4 - accepted)
        assert len(stored(journal)) == accepted
        assert receiver.counts["instances_refused"] == 4 - accepted


def test_a_full_disk_is_answered_and_recovered_from(tmp_path, monkeypatch):
    files = ct_files(tmp_path / "ct")
    settings = settings_in(tmp_path / "node")
    with receiving(settings) as (_, port, journal):

        def full(*_, **__):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as broken:
            broken.setattr(incoming.os, "fsync", full, raising=False)
            assert set(store(port, files)) == {0xA700}
        assert not stored(journal)
        assert not [path for path in (settings.folder / "store").rglob("*") if path.is_file()]
        assert store(port, files) == [0] * 4


def test_a_disk_that_is_slower_than_a_silent_peer_may_be_ends_no_association(tmp_path, monkeypatch):
    files = ct_files(tmp_path / "ct", slices=3)
    with receiving(settings_in(tmp_path / "node", idle_s=0.3)) as (receiver, port, _journal):
        add = receiver.store.add

        def slow(*given):
            time.sleep(0.6)
            return add(*given)

        monkeypatch.setattr(receiver.store, "add", slow)
        assert store(port, files) == [0] * 3


@pytest.mark.parametrize("wrong", [{"title": "OTHER"}, {"calling": "STRANGER"}], ids=["called title", "calling title"])
def test_titles_that_are_not_listed_are_rejected(wrong, tmp_path):
    with receiving(settings_in(tmp_path / "node", callers=("TEST",))) as (_, port, _journal):
        with association(port, **wrong) as made:
            assert made.is_rejected
        with association(port) as made:
            assert made.send_c_echo().Status == 0


def test_addresses_that_are_not_listed_get_no_answer(tmp_path):
    with receiving(settings_in(tmp_path / "node", addresses=("192.0.2.1",))) as (_, port, _journal):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            assert connection.recv(10) == b""
        with association(port) as made:
            assert not made.is_established


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        struct.pack(">BBL", 4, 0, 2**32 - 1),
        struct.pack(">BBL", 1, 0, 200) + b"\0" * 50,
        b"\1",
    ],
    ids=["another protocol", "an endless PDU", "half a PDU", "one byte"],
)
def test_a_broken_connection_is_closed_and_others_go_on(sent, tmp_path, capfd):
    files = ct_files(tmp_path / "ct")
    with (
        receiving(settings_in(tmp_path / "node", idle_s=0.5)) as (receiver, port, _journal),
        socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
    ):
        connection.sendall(sent)
        assert store(port, files) == [0] * 4
        while connection.recv(100):
            pass
        deadline = time.time() + 5
        while receiver.open_associations() and time.time() < deadline:
            time.sleep(0.05)
        assert receiver.open_associations() == 0
    assert "Traceback" not in capfd.readouterr().err


def test_an_instance_that_is_not_the_announced_one_is_refused(tmp_path):
    (file,) = ct_files(tmp_path / "ct", slices=1)
    with receiving(settings_in(tmp_path / "node")) as (_, port, journal), association(port) as made:
        image = pydicom.dcmread(file)
        del image.StudyInstanceUID
        assert made.send_c_store(image).Status == 0xC000
        assert not stored(journal)


@pytest.mark.parametrize("sent", [b"", struct.pack(">BBL", 1, 0, 200) + b"\0" * 50], ids=["nothing", "half a PDU"])
def test_silent_connections_take_nobodys_place(sent, tmp_path):
    (file,) = ct_files(tmp_path / "ct", slices=1)
    settings = settings_in(tmp_path / "node", associations=2, idle_s=60.0)
    with receiving(settings) as (receiver, port, _), ExitStack() as silent:
        for _ in range(settings.associations + 30):  # more than may be connected
            made = silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            made.sendall(sent)
        assert store(port, [file]) == [0]
        wait_for(lambda: receiver.open_associations() <= settings.associations + 20, 5, "the end of those too many")
        silent.close()
        wait_for(lambda: receiver.open_associations() == 0, 5, "the end of their threads")


def test_more_associations_than_allowed_are_rejected_for_now(tmp_path):
    with (
        receiving(settings_in(tmp_path / "node", associations=2)) as (receiver, port, _journal),
        association(port) as first,
    ):
        with association(port) as second, association(port) as third:
            assert (first.is_established, second.is_established, third.is_rejected) == (True, True, True)
        wait_for(lambda: receiver.open_associations() == 1, 5, "the release")
        with association(port) as again:
            assert again.is_established
