"""What strangers and broken senders send does no harm: nothing acknowledged is lost, no traceback, memory stays."""

import random
import socket
import struct
import threading
import time
from pathlib import Path

import pydicom
import pytest
from node_kit import (
    association,
    ct_files,
    listens,
    make_run,
    node_process,
    receiving,
    settings_in,
    store,
    wait_for,
    write_settings,
)

from ctan_monai.node.incoming import NO_MATCH, NO_SPACE, NOT_UNDERSTOOD
from ctan_monai.node.logs import silence_others

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Log as the node does."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    silence_others()


def split(content):
    """Return preamble with meta information, and data set, of a file's bytes."""
    end = 144 + int.from_bytes(content[140:144], "little")
    return content[:end], content[end:]


def mutate(dataset, chance):
    """Damage a data set: change, cut, repeat or insert bytes, or say another length."""
    data, at = bytearray(dataset), chance.randrange(min(len(dataset), 900))
    match chance.randrange(5):
        case 0:
            for _ in range(chance.randint(1, 8)):
                data[chance.randrange(len(data))] = chance.randrange(256)
        case 1:
            del data[at:]
        case 2:
            data[at:at] = data[at : at + chance.randint(1, 200)]
        case 3:
            data[at:at] = chance.randbytes(chance.randint(1, 50))
        case 4:
            data[at : at + 4] = struct.pack("<L", chance.choice([0xFFFFFFFF, 0xFFFFFFFE, 2**31, 0, 7]))
    return bytes(data)


@pytest.mark.promise(9, "mutated data sets are stored as they were sent or refused, without a traceback")
@pytest.mark.timeout(3600)
def test_mutated_data_sets_do_no_harm(tmp_path, count, record, capfd):
    total, chance = count(150, 5000), random.Random(1)  # noqa: S311
    (file,) = ct_files(tmp_path / "ct", slices=1)
    head, dataset = split(file.read_bytes())
    sent, statuses, path = {}, [], tmp_path / "mutant.dcm"
    with receiving(settings_in(tmp_path / "node", idle_s=60.0)) as (_, port, journal):
        while len(statuses) < total:
            with association(port) as made:
                while made.is_established and len(statuses) < total:
                    body = mutate(dataset, chance)
                    path.write_bytes(head + body)
                    status = made.send_c_store(path).get("Status")
                    statuses.append(status)
                    if status == 0:
                        sent.setdefault(str(pydicom.dcmread(file).SOPInstanceUID), body)
        good = ct_files(tmp_path / "good", slices=2)
        assert store(port, good) == [0, 0]
        rows = {row["uid"]: row["file"] for row in journal.rows("SELECT uid, file FROM instances")}
    assert set(statuses) <= {0, NO_MATCH, NOT_UNDERSTOOD, NO_SPACE}
    assert set(rows) == {*sent, *(str(pydicom.dcmread(each).SOPInstanceUID) for each in good)}
    for uid, body in sent.items():  # the first that was acknowledged stays
        assert (tmp_path / "node" / rows[uid]).read_bytes().endswith(body)
    assert "Traceback" not in capfd.readouterr().err
    stored = statuses.count(0)
    record(f"{total} data sets: {stored} stored, {total - stored} refused, all associations kept")


class Broken(threading.Thread):
    """A peer that breaks the protocol in one way, again and again."""

    def __init__(self, port, kind, files, stop):
        super().__init__(daemon=True)
        self.port, self.kind, self.files, self.stop = port, kind, files, stop

    def run(self):
        """Break it until told to stop."""
        while not self.stop.wait(0.3):
            try:
                getattr(self, self.kind)()
            except (OSError, RuntimeError):
                continue

    def half(self):
        """Send half a PDU, and stay."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(struct.pack(">BBL", 1, 0, 200) + bytes(50))
            self.stop.wait(1)

    def endless(self):
        """Announce a PDU of 4 GiB, and send some of it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(struct.pack(">BBL", 4, 0, 2**32 - 1) + bytes(2**16))

    def abort(self):
        """Abort in the middle of an instance."""
        with association(self.port) as made:
            if made.is_established:
                sender = threading.Thread(target=self._send, args=(made,), daemon=True)
                sender.start()
                time.sleep(0.002)
                made.dul.socket.close()
                sender.join(5)

    def _send(self, made):
        try:
            made.send_c_store(pydicom.dcmread(self.files[0]))
        except (OSError, RuntimeError, AttributeError, ValueError):
            return

    def title(self):
        """Call another title."""
        with association(self.port, title="NOBODY"):
            pass


@pytest.mark.promise(9, "many peers at once, half of them broken: every acknowledged instance is stored")
def test_broken_peers_among_good_ones_lose_nothing(tmp_path, count, record, capfd):
    good, broken = count(4, 25), count(4, 25)
    sets = [ct_files(tmp_path / str(number), slices=4) for number in range(good)]
    left, stop = [list(files) for files in sets], threading.Event()
    with receiving(settings_in(tmp_path / "node", associations=20, idle_s=2.0)) as (receiver, port, journal):
        kinds = ("half", "endless", "abort", "title")
        peers = [Broken(port, kinds[number % 4], sets[0], stop) for number in range(broken)]
        senders = [threading.Thread(target=send_all, args=(port, files), daemon=True) for files in left]
        for thread in peers + senders:
            thread.start()
        wait_for(lambda: not any(left), 500, "the sending")
        stop.set()
        for thread in peers + senders:
            thread.join(20)
        wait_for(lambda: receiver.open_associations() == 0, 20, "the end of all associations")
        rows = {row["uid"]: row["file"] for row in journal.rows("SELECT uid, file FROM instances")}
        refused = dict(receiver.counts)
    expected = {str(image.SOPInstanceUID): image for files in sets for image in map(pydicom.dcmread, files)}
    assert rows.keys() == expected.keys()
    for uid, file in rows.items():
        assert pydicom.dcmread(tmp_path / "node" / file) == expected[uid]
    leftovers = [path for path in Path(tmp_path / "node").rglob("*.part-*")]
    assert not leftovers
    assert "Traceback" not in capfd.readouterr().err
    record(f"{good} good and {broken} broken peers: {len(rows)} of {len(expected)} instances, {refused}")


def send_all(port, queue):
    """Send files until all are acknowledged."""
    while queue:
        with association(port) as made:
            while queue and made.is_established:
                try:
                    if made.send_c_store(pydicom.dcmread(queue[0])).get("Status") == 0:
                        queue.pop(0)
                except (RuntimeError, ValueError):
                    break
        time.sleep(0.05)


def memory_mib(pid):
    """Return the resident memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory in /proc")
@pytest.mark.promise(9, "a node's memory stays over the studies that it receives")
@pytest.mark.timeout(3600)
def test_memory_stays(tmp_path, count, record):
    studies = count(40, 1000)
    run_dir = make_run(tmp_path / "run")
    config = write_settings(tmp_path / "node.yaml", quiet_s=0.5, rules=[
        {"bundle": str(Path(__file__).parents[2] / "bundles" / "prostate"), "modality": "MR", "send_to": []}
    ])  # fmt: skip
    port = int(next(line for line in config.read_text().splitlines() if line.startswith("port:")).split()[1])
    (file,) = ct_files(tmp_path / "ct", slices=1, rows=256, columns=256)
    image = pydicom.dcmread(file)
    with node_process(config, run_dir, tmp_path / "log.txt") as process:
        wait_for(lambda: listens(port), 120, "the node's start")
        used = []
        for number in range(studies):
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                setattr(image, name, f"2.25.{number + 1}{len(name)}")
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            path = tmp_path / "sent.dcm"
            image.save_as(path)
            assert store(port, [path]) == [0]
            used.append(memory_mib(process.pid))
    early, late = max(used[: studies // 4]), used[-1]
    record(f"{studies} studies: {early:.0f} MiB at most in the first quarter, {late:.0f} MiB at the end")
    assert late < early * 1.1 + 10
