"""Jobs and their answers in the journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctan_monai.node.journal import Journal, add_to_counter

CRASHES_MAX = 3


@dataclass(frozen=True)
class Answer:
    """A stored answer.

    Args:
        uid: SOPInstanceUID.
        kind: modality, as RTSTRUCT.
        sop_class: SOPClassUID.
        syntax: TransferSyntaxUID.
        file: relative to the node's folder.
        size: bytes.
        sha256: of the file.
    """

    uid: str
    kind: str
    sop_class: str
    syntax: str
    file: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Job:
    """A prediction to make.

    Args:
        id: number.
        pseudonym: of the study.
        rule: name.
        inputs: UIDs and files of the instances, sorted by UID.
    """

    id: int
    pseudonym: str
    rule: str
    inputs: tuple[tuple[str, Path], ...]


def recover(journal: Journal, now: float) -> int:
    """Go on after a stop or a kill: what was running waits again, and what was given up is sent again.

    Studies that were coming are quiet from now on at the earliest: who sent them could not go on meanwhile.

    Returns:
        How many jobs had been running.
    """
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE deliveries SET state = 'waiting', since = ?, next = ?, attempts = 0 WHERE state = 'given up'",
            (now, now),
        )
        connection.execute("UPDATE deliveries SET next = ? WHERE state = 'waiting'", (now,))
        connection.execute("UPDATE studies SET changed = ? WHERE state = 'receiving'", (now,))
        return connection.execute("UPDATE jobs SET state = 'waiting' WHERE state = 'running'").rowcount


def start_next(journal: Journal, now: float) -> Job | None:
    """Start the job that waits longest, those first that were started least; None if none waits."""
    with journal.transaction() as connection:
        row = connection.execute(
            "SELECT jobs.*, pseudonym FROM jobs JOIN studies ON studies.uid = jobs.study"
            " WHERE jobs.state = 'waiting' ORDER BY starts, id LIMIT 1"
        ).fetchone()
        if row is None:
            return None
        connection.execute(
            "UPDATE jobs SET state = 'running', starts = starts + 1, started = ? WHERE id = ?", (now, row["id"])
        )
        files = connection.execute(
            "SELECT instances.uid, file FROM job_instances JOIN instances ON instances.uid = instance"
            " WHERE job = ? ORDER BY instances.uid",
            (row["id"],),
        ).fetchall()
    return Job(row["id"], row["pseudonym"], row["rule"], tuple((each["uid"], Path(each["file"])) for each in files))


def finish(
    journal: Journal, job: Job, answers: Sequence[Answer], destinations: Collection[str], note: str, now: float
) -> None:
    """Enter the answers of a job, whose files are on the disk; from now on they are to be sent.

    An answer that the journal has already, of the same instances and weights, stays as it is.
    """
    with journal.transaction() as connection:
        for place, answer in enumerate(answers):
            connection.execute(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (answer.uid, job.id, answer.kind, answer.sop_class, answer.syntax, answer.file, answer.size,
                 answer.sha256, place),
            )  # fmt: skip
            connection.executemany(
                "INSERT OR IGNORE INTO deliveries (answer, destination, state, since, next)"
                " VALUES (?, ?, 'waiting', ?, ?)",
                [(answer.uid, name, now, now) for name in destinations],
            )
        _end(connection, job, "done", note, now)


def fail(journal: Journal, job: Job, reason: str, now: float) -> None:
    """End a job that cannot be predicted, with the reason that people will see."""
    with journal.transaction() as connection:
        _end(connection, job, "failed", reason, now)


def crash(journal: Journal, job: Job, reason: str, now: float) -> bool:
    """Note that the process of a job broke down; after `CRASHES_MAX` times the job has failed.

    Returns:
        Whether it is tried again.
    """
    with journal.transaction() as connection:
        (crashes,) = connection.execute("SELECT crashes + 1 FROM jobs WHERE id = ?", (job.id,)).fetchone()
        if crashes >= CRASHES_MAX:
            _end(connection, job, "failed", f"{reason} {crashes} times.", now)
            return False
        connection.execute("UPDATE jobs SET state = 'waiting', crashes = ? WHERE id = ?", (crashes, job.id))
        return True


def put_back(journal: Journal, job: Job) -> None:
    """Let a job wait that was stopped with the node, or by a full disk."""
    with journal.transaction() as connection:
        connection.execute("UPDATE jobs SET state = 'waiting' WHERE id = ? AND state = 'running'", (job.id,))


def _end(connection: sqlite3.Connection, job: Job, state: str, reason: str, now: float) -> None:
    connection.execute("UPDATE jobs SET state = ?, reason = ?, finished = ? WHERE id = ?", (state, reason, now, job.id))
    add_to_counter(connection, f"jobs_{state}")
