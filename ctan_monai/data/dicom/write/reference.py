"""The CT that written objects refer to, and the origin of objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai import __version__
from ctan_monai.data.dicom.read.reading import read_dicom, reading
from ctan_monai.data.dicom.read.recognize import look_at
from ctan_monai.errors import DataError

SOFTWARE = "ctan_monai"
PREDICTED = "PREDICTED"  # label of what a network made
OPERATOR = f"{SOFTWARE}^software"  # as a person's name is written
Floats = npt.NDArray[np.float64]
_NEEDED = (
    "SOPInstanceUID",
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
)
_SAME = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Rows", "Columns", "PatientID")
_AXIS_TOLERANCE = 1e-3  # of direction cosines, which scanners write with few digits
_REMEDY = "Give the images of one CT series of the patient."


@dataclass(frozen=True)
class Origin:
    """Origin of an object.

    Args:
        label: one word for fields of 16 characters, such as PREDICTED.
        statement: one sentence for fields of 64 characters.
        model: what exactly made it, for ManufacturerModelName.
        details: anything else, for the fields that take long text: the network, what it was trained on, the
            prescription that it learned.
        generation: ROIGenerationAlgorithm of contours.
        synthetic: no patient was imaged; the objects say so in SyntheticData.
    """

    label: str
    statement: str
    model: str
    details: str = ""
    generation: str = "AUTOMATIC"
    synthetic: bool = False

    @property
    def text(self) -> str:
        """The statement and the details."""
        return f"{self.statement}. {self.details}".strip() if self.details else f"{self.statement}."

    @property
    def version(self) -> str:
        """Version of this software."""
        return __version__


def predicted_by(model: str, details: str = "") -> Origin:
    """Create the origin of a prediction.

    Args:
        model: the network, for example 'prostate ctan resnet50'.
        details: what a reader must know, for example 'Trained on plans of 60 Gy in 20 fractions'.
    """
    statement = f"Predicted by {SOFTWARE} {__version__}, not for clinical use"
    return Origin(PREDICTED, statement, model or SOFTWARE, details)


def shortened(text: str, characters: int) -> str:
    """Shorten a text to fit a DICOM attribute, without backslashes."""
    clean = " ".join(text.replace("\\", "/").split())
    return clean if len(clean) <= characters else clean[: characters - 3].rstrip() + "..."


@dataclass(frozen=True, eq=False)
class CtReference:
    """The headers of a CT series, in the order of their positions along the normal.

    Made by ``read`` or ``from_headers``, which check them.

    Args:
        headers: one dataset per image, pixels not needed.
    """

    headers: tuple[Any, ...]

    @classmethod
    def read(
        cls, source: str | Path | Iterable[str | Path], series_uid: str | None = None, modality: str | None = "CT"
    ) -> CtReference:
        """Read the headers of a CT series.

        Args:
            source: a folder, searched with all below it, or the files; what is no CT is passed over.
            series_uid: which series, if there are several.
            modality: of the series; None for any.

        Raises:
            DataError: there is no CT, there are several series and none was chosen, an image cannot be read, or the
                images do not fit together.
        """
        where, name = Path(source) if isinstance(source, str | Path) else None, modality or "series"
        files = sorted(p for p in where.rglob("*") if p.is_file()) if where else [Path(str(p)) for p in source]  # type: ignore[union-attr]  # not a path: files
        headers = []
        for path in files:
            if where is not None and not _looks_like_dicom(path):
                continue
            with reading(path, "an image"):
                header = read_dicom(path, stop_before_pixels=True)
            if modality in (None, header.get("Modality")) and series_uid in (None, header.get("SeriesInstanceUID")):
                headers.append(header)
        found = Counter(str(header.get("SeriesInstanceUID")) for header in headers)
        if len(found) != 1:
            reason = f"{len(files)} files hold {modality or 'any'} images of {len(found)} series {dict(found) or ''}"
            raise DataError(where or name, None, f"{reason}, expected one.", "Give one series, or its series_uid.")
        return cls.from_headers(headers, where or name)

    @classmethod
    def from_headers(cls, headers: Iterable[Any], where: str | Path = "CT") -> CtReference:
        """Sort headers by position and check that they are of one series.

        Args:
            headers: pydicom datasets.
            where: for messages.

        Raises:
            DataError: something is missing, or they do not fit together.
        """
        given = list(headers)
        for header in given:
            missing = [name for name in _NEEDED if name not in header]
            if missing:
                reason = f"one of its {len(given)} images has no {', '.join(missing)}."
                raise DataError(where, None, reason, "Export the series as plain CT images.")
        for name in _SAME:
            values = {str(header.get(name, "")) for header in given}
            if len(values) != 1:
                raise DataError(where, None, f"{name} has {len(values)} values among {len(given)} images.", _REMEDY)
        axes = np.array([header.ImageOrientationPatient for header in given], float)
        pixels = np.array([header.PixelSpacing for header in given], float)
        if np.ptp(axes, axis=0).max() > _AXIS_TOLERANCE or np.ptp(pixels, axis=0).max() > _AXIS_TOLERANCE:
            raise DataError(where, None, "the images differ in orientation or pixel size.", _REMEDY)
        normal = np.cross(axes[0, :3], axes[0, 3:])
        along = np.array([header.ImagePositionPatient for header in given], float) @ normal
        order = np.argsort(along, kind="stable")
        if len(given) > 1 and np.diff(along[order]).min() < 1e-2:
            raise DataError(where, None, "two images lie at the same place.", "Leave duplicates out.")
        return cls(tuple(given[index] for index in order))

    @property
    def first(self) -> Any:
        """The image with the lowest position along the normal."""
        return self.headers[0]

    @cached_property
    def axes(self) -> Floats:
        """(3, 3) unit vectors in LPS: along a row (to the next column), along a column (to the next row), normal."""
        row, column = np.array(self.first.ImageOrientationPatient, float).reshape(2, 3)
        row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
        return np.stack([row, column, np.cross(row, column)])

    @cached_property
    def positions_mm(self) -> Floats:
        """(K, 3) LPS position of each image's first pixel."""
        return np.array([header.ImagePositionPatient for header in self.headers], float)

    @cached_property
    def along_mm(self) -> Floats:
        """(K,) position along the normal, ascending."""
        found: Floats = self.positions_mm @ self.axes[2]
        return found

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of slices (median), rows, columns."""
        row_mm, column_mm = (float(value) for value in self.first.PixelSpacing)
        thick = float(np.median(np.diff(self.along_mm))) if len(self.headers) > 1 else 1.0
        return thick, row_mm, column_mm

    @property
    def affine_ras(self) -> Floats:
        """(4, 4) from (column, row, slice) of the CT to RAS mm; sheared if the gantry was tilted."""
        slice_mm, row_mm, column_mm = self.spacing_mm
        steps = len(self.headers) - 1
        step = (self.positions_mm[-1] - self.positions_mm[0]) / steps if steps else self.axes[2] * slice_mm
        affine = np.eye(4)
        affine[:3, :3] = np.stack([self.axes[0] * column_mm, self.axes[1] * row_mm, step], axis=1)
        affine[:3, 3] = self.positions_mm[0]
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine

    def image_at(self, along_mm: float, tolerance_mm: float = 0.05) -> Any | None:
        """Return the header of the image at a place along the normal, None if there is none."""
        nearest = int(np.argmin(np.abs(self.along_mm - along_mm)))
        return self.headers[nearest] if abs(self.along_mm[nearest] - along_mm) <= tolerance_mm else None


def _looks_like_dicom(path: Path) -> bool:
    try:
        return bool(look_at(path))
    except ValueError:  # named like DICOM, and none
        return False
