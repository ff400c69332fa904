"""Store one instance: file on the disk first, then the journal."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctan_monai.data.dicom.read.pseudonyms import Pseudonyms
from ctan_monai.data.dicom.read.reading import read_dicom
from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replacing
from ctan_monai.node.journal import Journal
from ctan_monai.node.settings import NodeSettings
from ctan_monai.node.studies import Received, accept

STORE = "store"
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "Modality",
    "SeriesDescription", "BodyPartExamined", "SpecificCharacterSet",
]  # fmt: skip
_UID = re.compile(r"[0-9.]{1,64}")
_MIB = 2**20


class RefusedError(Exception):
    """An instance that is not stored.

    Args:
        status: of the C-STORE response (PS3.4 B.2.3).
        reason: without anything that identifies a patient.
    """

    def __init__(self, status: int, reason: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(reason)


NO_SPACE, NO_MATCH, NOT_UNDERSTOOD = 0xA700, 0xA900, 0xC000


@dataclass(frozen=True)
class Stored:
    """An instance that is on the disk and in the journal.

    Args:
        study: StudyInstanceUID.
        pseudonym: of the study.
        new: it was not there before.
    """

    study: str
    pseudonym: str
    new: bool


class Store:
    """Files of received instances, named by hashes of their UIDs.

    Args:
        settings: of the node.
        journal: of the node.
        names: pseudonyms.
    """

    def __init__(self, settings: NodeSettings, journal: Journal, names: Pseudonyms) -> None:
        self.settings, self.journal, self.names = settings, journal, names
        self._lock = threading.Lock()
        self._adding: Counter[str] = Counter()  # instances of a study that are being stored
        self._removing: set[str] = set()

    def add(self, head: bytes, dataset: bytes, sop_class: str, uid: str, study: str = "") -> Stored:
        """Store an instance; it is on the disk and in the journal when this returns.

        Args:
            head: preamble and file meta information.
            dataset: encoded.
            sop_class: UID that the sender named.
            uid: SOPInstanceUID that the sender named.
            study: StudyInstanceUID that the sender named; '': none.

        Raises:
            RefusedError: it is not stored; the status says why.
        """
        found = self._describe(head + dataset, sop_class, uid)
        if study not in ("", found.study):
            raise RefusedError(NO_MATCH, "it is of another study than the one that was announced")
        with self._counted(found.study):
            return self._add(found, head, dataset)

    def _add(self, found: Received, head: bytes, dataset: bytes) -> Stored:
        new = not self.journal.rows("SELECT 1 FROM instances WHERE uid = ?", found.uid)
        try:
            if new:
                self._check_room(found)
                with replacing(self.settings.folder / found.file) as temporary, temporary.open("wb") as file:
                    file.write(head)
                    file.write(dataset)
            accept(self.journal, found, time.time())
        except (OSError, DataError) as error:
            known = error if isinstance(error, OSError) else error.__cause__
            raise RefusedError(
                NO_SPACE, f"it cannot be written ({getattr(known, 'strerror', None) or 'error'})"
            ) from error
        return Stored(found.study, found.pseudonym, new)

    @contextlib.contextmanager
    def _counted(self, study: str) -> Iterator[None]:
        """Note that an instance of a study is being stored.

        Raises:
            RefusedError: the study is being removed.
        """
        with self._lock:
            if study in self._removing:
                raise RefusedError(NO_SPACE, "its study is just being removed")
            self._adding[study] += 1
        try:
            yield
        finally:
            with self._lock:
                self._adding[study] -= 1
                self._adding += Counter()  # forgets those that are zero

    @contextlib.contextmanager
    def removing(self, study: str) -> Iterator[bool]:
        """Keep instances of a study out while it is removed; yields False if one is just being stored."""
        with self._lock:
            if free := study not in self._adding:
                self._removing.add(study)
        try:
            yield free
        finally:
            with self._lock:
                self._removing.discard(study)

    def _describe(self, whole: bytes, sop_class: str, uid: str) -> Received:
        """Read what the journal keeps of an instance.

        Raises:
            RefusedError: it cannot be read, or is not what the sender named.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they quote values
                header = read_dicom(io.BytesIO(whole), stop_before_pixels=True, specific_tags=_TAGS)
                values = {name: _text(header, name) for name in _TAGS}
        except Exception as error:  # damaged data sets make pydicom raise almost anything; the text may quote them
            raise RefusedError(NOT_UNDERSTOOD, f"its data set cannot be read ({type(error).__name__})") from None
        study, series = values["StudyInstanceUID"], values["SeriesInstanceUID"]
        if values["SOPClassUID"] != sop_class or values["SOPInstanceUID"] != uid:
            raise RefusedError(NO_MATCH, "its data set is another instance than the one that was announced")
        if not all(_UID.fullmatch(value) for value in (sop_class, uid, study, series)):
            raise RefusedError(NOT_UNDERSTOOD, "it lacks a UID of the study, the series or itself")
        identity = values["PatientID"] or f"study {study}"
        return Received(
            uid, sop_class, series, study, identity, self.names.case(self.names.patient(identity), study),
            values["Modality"].upper()[:16], values["SeriesDescription"][:64], values["BodyPartExamined"][:16],
            str(Path(STORE, short(study), short(series), f"{short(uid)}.dcm")), len(whole),
        )  # fmt: skip

    def _check_room(self, found: Received) -> None:
        """Refuse what is beyond the limits of a study, or would fill the disk.

        Raises:
            RefusedError: it is.
        """
        wanted = self.settings
        if found.size > wanted.instance_mib * _MIB:
            raise RefusedError(NO_SPACE, f"it is larger than instance_mib ({wanted.instance_mib})")
        for row in self.journal.rows("SELECT count, bytes FROM studies WHERE uid = ?", found.study):
            if row["count"] >= wanted.study_instances:
                raise RefusedError(NO_SPACE, f"its study has study_instances ({wanted.study_instances}) already")
            if row["bytes"] + found.size > wanted.study_mib * _MIB:
                raise RefusedError(NO_SPACE, f"its study would be larger than study_mib ({wanted.study_mib})")
        if shutil.disk_usage(wanted.folder).free < wanted.free_mib * _MIB + found.size:
            raise RefusedError(NO_SPACE, f"less than free_mib ({wanted.free_mib}) would be left on the disk")


def _text(header: Any, name: str) -> str:
    value = header.get(name)
    return "" if value is None else str(value).strip()


def short(uid: str) -> str:
    """Return the name of a UID's file or folder."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


def make_private(folder: Path) -> None:
    """Create a folder that only its owner can enter."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o700)
