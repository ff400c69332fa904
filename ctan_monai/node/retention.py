"""Remove studies that are old or many; never what is not yet sent."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from pathlib import Path

from ctan_monai.files.atomic import remove_leftovers
from ctan_monai.node.incoming import STORE, Store, short
from ctan_monai.node.journal import Journal
from ctan_monai.node.predict import ANSWERS, JOBS, LOGS
from ctan_monai.node.settings import NodeSettings

_logger = logging.getLogger(__name__)
_DAY_S = 86400.0
_DONE = """
SELECT uid, pseudonym, bytes + (SELECT coalesce(sum(answers.bytes), 0) FROM answers JOIN jobs ON jobs.id = job
    WHERE jobs.study = studies.uid) AS size,
    max(changed, (SELECT coalesce(max(finished), 0) FROM jobs WHERE study = studies.uid), (SELECT coalesce(max(sent), 0)
    FROM deliveries JOIN answers ON answers.uid = answer JOIN jobs ON jobs.id = job WHERE study = studies.uid)) AS last
FROM studies WHERE state = 'taken'
AND NOT EXISTS (SELECT 1 FROM jobs WHERE study = studies.uid AND state IN ('waiting', 'running'))
AND NOT EXISTS (SELECT 1 FROM deliveries JOIN answers ON answers.uid = answer JOIN jobs ON jobs.id = job
    WHERE study = studies.uid AND deliveries.state != 'sent') """
_DELETE = (
    "DELETE FROM deliveries WHERE answer IN"
    " (SELECT answers.uid FROM answers JOIN jobs ON jobs.id = job WHERE study = ?)",
    "DELETE FROM answers WHERE job IN (SELECT id FROM jobs WHERE study = ?)",
    "DELETE FROM job_instances WHERE job IN (SELECT id FROM jobs WHERE study = ?)",
    "DELETE FROM jobs WHERE study = ?",
    "DELETE FROM instances WHERE study = ?",
    "DELETE FROM series WHERE study = ?",
    "DELETE FROM studies WHERE uid = ?",
)


def remove_old(store: Store, now: float) -> int:
    """Remove studies that are sent since more than ``keep_days``, and the oldest above ``keep_gib``.

    A study with an answer that a destination has not got, also one that was given up, stays.

    Args:
        store: of the node.
        now: seconds.

    Returns:
        How many were removed.
    """
    journal, settings = store.journal, store.settings
    done = sorted(journal.rows(_DONE), key=lambda row: row["last"])
    too_old = settings.keep_days * _DAY_S
    total, limit = _total_bytes(journal), settings.keep_gib * 2**30
    removed = 0
    for row in done:
        old = too_old > 0 and row["last"] < now - too_old
        if (old or (limit > 0 and total > limit)) and _remove(store, row["uid"]):
            total -= row["size"]
            removed += 1
            _logger.info("%s: removed, everything of it was sent", row["pseudonym"])
    return removed


def sweep(journal: Journal, settings: NodeSettings) -> None:
    """Delete at the start what a kill left: folders that the journal does not know, and half-written files."""
    known = {short(row["uid"]) for row in journal.rows("SELECT uid FROM studies")}
    numbers = {str(row["id"]) for row in journal.rows("SELECT id FROM jobs")}
    for folder, names in ((STORE, known), (ANSWERS, numbers), (JOBS, set())):
        for path in (settings.folder / folder).glob("*"):
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)
    for row in journal.rows("SELECT uid FROM studies WHERE state = 'receiving'"):
        for series in (settings.folder / STORE / short(row["uid"])).glob("*"):
            remove_leftovers(series)


def _total_bytes(journal: Journal) -> int:
    (row,) = journal.rows(
        "SELECT (SELECT coalesce(sum(bytes), 0) FROM studies) + (SELECT coalesce(sum(bytes), 0) FROM answers) AS total"
    )
    return int(row["total"])


def _remove(store: Store, study: str) -> bool:
    """Remove a study from the journal, then its files; returns False if it is in use after all."""
    with store.removing(study) as free:
        if not free:
            return False
        with store.journal.transaction() as connection:
            if not connection.execute(f"{_DONE} AND uid = ?", (study,)).fetchall():
                return False
            jobs = [row["id"] for row in connection.execute("SELECT id FROM jobs WHERE study = ?", (study,))]
            _delete(connection, study)
        folder = store.settings.folder
        shutil.rmtree(folder / STORE / short(study), ignore_errors=True)
        for number in jobs:
            shutil.rmtree(folder / ANSWERS / str(number), ignore_errors=True)
            Path(folder / LOGS / f"{number}.txt").unlink(missing_ok=True)
    return True


def _delete(connection: sqlite3.Connection, study: str) -> None:
    for command in _DELETE:
        connection.execute(command, (study,))
