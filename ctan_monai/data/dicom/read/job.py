"""Prepare CT series in worker processes, with a row of the table for each."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ctan_monai.data.dicom.read import outputs
from ctan_monai.data.dicom.read.header import Header
from ctan_monai.data.dicom.read.link import Linked
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.data.dicom.read.patient import READER_VERSION, read_patient
from ctan_monai.data.dicom.read.select import select
from ctan_monai.data.dicom.read.table import ACCEPTED, REJECTED, Row
from ctan_monai.errors import DataError

_logger = logging.getLogger(__name__)
_WATCH_S = 0.5
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Job:
    """A case to prepare.

    Args:
        linked: a CT series and what belongs to it.
        patient: pseudonym.
        case: id.
        options: how.
        kind: what to write.
        out_dir: where.
        damaged: files beside the CT's images that look like DICOM and cannot be read.
    """

    linked: Linked
    patient: str
    case: str
    options: DicomOptions
    kind: outputs.Format
    out_dir: Path
    damaged: int = 0


def run_job(job: Job) -> Row:
    """Prepare a case unless it exists; errors in a patient's data are returned, not raised.

    Raises:
        DataError: the prepared folder cannot be written, which concerns every case.
    """
    options = dataclasses.replace(job.options, axcodes=None) if job.kind == "nifti" else job.options
    rejected = Row(job.patient, job.case, options.modality, REJECTED)
    try:
        study = select(job.linked, options)
        if job.damaged:
            note = f"{job.damaged} files beside its images look like DICOM and cannot be read; is the CT whole?"
            study = dataclasses.replace(study, notes=(*study.notes, note))
        fingerprint = fingerprint_of(study.objects(), options, f"{job.kind} {job.damaged}" if job.damaged else job.kind)
        record = outputs.existing(job.case, job.out_dir, job.kind, fingerprint)
        if record is None:
            case = read_patient(study, job.case, options, every=job.kind == "nifti", meta={"patient": job.patient})
    except DataError as error:
        source = str(error.path) if error.path.is_file() else ""
        return dataclasses.replace(rejected, reason=error.reason, remedy=error.remedy, source=source)
    except Exception as error:
        # One odd patient must not stop a night's work; its row says what happened, without the message, which may
        # quote the patient's data.
        _logger.warning("case %s: unexpected %s", job.case, type(error).__name__)
        reason = f"an unexpected {type(error).__name__} occurred."
        return dataclasses.replace(
            rejected, reason=reason, remedy="Read this patient with read_patient, and report it."
        )
    if record is None:
        record = outputs.write(case, job.out_dir, job.kind, fingerprint)
    return Row(
        job.patient,
        job.case,
        options.modality,
        ACCEPTED,
        shape=tuple(record["shape"]),
        spacing_mm=tuple(record["spacing_mm"]),
        facts=record["meta"],
        files=record["files"],
    )


def fingerprint_of(objects: Iterable[Header], options: DicomOptions, kind: str) -> str:
    """Compute a digest of a case's sources: objects, sizes and times of files, options, version.

    Raises:
        DataError: a file has gone.
    """
    states = []
    for each in objects:
        try:
            state = each.path.stat()
        except OSError as error:
            reason = f"a file has gone while the folder was read ({error.strerror})."
            raise DataError(each.path, None, reason, "Start again when nobody writes to the folder.") from error
        states.append((each.sop_uid, state.st_size, state.st_mtime_ns))
    text = json.dumps([READER_VERSION, kind, options.to_json(), sorted(states)], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def work(
    do: Callable[[_Task], _Result], tasks: Sequence[_Task], workers: int, place: Path
) -> Generator[_Result, None, None]:
    """Run jobs in several processes, in any order.

    Args:
        do: a function of a module.
        tasks: its arguments.
        workers: processes; 0 or 1 for none but this one.
        place: named in an error.

    Yields:
        Results as they come.

    Raises:
        DataError: a process was killed.
    """
    count = min(workers, len(tasks))
    if count <= 1:
        yield from map(do, tasks)
        return
    pool = ProcessPoolExecutor(count, initializer=_start, initargs=(os.getpid(),))
    try:
        for future in as_completed([pool.submit(do, task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool as error:
        reason = f"one of {count} processes was killed, perhaps for want of memory."
        raise DataError(place, None, reason, "Start again with fewer workers; what is done stays done.") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start(parent: int) -> None:
    """Initialize a worker: ignore SIGINT, and end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)
