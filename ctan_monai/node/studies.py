"""Studies in the journal: instances come in, a study becomes quiet, and its series become jobs."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

from ctan_monai.node.journal import Journal, add_to_counter
from ctan_monai.node.settings import NodeSettings


@dataclass(frozen=True)
class Received:
    """What the journal keeps of an instance.

    Args:
        uid: SOPInstanceUID.
        sop_class: SOPClassUID.
        series: SeriesInstanceUID.
        study: StudyInstanceUID.
        identity: PatientID, or the study where there is none; never leaves the journal.
        pseudonym: of the study.
        modality: of the series.
        description: of the series; never leaves the journal.
        body_part: examined.
        file: relative to the node's folder.
        size: bytes.
    """

    uid: str
    sop_class: str
    series: str
    study: str
    identity: str
    pseudonym: str
    modality: str
    description: str
    body_part: str
    file: str
    size: int


@dataclass(frozen=True)
class Decision:
    """What was decided about a series.

    Args:
        pseudonym: of the study.
        modality: of the series.
        count: its instances.
        rule: name of the rule that takes it, '' for none.
        grown: it had been predicted with fewer or other instances.
    """

    pseudonym: str
    modality: str
    count: int
    rule: str
    grown: bool


def accept(journal: Journal, found: Received, now: float) -> None:
    """Enter an instance whose file is on the disk; its study waits from now on.

    Args:
        journal: of the node.
        found: the instance; one that the journal has is passed over.
        now: seconds.

    Raises:
        OSError: the disk is full.
    """
    with journal.transaction() as connection:
        connection.execute(
            "INSERT INTO studies (uid, pseudonym, identity, state, changed) VALUES (?, ?, ?, 'receiving', ?)"
            " ON CONFLICT (uid) DO UPDATE SET state = 'receiving', changed = excluded.changed",
            (found.study, found.pseudonym, found.identity, now),
        )
        connection.execute(
            "INSERT INTO series (uid, study, modality, sop_class, description, body_part) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (uid) DO UPDATE SET fresh = 1",
            (found.series, found.study, found.modality, found.sop_class, found.description, found.body_part),
        )
        own = connection.execute("SELECT count(*) FROM answers WHERE uid = ?", (found.uid,)).fetchone()[0]
        added = connection.execute(
            "INSERT OR IGNORE INTO instances (uid, series, study, file, bytes, received, own)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (found.uid, found.series, found.study, found.file, found.size, now, own),
        ).rowcount
        if added:
            connection.execute(
                "UPDATE studies SET count = count + 1, bytes = bytes + ? WHERE uid = ?", (found.size, found.study)
            )
            add_to_counter(connection, "instances")


def touch(journal: Journal, studies: Collection[str], now: float) -> None:
    """Note that an association which sent instances of some studies has ended."""
    with journal.transaction() as connection:
        connection.executemany(
            "UPDATE studies SET changed = ? WHERE uid = ? AND state = 'receiving'", [(now, study) for study in studies]
        )


def quiet_studies(journal: Journal, before: float, busy: Collection[str]) -> list[str]:
    """Return the studies of which nothing came since a time, and which no association is sending.

    Args:
        journal: of the node.
        before: seconds.
        busy: studies of open associations.
    """
    found = journal.rows("SELECT uid FROM studies WHERE state = 'receiving' AND changed <= ?", before)
    return [row["uid"] for row in found if row["uid"] not in busy]


def take(journal: Journal, study: str, settings: NodeSettings, now: float) -> list[Decision]:
    """Make jobs of the series of a study that rules take and whose instances were not predicted yet.

    A series that failed and was sent again is tried again.

    Returns:
        What was decided about the series that are new or have grown.
    """
    decisions = []
    with journal.transaction() as connection:
        (pseudonym,) = connection.execute("SELECT pseudonym FROM studies WHERE uid = ?", (study,)).fetchone()
        fresh = connection.execute("SELECT * FROM series WHERE study = ? AND fresh ORDER BY uid", (study,)).fetchall()
        for series in fresh:
            rows = connection.execute(
                "SELECT uid FROM instances WHERE series = ? AND NOT own ORDER BY uid", (series["uid"],)
            )
            uids = [row["uid"] for row in rows.fetchall()]
            if uids and (made := _decide(connection, study, series, uids, settings, now)) is not None:
                decisions.append(Decision(pseudonym, series["modality"], len(uids), *made))
        connection.execute("UPDATE series SET fresh = 0 WHERE study = ?", (study,))
        connection.execute("UPDATE studies SET state = 'taken' WHERE uid = ?", (study,))
    return decisions


def _decide(
    connection: sqlite3.Connection, study: str, series: sqlite3.Row, uids: list[str], settings: NodeSettings, now: float
) -> tuple[str, bool] | None:
    """Make the job of a series; return the rule and whether it has grown, None if nothing is new."""
    rule = settings.rule_for(series["modality"], series["sop_class"], series["description"], series["body_part"])
    if rule is None:
        if series["note"]:
            return None
        connection.execute("UPDATE series SET note = 'kept: no rule takes it' WHERE uid = ?", (series["uid"],))
        return "", False
    inputs = hash_of(uids)
    earlier = connection.execute("SELECT inputs, state FROM jobs WHERE series = ?", (series["uid"],)).fetchall()
    if inputs in [row["inputs"] for row in earlier if row["state"] != "failed"]:
        return None
    job = connection.execute(
        "INSERT INTO jobs (study, series, rule, inputs, state, created, grown) VALUES (?, ?, ?, ?, 'waiting', ?, ?)",
        (study, series["uid"], rule.name, inputs, now, bool(earlier)),
    ).lastrowid
    connection.executemany("INSERT INTO job_instances VALUES (?, ?)", [(job, uid) for uid in uids])
    connection.execute("UPDATE series SET note = '' WHERE uid = ?", (series["uid"],))
    return rule.name, bool(earlier)


def hash_of(uids: Collection[str]) -> str:
    """Hash a set of UIDs."""
    return hashlib.sha256("\n".join(sorted(uids)).encode()).hexdigest()
