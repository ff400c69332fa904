"""Say whose pseudonym is whose, in a file that the user asked for and keeps apart."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from ctan_monai.data.dicom.read.job import Job
from ctan_monai.data.dicom.read.link import Stray
from ctan_monai.data.dicom.read.pseudonyms import Pseudonyms
from ctan_monai.data.dicom.read.table import Row
from ctan_monai.files.atomic import replacing
from ctan_monai.files.csv_cells import safe_cell

_COLUMNS = ("case", "patient", "PatientID", "what", "UID", "reason", "folder or file")


def write_identities(
    path: Path, in_dir: Path, jobs: Sequence[Job], strays: Sequence[Stray], rows: Sequence[Row], names: Pseudonyms
) -> None:
    """Write a CSV file that only its owner can read: every CT series, stray object and unreadable file.

    A CT that was not accepted has the reason and the file at fault beside it.

    Args:
        path: the CSV file.
        in_dir: folder that was read.
        jobs: a CT series each.
        strays: objects that belong to none.
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
    for stray in strays:
        header = stray.header
        place = os.path.relpath(header.path, in_dir)
        patient = names.patient(stray.identity)
        lines.append(("", patient, stray.identity, header.kind, header.sop_uid, stray.reason, place))
    lines += [("", "", "", row.what, "", row.reason, row.source) for row in rows if not row.patient]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows([safe_cell(cell) for cell in line] for line in lines)
    path.chmod(0o600)
