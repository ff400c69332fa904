"""Write a synthetic patient as real DICOM objects: CT or MR, RTSTRUCT, RTPLAN and RTDOSE."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai import __version__
from ctan_monai.data.dicom.write.common import save
from ctan_monai.data.dicom.write.ct import build_series, new_study
from ctan_monai.data.dicom.write.identity import Clock, UidSource
from ctan_monai.data.dicom.write.planes import contours_of_level
from ctan_monai.data.dicom.write.reference import SOFTWARE, CtReference, Origin
from ctan_monai.data.dicom.write.rtdose import write_rtdose
from ctan_monai.data.dicom.write.rtplan import write_rtplan
from ctan_monai.data.dicom.write.rtstruct import Contour, build_rtstruct
from ctan_monai.data.phantom.patient import SITES, Patient
from ctan_monai.errors import DataError
from ctan_monai.files.whole_folder import write_whole


def origin_of(region: str) -> Origin:
    """Return what a synthetic patient's objects say of their origin."""
    return Origin(
        "SYNTHETIC",
        f"SYNTHETIC phantom by {SOFTWARE} {__version__}, no real patient",
        f"synthetic {region}",
        "Anatomy, CT, contours and dose were computed from random numbers; they are no patient's.",
        synthetic=True,
    )


def write_patient_dicom(
    patient: Patient,
    folder: str | Path,
    clock: Clock,
    uid_source: UidSource,
    *,
    number: int = 1,
    names: Mapping[str, str] | None = None,
) -> Path:
    """Write CT.0001.dcm ... or MR.0001.dcm ..., RS.dcm, RP.dcm and RD.dcm.

    Contours are traced along the drawn surfaces, finer than a pixel, as a planning system draws them.

    Args:
        patient: what to write.
        folder: gets its name when all is written; must not exist yet.
        clock: tells the time.
        uid_source: gives UIDs, for example ``SeededUids(seed)``.
        number: of the patient: SYNTHETIC^PHANTOM 003, PHANTOM003.
        names: other names for structures, to try out how names are matched.

    Returns:
        The folder.

    Raises:
        DataError: the folder exists, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists():
        raise DataError(folder, None, "it exists, and is not replaced.", "Give another folder.")
    return write_whole(folder, "RD.dcm", lambda draft: _write(patient, draft, clock, uid_source, number, names or {}))


def _write(
    patient: Patient, folder: Path, clock: Clock, uid_source: UidSource, number: int, names: Mapping[str, str]
) -> None:
    region = patient.grid.region
    site, origin = SITES[region], origin_of(region)
    day, time = clock().strftime("%Y%m%d"), clock().strftime("%H%M%S")
    study = new_study(
        f"PHANTOM{number:03d}", uid_source, PatientName=f"SYNTHETIC^PHANTOM {number:03d}", PatientSex=site.sex,
        StudyID="1", StudyDate=day, StudyTime=time, StudyDescription=f"SYNTHETIC {region}, no real patient",
        BodyPartExamined=site.body_part, PatientPosition="HFS",
    )  # fmt: skip
    said: dict[str, Any] = {"clock": clock, "uid_source": uid_source}
    images, modality = [], patient.grid.modality
    affine_ras = np.round(patient.affine_ras, 4)
    values = patient.ct_hu if patient.mr is None else patient.mr
    series = build_series(values, affine_ras, origin, study, modality=modality, **said)
    for index, image in enumerate(series, start=1):
        save(image, folder / f"{modality}.{index:04d}.dcm")
        del image.PixelData
        images.append(image)
    reference = CtReference.from_headers(images, folder)
    contours = {names.get(name, name): _contours(patient, name, reference) for name in patient.surfaces}
    structures = build_rtstruct(contours, reference, origin, **said)
    save(structures, folder / "RS.dcm")
    structure_set_uid = structures.SOPInstanceUID
    plan = write_rtplan(patient.prescription, structure_set_uid, reference, folder / "RP.dcm", origin, **said)
    said["plan_uid"] = plan.uid
    write_rtdose(patient.dose_gy, patient.dose_affine_ras, reference, folder / "RD.dcm", origin, **said)


def _contours(patient: Patient, name: str, reference: CtReference) -> list[Contour]:
    """Trace a structure's surface in every slice."""
    (slices, rows, columns), distance = patient.surfaces[name]
    _, row_mm, column_mm = reference.spacing_mm
    found: list[Contour] = []
    for index in np.flatnonzero((distance < 0).any(axis=(1, 2))).tolist():
        image = reference.headers[slices.start + index]
        first_mm = np.array(image.ImagePositionPatient, float)
        level = np.pad(-distance[index], 1, constant_values=-1.0)
        for points in contours_of_level(level, 0.0):
            place = points + np.array([columns.start - 1, rows.start - 1])
            around = np.column_stack([place * (column_mm, row_mm), np.zeros(len(place))])
            found.append((image, first_mm + around))
    return found
