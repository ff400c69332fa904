"""A CT to write objects for: non-square pixels, no symmetry, in any position, with or without a tilted gantry."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from ctan_monai.data.dicom.write import CtReference, Origin, SeededUids, predicted_by

POSITIONS = {  # direction of rows, of columns, in LPS
    "HFS": ((1, 0, 0), (0, 1, 0)),
    "FFS": ((-1, 0, 0), (0, 1, 0)),
    "HFP": ((-1, 0, 0), (0, -1, 0)),
    "HFDL": ((0, -1, 0), (1, 0, 0)),
    "oblique": ((0.96, 0.28, 0), (-0.28, 0.96, 0)),
}
SHAPE = (23, 19, 9)  # columns, rows, slices
WriteCt = Callable[..., Path]


def image(position: str, index: int, tilt: float, uids: dict[str, str], **changes: object) -> Dataset:
    row, column = (np.array(axis, float) for axis in POSITIONS[position])
    normal = np.cross(row, column)
    turned = column * np.cos(tilt) + normal * np.sin(tilt)  # the gantry leans, the couch goes on along the normal
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uids.setdefault(f"{index}", generate_uid())
    made.Modality, made.PatientName, made.PatientID = "CT", "Müller^Jürgen", "x 1"
    made.SpecificCharacterSet = "ISO_IR 100"
    made.PatientBirthDate, made.PatientSex, made.StudyDate, made.StudyTime = "19500203", "M", "20200101", "101010"
    made.StudyID, made.AccessionNumber, made.ReferringPhysicianName = "7", "", "Weiß^Anna"
    made.StudyInstanceUID, made.SeriesInstanceUID = uids["study"], uids["series"]
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = uids["frame"], ""
    made.ImageOrientationPatient = [round(float(v), 6) for v in (*row, *turned)]
    start = np.array([-31.5, 12.25, 400.0]) + index * 2.5 * normal
    made.ImagePositionPatient = [round(float(v), 6) for v in start]
    made.PixelSpacing, made.SliceThickness = [1.5, 1.1], 2.5
    made.Columns, made.Rows = SHAPE[:2]
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.PixelData = np.zeros((made.Rows, made.Columns), "<u2").tobytes()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for name, value in changes.items():
        if value is None:
            del made[name]
        else:
            setattr(made, name, value)
    return made


@pytest.fixture(scope="session")
def write_ct(tmp_path_factory: pytest.TempPathFactory) -> WriteCt:
    """Write a CT whose files' names say nothing of their order."""

    def write(position: str = "HFS", tilt_deg: float = 0.0, keep: range = range(SHAPE[2]), **changes: object) -> Path:
        folder = tmp_path_factory.mktemp("ct")
        uids = {name: generate_uid() for name in ("study", "series", "frame")}
        for index in keep:
            made = image(position, index, np.deg2rad(tilt_deg), uids, **changes)
            save(made, folder / f"{index * 7 % 11}.dcm")
        return folder

    return write


def save(made: Dataset, path: Path) -> None:
    if int(pydicom.__version__.split(".")[0]) < 3:
        made.is_little_endian, made.is_implicit_VR = True, False
        pydicom.dcmwrite(path, made, write_like_original=False)
    else:
        pydicom.dcmwrite(path, made, enforce_file_format=True)


@pytest.fixture(scope="session")
def reference(write_ct: WriteCt) -> CtReference:
    return CtReference.read(write_ct())


@pytest.fixture(scope="session")
def references(write_ct: WriteCt) -> Callable[..., CtReference]:
    """One reference per position and tilt, read once."""
    known: dict[tuple[str, float], CtReference] = {}

    def get(position: str, tilt_deg: float = 0.0) -> CtReference:
        if (position, tilt_deg) not in known:
            known[position, tilt_deg] = CtReference.read(write_ct(position, tilt_deg))
        return known[position, tilt_deg]

    return get


@pytest.fixture(scope="session")
def origin() -> Origin:
    return predicted_by("prostate ctan resnet50", "Trained on plans of 60 Gy in 20 fractions")


@pytest.fixture
def fixed() -> dict[str, object]:
    """A clock that stands still and UIDs that are known."""
    return {"clock": lambda: datetime(2024, 5, 6, 7, 8, 9), "uid_source": SeededUids("test")}


@pytest.fixture(scope="session")
def masks() -> dict[str, np.ndarray]:
    """Shapes (C, R, K): a tube with a hole, two parts that overlap it, one voxel, a part at the border."""
    i, j, k = np.meshgrid(*(np.arange(side) for side in SHAPE), indexing="ij")
    radius = np.hypot(i - 9.3, 1.3 * (j - 8.1))
    tube = (radius < 7.2) & (radius > 3.1) & (k > 1) & (k < 7)
    parts = ((abs(i - 5) < 3) & (abs(j - 5) < 2) & (k == 4)) | ((abs(i - 15) < 3) & (abs(j - 12) < 4) & (k > 3))
    single = (i == 11) & (j == 3) & (k == 5)
    border = (i < 4) & (j > 14) & (k == 0)
    return {"Rectum": tube, "Bladder": parts, "Femur_L": single, "PTV_60": border}
