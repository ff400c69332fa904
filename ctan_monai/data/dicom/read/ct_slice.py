"""Read one image of a CT series in Hounsfield units, or of an MR series."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.dicom.read.geometry import Floats
from ctan_monai.data.dicom.read.reading import check_whole, number_of, numbers_of, read_dicom, reading
from ctan_monai.errors import DataError

AIR_HU = -1024
_HU_MAX = np.iinfo(np.int16).max
_EXPORT = "Export the CT series again."
_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
_UNIT_TOLERANCE = 1e-3  # direction cosines are written with six digits or so; 1e-3 is 0.06 degrees


@dataclass(frozen=True, eq=False)
class CtSlice:
    """A CT or MR image and its position.

    Args:
        path: its file.
        hu: (rows, columns) int16; of an MR its signal, float32.
        position_lps: (3,) center of its first pixel, mm.
        row_cosines: (3,) direction in which the column index rises.
        column_cosines: (3,) direction in which the row index rises.
        pixel_mm: distance of rows, distance of columns.
        sop_uid: its UID.
        frame_uid: its frame of reference.
        patient_position: HFS and the like; empty if not said.
        padded: pixels below -1024 HU, which hold no measurement (padding outside the scanner's circle) and were set
            to air.
        rescale: RescaleSlope and RescaleIntercept.
    """

    path: Path
    hu: npt.NDArray[Any]
    position_lps: Floats
    row_cosines: Floats
    column_cosines: Floats
    pixel_mm: tuple[float, float]
    sop_uid: str
    frame_uid: str
    patient_position: str
    padded: int = 0
    rescale: tuple[float, float] = (1.0, 0.0)

    @property
    def normal(self) -> Floats:
        """Unit vector: row direction x column direction."""
        cross = np.cross(self.row_cosines, self.column_cosines)
        return np.asarray(cross / np.linalg.norm(cross))


def read_ct_slice(path: str | Path) -> CtSlice:
    """Read an image.

    Args:
        path: a file of SOP class CT Image Storage.

    Returns:
        The slice; what lies below -1024 HU (padding) is air.

    Raises:
        DataError: it cannot be read, lacks geometry or rescaling, is in another unit, or exceeds int16.
    """
    path = Path(path)
    try:
        return _read(path)
    except DataError as error:
        raise DataError(path, None, error.reason + instance_of(path), error.remedy) from error


def read_mr_slice(path: str | Path) -> CtSlice:
    """Read an MR image, rescaled where it says how.

    Args:
        path: a file of SOP class MR Image Storage.

    Raises:
        DataError: it is of another class, cannot be read, or lacks geometry.
    """
    path = Path(path)
    with reading(path, "an MR image"):
        dataset = read_dicom(path)
        if dataset.get("SOPClassUID") != _MR_IMAGE:
            found = getattr(dataset.get("SOPClassUID"), "name", "nothing")
            reason = f"its SOP class is {found}, expected MR Image Storage, an image a file."
            raise DataError(path, None, reason, "Export the series as single images, or convert it to NIfTI.")
        check_whole(path, dataset)
        stored = _pixels(path, dataset)
        row, column, position, pixel_mm = _geometry(path, dataset)
        slope, intercept = _rescale(path, dataset)
        uids = [str(dataset.get(name, "") or "") for name in ("SOPInstanceUID", "FrameOfReferenceUID")]
        signal = (stored * slope + intercept).astype(np.float32)
        laid = str(dataset.get("PatientPosition", "") or "")
    return CtSlice(path, signal, position, row, column, pixel_mm, uids[0], uids[1], laid, rescale=(slope, intercept))


def _rescale(path: Path, dataset: Any) -> tuple[float, float]:
    """Return RescaleSlope and RescaleIntercept, 1 and 0 where there is none."""
    slope = number_of(path, dataset, "RescaleSlope") if "RescaleSlope" in dataset else 1.0
    return slope, number_of(path, dataset, "RescaleIntercept") if "RescaleIntercept" in dataset else 0.0


def instance_of(path: Path) -> str:
    """Return a sentence with the image's InstanceNumber, for messages that may not name files."""
    try:
        with reading(path, "a slice"):
            number = read_dicom(path, specific_tags=["InstanceNumber"], stop_before_pixels=True).get("InstanceNumber")
            return "" if number is None else f" It is the image of InstanceNumber {int(number)}."
    except DataError:
        return ""


def _read(path: Path) -> CtSlice:
    with reading(path, "a slice"):
        dataset = read_dicom(path)
        check_whole(path, dataset)
        stored = _pixels(path, dataset)
        row, column, position, pixel_mm = _geometry(path, dataset)
        hu, padded = _to_hu(path, dataset, stored)
        sop_uid, frame_uid = str(dataset.SOPInstanceUID), str(dataset.get("FrameOfReferenceUID", "") or "")
    return CtSlice(
        path=path,
        hu=hu,
        position_lps=position,
        row_cosines=row,
        column_cosines=column,
        pixel_mm=pixel_mm,
        sop_uid=sop_uid,
        frame_uid=frame_uid,
        patient_position=str(dataset.get("PatientPosition", "") or ""),
        padded=padded,
        rescale=(float(dataset.RescaleSlope), float(dataset.RescaleIntercept)),
    )


def _pixels(path: Path, dataset: Any) -> npt.NDArray[Any]:
    try:
        stored: npt.NDArray[Any] = dataset.pixel_array
    except (NotImplementedError, RuntimeError, ImportError):  # a compression that pydicom has no decoder for here
        stored = _pixels_by_itk(path, dataset)
    if stored.ndim != 2:
        raise DataError(path, None, f"a slice has the shape {stored.shape}, expected rows and columns.", _EXPORT)
    return stored


def _pixels_by_itk(path: Path, dataset: Any) -> npt.NDArray[Any]:
    """Decode compressed pixels with GDCM, without rescaling."""
    import SimpleITK as sitk

    try:
        with tempfile.TemporaryDirectory() as folder:
            whole = path if dataset.preamble else Path(folder) / "whole.dcm"  # GDCM wants the preamble
            if whole != path:
                dataset.save_as(whole, enforce_file_format=True)
            image = sitk.ReadImage(str(whole))
    except RuntimeError as error:
        syntax = dataset.file_meta.TransferSyntaxUID.name
        remedy = "Decompress the files, for example with gdcmconv --raw or dcmdjpeg."
        reason = f"a slice is compressed in a way that is not read here (TransferSyntaxUID: {syntax})."
        raise DataError(path, None, reason, remedy) from error
    hu = sitk.GetArrayFromImage(image)[0].astype(np.float64)  # GDCM has rescaled it
    slope, intercept = _rescale(path, dataset)
    return np.asarray((hu - intercept) / slope)


def _geometry(path: Path, dataset: Any) -> tuple[Floats, Floats, Floats, tuple[float, float]]:
    orientation = np.array(numbers_of(path, dataset, "ImageOrientationPatient", 6))
    position = np.array(numbers_of(path, dataset, "ImagePositionPatient", 3))
    rows_mm, columns_mm = numbers_of(path, dataset, "PixelSpacing", 2)
    row, column = orientation[:3], orientation[3:]
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(float(row @ column))) > _UNIT_TOLERANCE:
        found = f"ImageOrientationPatient is {orientation.tolist()}, expected two perpendicular unit vectors."
        raise DataError(path, None, found, _EXPORT)
    if min(rows_mm, columns_mm) <= 0:
        raise DataError(path, None, f"PixelSpacing is {rows_mm} x {columns_mm} mm.", _EXPORT)
    return row / lengths[0], column / lengths[1], position, (float(rows_mm), float(columns_mm))


def _to_hu(path: Path, dataset: Any, stored: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int16], int]:
    if dataset.get("RescaleSlope") is None or dataset.get("RescaleIntercept") is None:
        raise DataError(path, None, "a slice has no RescaleSlope or RescaleIntercept, so its unit is unknown.", _EXPORT)
    slope, intercept = (number_of(path, dataset, name) for name in ("RescaleSlope", "RescaleIntercept"))
    if slope == 0:
        raise DataError(path, None, "the RescaleSlope of a slice is 0, which makes all of it one HU.", _EXPORT)
    unit = str(dataset.get("RescaleType", "HU") or "HU").upper()
    if unit not in ("HU", "US"):  # US: unspecified, as older scanners write
        raise DataError(
            path, None, f"a slice has the RescaleType {unit}, expected HU.", "Give the CT itself, not a map made of it."
        )
    hu = stored * slope + intercept
    empty = hu < AIR_HU
    hu[empty] = AIR_HU
    high = float(hu.max())
    if not high <= _HU_MAX:
        raise DataError(
            path, None, f"a slice reaches {high:g} HU, expected {_HU_MAX} at most (RescaleSlope {slope:g}).", _EXPORT
        )
    return np.rint(hu).astype(np.int16), int(empty.sum())
