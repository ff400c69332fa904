"""Send studies to a node that is killed again and again, and count what arrives where its answers go."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from io import BytesIO

import pydicom
from node_bundle import KINDS, write_bundle
from node_kit import Pacs, association, ct_files, free_port, listens, node_process, wait_for, write_settings

_LIMIT_S = 3600
_NOTICED_S = 2  # until the sender gives an answer up that a killed node owes it; a study rests longer


class Modality(threading.Thread):
    """A sender with a queue: what was acknowledged is never sent again, all else is, until it is."""

    def __init__(self, port, studies):
        super().__init__(daemon=True)
        self.port, self.studies, self.left = port, studies, sum(map(len, studies))

    def run(self):
        """Send all studies, one association each."""
        for files in self.studies:
            queue = list(files)
            while queue:
                with association(self.port, limit_s=_NOTICED_S) as made:
                    while queue and made.is_established:
                        try:
                            status = made.send_c_store(pydicom.dcmread(queue[0])).get("Status")
                        except RuntimeError:  # it ended meanwhile
                            break
                        if status == 0:
                            queue.pop(0)
                            self.left -= 1
                if queue:
                    time.sleep(0.3)


def kill_and_count(folder, studies, kills, seed=0):
    """Send studies while the node is killed at random moments; return what was found at the end.

    Args:
        folder: for everything.
        studies: how many, of three images each.
        kills: with SIGKILL.
        seed: of the moments.

    Returns:
        Counts: ``answered`` studies with each kind of answer once, ``objects`` at the destination, ``again`` (objects
        that came more than once), ``different`` (of those, with other bytes), ``done`` jobs, ``seconds``.
    """
    moments, began = random.Random(seed), time.monotonic()  # noqa: S311
    sent = [ct_files(folder / "ct" / str(number), slices=3) for number in range(studies)]
    bundle, run_dir = write_bundle(folder / "bundle")
    port = free_port()
    rules = [{"bundle": str(bundle), "send_to": ["pacs"]}]
    with Pacs() as pacs:
        destinations = {"pacs": {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}}
        config = write_settings(
            folder / "node.yaml", port=port, destinations=destinations, rules=rules, jobs=2, quiet_s=_NOTICED_S + 3
        )
        modality = Modality(port, sent)
        modality.start()
        for number in range(kills):
            with node_process(config, run_dir, folder / "log.txt"):
                wait_for(lambda: listens(port), 120, "the node's start")
                if number % 2:  # while it receives and predicts
                    time.sleep(moments.uniform(0, 10))
                else:  # while it stores and sends answers
                    wait_for_change(lambda: len(pacs.got), 60)
                    time.sleep(moments.uniform(0, 0.5))
        with node_process(config, run_dir, folder / "log.txt"):
            wait_for(lambda: modality.left == 0, _LIMIT_S, "the sending")
            wait_for(lambda: len(pacs.got) >= studies * len(KINDS), _LIMIT_S, "the answers")
            time.sleep(2)  # whether more comes
    return {**count(pacs.got, sent), **journal_counts(folder), "seconds": time.monotonic() - began}


def wait_for_change(value, seconds):
    """Wait until a value changes, or the time is over."""
    first, end = value(), time.monotonic() + seconds
    while value() == first and time.monotonic() < end:
        time.sleep(0.002)


def count(got, sent):
    """Count what the destination has."""
    by_study = defaultdict(Counter)
    for copies in got.values():
        dataset = pydicom.dcmread(BytesIO(copies[0]), force=True)
        by_study[str(dataset.StudyInstanceUID)][dataset.Modality] += 1
    studies = [str(pydicom.dcmread(files[0]).StudyInstanceUID) for files in sent]
    return {
        "answered": sum(by_study[study] == Counter(KINDS) for study in studies),
        "objects": len(got),
        "again": sum(len(copies) > 1 for copies in got.values()),
        "different": sum(len(set(copies)) > 1 for copies in got.values()),
    }


def journal_counts(folder):
    """Count what the node's journal says."""
    with sqlite3.connect(folder / "node" / "journal.sqlite") as journal:
        done, starts = journal.execute("SELECT sum(state = 'done'), sum(starts) FROM jobs").fetchone()
        (waiting,) = journal.execute("SELECT count(*) FROM deliveries WHERE state != 'sent'").fetchone()
    return {"done": done, "starts": starts, "unsent": waiting}
