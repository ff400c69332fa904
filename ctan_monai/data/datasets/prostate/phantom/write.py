"""Write a synthetic patient as real DICOM objects."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ctan_monai import __version__
from ctan_monai.data.datasets.prostate.phantom.ct_series import ct_series
from ctan_monai.data.datasets.prostate.phantom.patient import Patient
from ctan_monai.data.dicom.write.common import save
from ctan_monai.data.dicom.write.identity import Clock, UidSource
from ctan_monai.data.dicom.write.origin import SOFTWARE, Origin
from ctan_monai.data.dicom.write.reference import CtReference
from ctan_monai.data.dicom.write.rtdose import build_rtdose
from ctan_monai.data.dicom.write.rtplan import build_rtplan
from ctan_monai.data.dicom.write.rtstruct import Contour, build_rtstruct
from ctan_monai.data.dicom.write.trace import contours_of_level
from ctan_monai.errors import DataError

PHANTOM = Origin(
    "SYNTHETIC",
    f"SYNTHETIC phantom by {SOFTWARE} {__version__}, no real patient",
    "synthetic pelvis",
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
    """Write CT.0001.dcm ..., RS.dcm, RP.dcm and RD.dcm.

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
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        unfinished.mkdir(parents=True)
        _write(patient, unfinished, clock, uid_source, number, names or {})
        unfinished.rename(folder)
    except OSError as error:
        remedy = "Free space, or give a folder that may be written."
        raise DataError(folder, None, f"it cannot be written ({error.strerror or error}).", remedy) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write(
    patient: Patient, folder: Path, clock: Clock, uid_source: UidSource, number: int, names: Mapping[str, str]
) -> None:
    images = []
    series = ct_series(patient, f"SYNTHETIC^PHANTOM {number:03d}", f"PHANTOM{number:03d}", PHANTOM, clock, uid_source)
    for index, image in enumerate(series, start=1):
        save(image, folder / f"CT.{index:04d}.dcm")
        del image.PixelData
        images.append(image)
    reference = CtReference.from_headers(images, folder)
    contours = {names.get(name, name): _contours(patient, name, reference) for name in patient.structures}
    structures = build_rtstruct(contours, reference, PHANTOM, clock=clock, uid_source=uid_source)
    plan = build_rtplan(
        patient.prescription, structures.SOPInstanceUID, reference, PHANTOM, clock=clock, uid_source=uid_source
    )
    dose = build_rtdose(
        patient.dose_gy, patient.dose_affine_ras, reference, PHANTOM,
        plan_uid=str(plan.SOPInstanceUID), bits=16, clock=clock, uid_source=uid_source,
    )  # fmt: skip
    for made, file in ((structures, "RS.dcm"), (plan, "RP.dcm"), (dose, "RD.dcm")):
        save(made, folder / file)


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
