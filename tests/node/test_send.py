"""Answers are sent until they have arrived, byte for byte, and nothing that is not sent is removed."""

import time

import pydicom
import pytest
from node_kit import Pacs, answered_store, ct_files, free_port, make_store, settings_in, states, wait_for

from ctan_monai.node import jobs
from ctan_monai.node.deliveries import Delivery, due, postpone
from ctan_monai.node.retention import remove_old
from ctan_monai.node.send import Sender
from ctan_monai.node.studies import take


@pytest.fixture
def answered(tmp_path):
    """Return a function that makes a store whose one study was predicted."""
    return lambda **settings: answered_store(tmp_path, **settings)


def dataset_of(path):
    """Return the encoded data set of a file: what follows the group of meta information."""
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


def test_a_destination_that_was_down_gets_the_stored_bytes_when_it_is_back(answered):
    port = free_port()
    store, files = answered(pacs_port=port, retry_s=0.01)
    sender = Sender(store.journal, store.settings, store.settings.destinations["pacs"])
    assert sender.work()
    assert states(store) == ["waiting", "waiting"]
    (reason,) = {row["reason"] for row in store.journal.rows("SELECT reason FROM deliveries")}
    assert "cannot be reached" in reason
    with Pacs(port=port) as pacs:
        pacs.status = 0xA700  # its disk is full
        wait_for(sender.work, 5, "the next attempt")
        assert states(store) == ["waiting", "waiting"]
        pacs.status = 0
        wait_for(lambda: sender.work() and states(store) == ["sent", "sent"], 5, "the delivery")
        assert not sender.work()
    assert [len(copies) for copies in pacs.got.values()] == [1, 1]
    for number, path in enumerate(files, 1):
        (copy,) = pacs.got[f"2.25.{number}"]
        assert copy.endswith(dataset_of(path))


def test_the_wait_doubles_up_to_ten_minutes_and_ends_when_it_is_to(answered):
    store, _ = answered()
    (first, _) = due(store.journal, "pacs", time.time())

    def wait(attempts, since=0.0, hours=0.0):
        tried = Delivery(**{**vars(first), "attempts": attempts, "since": since})
        return postpone(store.journal, tried, "down", 10.0, hours, now=1000.0)

    assert [wait(attempts) for attempts in range(8)] == [10, 20, 40, 80, 160, 320, 600, 600]
    assert wait(10**6) == 600
    assert wait(0, since=1000.0, hours=1.0) == 10
    assert wait(0, since=-3000.0, hours=1.0) is None
    assert states(store) == ["given up", "waiting"]
    jobs.recover(store.journal, time.time())
    assert states(store) == ["waiting", "waiting"]


@pytest.mark.promise(9, "retention by age and size never removes a study of which an answer is not sent")
@pytest.mark.parametrize("limit", [{"keep_days": 1.0}, {"keep_days": 0.0, "keep_gib": 1e-9}], ids=["age", "size"])
def test_only_what_is_sent_is_removed(limit, answered):
    store, _ = answered(**limit)
    later = time.time() + 10 * 86400
    assert remove_old(store, later) == 0
    with Pacs(port=0) as pacs:
        destination = type(store.settings.destinations["pacs"])("pacs", "PACS", "127.0.0.1", pacs.port)
        Sender(store.journal, store.settings, destination).work()
    assert states(store) == ["sent", "sent"]
    if limit["keep_days"]:
        assert remove_old(store, time.time()) == 0
    assert remove_old(store, later) == 1
    assert not [path for path in store.settings.folder.rglob("*.dcm")]
    for table in ("studies", "series", "instances", "jobs", "answers", "deliveries"):
        assert not store.journal.rows(f"SELECT * FROM {table}"), table  # noqa: S608


def test_a_series_that_grows_or_comes_again_after_a_failure_is_a_new_job(tmp_path):
    store = make_store(settings_in(tmp_path / "node"))
    images = [(path, pydicom.dcmread(path)) for path in ct_files(tmp_path / "ct", slices=3)]

    def send_and_take(some):
        for path, image in some:
            store.add(b"", path.read_bytes(), str(image.SOPClassUID), str(image.SOPInstanceUID))
        study = str(images[0][1].StudyInstanceUID)
        return [(each.count, each.grown) for each in take(store.journal, study, store.settings, time.time())]

    assert send_and_take(images[:2]) == [(2, False)]
    assert send_and_take(images[:2]) == []
    assert send_and_take(images) == [(3, True)]
    assert send_and_take([]) == []
    while job := jobs.start_next(store.journal, time.time()):
        jobs.fail(store.journal, job, "it lacks slices.", time.time())
    assert send_and_take([]) == []
    assert send_and_take(images[:1]) == [(3, True)]
