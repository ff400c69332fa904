"""Prepare a folder of patients' DICOM as cases for training."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from ctan_monai.data.cases.cache import processors
from ctan_monai.data.datasets.dicom_rt.manifest import write_manifest
from ctan_monai.data.datasets.dicom_rt.prepared_folder import (
    DATALIST,
    kept_splits,
    locked,
    remove_leftovers,
    write_datalist,
)
from ctan_monai.data.datasets.dicom_rt.prescriptions import read_prescriptions
from ctan_monai.data.dicom.read import outputs
from ctan_monai.data.dicom.read.job import Job, run_job, work
from ctan_monai.data.dicom.read.link import Linked, UnlinkedObject, link
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.data.dicom.read.pseudonyms import Pseudonyms, read_or_make_key
from ctan_monai.data.dicom.read.scan import Scan, scan
from ctan_monai.data.dicom.read.table import ACCEPTED, LEFT_OUT, Row, reasons, write_tables
from ctan_monai.data.dicom.read.table import prescriptions as count_prescriptions
from ctan_monai.data.lists.splits import check_split_fractions, divide, draw, tell_changes
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.files.atomic import replacing
from ctan_monai.files.csv_cells import csv_text
from ctan_monai.files.progress_bar import progress_bar

_logger = logging.getLogger(__name__)

KEY = ".pseudonym.key"
_UNREADABLE = "Export it again, or take it out; without it a CT may lack a slice."
_FILES = 10  # files that an error names; the list of identities has all
_IDENTITIES = ("case", "patient", "PatientID", "what", "UID", "reason", "folder or file")
_WORKERS_MAX = 4  # each holds a patient: about 1.2 GB for a CT of 512 x 512 x 200 with ten structures


@dataclass(frozen=True)
class Prepared:
    """Result of preparing a folder.

    Args:
        datalist: the JSON file that lists the cases by split.
        rows: the table.
        found: DICOM objects in the folder, by kind.
        unreadable: files that look like DICOM and could not be read.
        others: files that are not DICOM.
    """

    datalist: Path
    rows: tuple[Row, ...]
    found: dict[str, int]
    unreadable: int
    others: int

    @property
    def accepted(self) -> list[Row]:
        """Rows of the accepted cases."""
        return [row for row in self.rows if row.status == ACCEPTED]


def prepare_dicom(
    in_dir: str | Path,
    out_dir: str | Path,
    options: DicomOptions | None = None,
    kind: outputs.Format = "cache",
    workers: int | None = None,
    seed: int = 0,
    split_fractions: Sequence[float] = (0.7, 0.15, 0.15),
    patient_by: str = "id",
    key_file: str | Path | None = None,
    identities: str | Path | None = None,
    prescriptions: str | Path | None = None,
    progress: bool = True,
) -> Prepared:
    """Prepare every patient of a folder; a second run continues, or adds patients.

    Writes ``datalist.json``, the cases, ``table.csv`` and ``table.json`` (what was accepted, and why the rest was
    not) and ``manifest.json`` (checksums). Nothing of it names a patient: cases have pseudonyms, made with a key in
    ``.pseudonym.key``, which is to be taken out before the folder is given away. Names of structures are kept as
    they are.

    Args:
        in_dir: folder of DICOM files, nested and named in any way.
        out_dir: folder for the cases.
        options: how DICOM is read.
        kind: 'cache' for training, 'nifti' for other tools.
        workers: processes; None for one per processor, at most 4; 0 or 1 for none but this one.
        seed: of the split.
        split_fractions: of training, validation and test.
        patient_by: 'id' or 'study'; see ``link.link``.
        key_file: file of the pseudonyms' key, instead of the one in ``out_dir``; made if it is not there.
        identities: CSV file to write which says whose pseudonym is whose; None for none.
        prescriptions: table of prescriptions by PatientID or folder, which win over RTPLANs and ``options``; see
            `read_prescriptions`. None for none.
        progress: show bars.

    Returns:
        The table and what else was found.

    Raises:
        DataError: there is no DICOM, no case was accepted, or ``out_dir`` cannot be written.
        ConfigError: an argument has an unknown value.
    """
    _check_arguments(kind, split_fractions, patient_by)
    options, out_dir = options or DicomOptions(), Path(out_dir)
    if identities is not None and Path(identities).resolve().is_relative_to(out_dir.resolve()):
        raise ConfigError("identities", "the file would lie among the prepared data.", "Give a place elsewhere.")
    table = None if prescriptions is None else read_prescriptions(prescriptions)
    count = processors(_WORKERS_MAX) if workers is None else max(1, workers)
    with locked(out_dir):
        remove_leftovers(out_dir)
        kept = kept_splits(out_dir / DATALIST, seed, split_fractions)
        found = scan(in_dir, count, progress)
        linked, unlinked = link(found.objects, patient_by, modality=options.modality, series=options.series)
        names = Pseudonyms(read_or_make_key(key_file or out_dir / KEY))
        linked.sort(key=lambda each: draw(seed, f"{each.identity} {each.ct[0].series_uid}"))
        doses = [None] * len(linked) if table is None else table.of(linked, Path(in_dir))
        each_own = [options if gy is None else replace(options, prescription_gy=gy) for gy in doses]
        jobs = [_job(each, names, own, kind, out_dir, found) for each, own in zip(linked, each_own, strict=True)]
        rows = [*_run(jobs, count, out_dir, progress), *(_unlinked_row(each, names) for each in unlinked)]
        rows += [
            Row("", "", "file", LEFT_OUT, f"{why}.", _UNREADABLE, source=str(path)) for path, why in found.unreadable
        ]
        rows = [replace(row, source=os.path.relpath(row.source, in_dir) if row.source else "") for row in rows]
        if identities is not None:
            _write_identities(Path(identities), Path(in_dir), jobs, unlinked, rows, names)
        who = {row.patient for row in rows if row.status == ACCEPTED}
        split = divide(
            {job.patient: job.linked.identity for job in jobs if job.patient in who}, seed, split_fractions, kept
        )
        tell_changes(kept, split, "patients")
        rows = [replace(row, split=split[row.patient]) if row.status == ACCEPTED else row for row in rows]
        tables = write_tables(rows, out_dir)
        prepared = Prepared(out_dir / DATALIST, tuple(rows), found.counts(), len(found.unreadable), found.others)
        _refuse_none(prepared, in_dir, options.modality)
        write_datalist(prepared.datalist, rows, kind, options, seed, split_fractions)
        write_manifest(out_dir, rows, [prepared.datalist, *tables])
    _log(prepared, found)
    return prepared


def _check_arguments(kind: str, split_fractions: Sequence[float], patient_by: str) -> None:
    check_split_fractions(split_fractions, "split")
    for name, value, allowed in (
        ("format", kind, get_args(outputs.Format)),
        ("patient_by", patient_by, ("id", "study")),
    ):
        if value not in allowed:
            raise ConfigError(name, f"{value!r} is unknown.", f"Use one of {allowed}.")


def _job(
    linked: Linked, names: Pseudonyms, options: DicomOptions, kind: outputs.Format, out_dir: Path, found: Scan
) -> Job:
    patient = names.patient(linked.identity)
    damaged = len(found.damaged_beside(linked.ct))
    return Job(linked, patient, names.case(patient, linked.ct[0].series_uid), options, kind, out_dir, damaged)


def _unlinked_row(each: UnlinkedObject, names: Pseudonyms) -> Row:
    patient, header = names.patient(each.identity), each.header
    return Row(patient, "", header.kind, LEFT_OUT, each.reason, each.remedy, source=str(header.path))


def _run(jobs: Sequence[Job], workers: int, out_dir: Path, progress: bool) -> list[Row]:
    results = work(run_job, jobs, workers, out_dir)
    with contextlib.closing(results):  # an error here must not leave processes behind
        rows = {row.case: row for row in progress_bar(results, "preparing", "case", len(jobs), progress)}
    return [rows[job.case] for job in jobs]


def _refuse_none(prepared: Prepared, in_dir: str | Path, modality: str) -> None:
    if prepared.accepted:
        return
    listed = "; ".join(f"{count} x {reason}" for reason, count in list(reasons(prepared.rows).items())[:5])
    files = [row.source for row in prepared.rows if row.source]
    listed += f" Files: {', '.join(files[:_FILES])}{' ...' if len(files) > _FILES else ''}." if files else ""
    listed = listed or f"There is no {modality}."
    found = ", ".join(f"{count} {kind}" for kind, count in prepared.found.items())
    reason = f"no case was accepted of {found}. {listed}"
    raise DataError(in_dir, None, reason, f"See {prepared.datalist.with_name('table.csv')}.")


def _log(prepared: Prepared, found: Scan) -> None:
    accepted = prepared.accepted
    patients = len({row.patient for row in accepted})
    _logger.info(
        "%d cases of %d patients accepted, %d not", len(accepted), patients, len(prepared.rows) - len(accepted)
    )
    for reason, count in reasons(prepared.rows).items():
        _logger.warning("%d left out: %s", count, reason)
    if found.unreadable:
        _logger.warning("%d files look like DICOM and could not be read", len(found.unreadable))
    if any(row.facts.get("synthetic") for row in accepted):
        _logger.warning("the data are SYNTHETIC: no patient was imaged")
    doses = count_prescriptions(prepared.rows)
    if len(doses) > 1:
        listed = ", ".join(f"{count} x {dose} Gy" for dose, count in doses.items())
        _logger.warning("mixed prescriptions: %s; a network learns their mixture unless doses are normalized", listed)


def _write_identities(
    path: Path,
    in_dir: Path,
    jobs: Sequence[Job],
    unlinked: Sequence[UnlinkedObject],
    rows: Sequence[Row],
    names: Pseudonyms,
) -> None:
    """Write the identities of CT series, unlinked objects and unreadable files to a CSV that only its owner can read.

    A CT that was not accepted has the reason and the file at fault beside it.

    Args:
        path: the CSV file.
        in_dir: folder that was read.
        jobs: a CT series each.
        unlinked: objects that belong to none.
        rows: the table, with how each CT went and what could not be read.
        names: pseudonyms.

    Raises:
        DataError: it cannot be written.
    """
    lines = []
    by_case = {row.case: row for row in rows if row.case}
    for job in jobs:
        first, row = job.linked.ct[0], by_case[job.case]
        folder = os.path.commonpath([each.path.parent for each in job.linked.ct])
        place = row.source or os.path.relpath(folder, in_dir)
        kind = str(job.options.modality)
        lines.append((job.case, job.patient, job.linked.identity, kind, first.series_uid, row.reason, place))
    for lone in unlinked:
        header = lone.header
        place = os.path.relpath(header.path, in_dir)
        patient = names.patient(lone.identity)
        lines.append(("", patient, lone.identity, header.kind, header.sop_uid, lone.reason, place))
    lines += [("", "", "", row.what, "", row.reason, row.source) for row in rows if not row.patient]
    with replacing(path) as temporary:
        temporary.write_text(csv_text(_IDENTITIES, lines), encoding="utf-8", newline="")
    path.chmod(0o600)
