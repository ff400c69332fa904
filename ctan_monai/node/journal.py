"""Journal of a DICOM node: a SQLite database of what was received, predicted and sent."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ctan_monai.errors import DataError, cannot_write

JOURNAL_FILE = "journal.sqlite"
_VERSION = 1
_SCHEMA = """
CREATE TABLE studies (
    uid TEXT PRIMARY KEY, pseudonym TEXT NOT NULL, identity TEXT NOT NULL, state TEXT NOT NULL,  -- receiving, taken
    changed REAL NOT NULL, count INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, note TEXT DEFAULT '');
CREATE TABLE series (
    uid TEXT PRIMARY KEY, study TEXT NOT NULL REFERENCES studies, modality TEXT, sop_class TEXT, description TEXT,
    body_part TEXT, fresh INTEGER NOT NULL DEFAULT 1, note TEXT DEFAULT '');  -- fresh: something came for it
CREATE TABLE instances (
    uid TEXT PRIMARY KEY, series TEXT NOT NULL REFERENCES series, study TEXT NOT NULL, file TEXT NOT NULL,
    bytes INTEGER NOT NULL, received REAL NOT NULL, own INTEGER NOT NULL DEFAULT 0);
CREATE INDEX instances_series ON instances (series);
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, study TEXT NOT NULL REFERENCES studies, series TEXT NOT NULL,
    rule TEXT NOT NULL, inputs TEXT NOT NULL, state TEXT NOT NULL,  -- waiting, running, done, failed
    reason TEXT DEFAULT '', starts INTEGER NOT NULL DEFAULT 0, crashes INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL, started REAL, finished REAL, grown INTEGER NOT NULL DEFAULT 0);
CREATE INDEX jobs_series ON jobs (series);
CREATE INDEX jobs_state ON jobs (state);
CREATE TABLE job_instances (job INTEGER NOT NULL REFERENCES jobs, instance TEXT NOT NULL, PRIMARY KEY (job, instance));
CREATE TABLE answers (
    uid TEXT PRIMARY KEY, job INTEGER NOT NULL REFERENCES jobs, kind TEXT NOT NULL, sop_class TEXT NOT NULL,
    syntax TEXT NOT NULL, file TEXT NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, place INTEGER NOT NULL);
CREATE INDEX answers_job ON answers (job);
CREATE TABLE deliveries (
    answer TEXT NOT NULL REFERENCES answers, destination TEXT NOT NULL, state TEXT NOT NULL,  -- waiting, sent, given up
    attempts INTEGER NOT NULL DEFAULT 0, since REAL NOT NULL, next REAL NOT NULL, reason TEXT DEFAULT '', sent REAL,
    PRIMARY KEY (answer, destination));
CREATE INDEX deliveries_state ON deliveries (destination, state, next);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


class Journal:
    """What a node knows, in one file that only its owner can read (SQLite with a write-ahead log, synced).

    Every change is a transaction: after a kill at any moment the file holds the state before or after it.

    Args:
        folder: of the node.

    Raises:
        DataError: the file cannot be opened, is damaged, or of another version.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL_FILE
        self._lock = threading.RLock()
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30)
            self._connection.row_factory = sqlite3.Row
            for name, value in (("journal_mode", "WAL"), ("synchronous", "FULL"), ("foreign_keys", "ON")):
                self._connection.execute(f"PRAGMA {name} = {value}")
            found = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                self._connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        except OSError as error:
            raise cannot_write(self.path, error) from error
        except sqlite3.Error as error:
            raise DataError(
                self.path, None, f"the journal cannot be opened ({error}).", "Restore it, or give a new folder."
            ) from error
        if found not in (0, _VERSION):
            reason = f"the journal is of version {found}, expected {_VERSION}."
            raise DataError(self.path, None, reason, "Use the version of ctan_monai that wrote it, or a new folder.")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Change the journal as a whole or not at all; one thread at a time.

        Raises:
            OSError: the disk is full or fails, as for other files.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                self._roll_back()
                number = errno.ENOSPC if "full" in str(error) else errno.EIO
                raise OSError(number, f"the journal: {error}", str(self.path)) from error
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # SQLite may have done so itself
            self._connection.execute("ROLLBACK")

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Return the rows of a query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter."""
        with self.transaction() as connection:
            add_to_counter(connection, name, by)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def add_to_counter(connection: sqlite3.Connection, name: str, by: int = 1) -> None:
    """Add to a counter within a transaction."""
    connection.execute(
        "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value", (name, by)
    )
