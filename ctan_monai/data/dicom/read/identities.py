"""The file that links pseudonyms to patients, if the user asks for it."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from ctan_monai.data.dicom.read.job import Job
from ctan_monai.data.dicom.read.link import UnlinkedObject
from ctan_monai.data.dicom.read.pseudonyms import Pseudonyms
from ctan_monai.data.dicom.read.table import Row
from ctan_monai.files.atomic import replacing
from ctan_monai.files.csv_cells import safe_cell

_COLUMNS = ("case", "patient", "PatientID", "what", "UID", "reason", "folder or file")


def write_identities(
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
        lines.append((job.case, job.patient, job.linked.identity, "CT", first.series_uid, row.reason, place))
    for lone in unlinked:
        header = lone.header
        place = os.path.relpath(header.path, in_dir)
        patient = names.patient(lone.identity)
        lines.append(("", patient, lone.identity, header.kind, header.sop_uid, lone.reason, place))
    lines += [("", "", "", row.what, "", row.reason, row.source) for row in rows if not row.patient]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows([safe_cell(cell) for cell in line] for line in lines)
    path.chmod(0o600)
