"""Deliveries in the journal: which answer is still to be sent where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ctan_monai.node.journal import Journal, add_to_counter

_LONGEST_S = 600.0


@dataclass(frozen=True)
class Delivery:
    """An answer that a destination has not got yet.

    Args:
        answer: SOPInstanceUID.
        pseudonym: of the study.
        kind: modality of the answer.
        sop_class: SOPClassUID.
        syntax: TransferSyntaxUID.
        file: relative to the node's folder.
        destination: name.
        attempts: so many before.
        since: seconds, when it was first to be sent.
    """

    answer: str
    pseudonym: str
    kind: str
    sop_class: str
    syntax: str
    file: Path
    destination: str
    attempts: int
    since: float


def due(journal: Journal, destination: str, now: float, at_most: int = 200) -> list[Delivery]:
    """Return the answers to send to a destination now, in the order of their references."""
    rows = journal.rows(
        "SELECT answer, pseudonym, kind, answers.sop_class, syntax, file, destination, attempts, since"
        " FROM deliveries JOIN answers ON answers.uid = answer JOIN jobs ON jobs.id = job"
        " JOIN studies ON studies.uid = study"
        " WHERE destination = ? AND deliveries.state = 'waiting' AND next <= ? ORDER BY job, place LIMIT ?",
        destination,
        now,
        at_most,
    )
    return [Delivery(**{**dict(row), "file": Path(row["file"])}) for row in rows]


def sent(journal: Journal, delivery: Delivery, now: float, note: str = "") -> None:
    """Note that a destination has an answer."""
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE deliveries SET state = 'sent', sent = ?, attempts = attempts + 1, reason = ?"
            " WHERE answer = ? AND destination = ?",
            (now, note, delivery.answer, delivery.destination),
        )
        add_to_counter(connection, "answers_sent")


def postpone(
    journal: Journal, delivery: Delivery, reason: str, retry_s: float, give_up_after_h: float, now: float
) -> float | None:
    """Note that an answer could not be sent.

    Args:
        journal: of the node.
        delivery: the answer.
        reason: why.
        retry_s: first wait; it doubles up to ten minutes.
        give_up_after_h: hours; 0: never.
        now: seconds.

    Returns:
        Seconds until it is tried again, None if it was given up.
    """
    wait = min(retry_s * 2.0 ** min(delivery.attempts, 20), max(_LONGEST_S, retry_s))
    over = give_up_after_h > 0 and now + wait > delivery.since + give_up_after_h * 3600
    with journal.transaction() as connection:
        connection.execute(
            "UPDATE deliveries SET state = ?, attempts = attempts + 1, next = ?, reason = ?"
            " WHERE answer = ? AND destination = ?",
            ("given up" if over else "waiting", now + wait, reason, delivery.answer, delivery.destination),
        )
        add_to_counter(connection, "sends_failed")
    return None if over else wait
