"""The 2D image, such as a frame of ultrasound, that written objects refer to."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctan_monai.data.dicom.read.reading import read_dicom, reading
from ctan_monai.data.dicom.write.common import with_required
from ctan_monai.errors import DataError

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns")
_OF_CINES = ("NumberOfFrames", "FrameIncrementPointer", "FrameTime", "FrameTimeVector")
_SINGLE = "1.2.840.10008.5.1.4.1.1.6.1"  # Ultrasound Image
_OF_SPACE = ("FrameOfReferenceUID", "PositionReferenceIndicator", "ImagePositionPatient", "ImageOrientationPatient")


@dataclass(frozen=True, eq=False)
class ImageReference:
    """The header of an image, or of the file that a frame is in.

    Args:
        header: dataset without pixels, with the attributes of patient and study that are of type 2.
        frame: number of the frame, from 1; 0 of a file that has one only.
    """

    header: Any
    frame: int = 0

    @classmethod
    def read(cls, path: str | Path, frame: int = 0) -> ImageReference:
        """Read the header.

        Raises:
            DataError: it cannot be read, or lacks a UID.
        """
        path = Path(path)
        with reading(path, "an image"):
            header = read_dicom(path, stop_before_pixels=True)
        if missing := [name for name in _NEEDED if name not in header]:
            raise DataError(path, None, f"it has no {', '.join(missing)}.", "Export it with its UIDs.")
        return cls(with_required(header), frame)

    @property
    def frames(self) -> list[int] | None:
        """The frame's number in a list, None of a file that has one only."""
        return [self.frame] if self.frame else None

    @property
    def as_single(self) -> Any:
        """The header as that of a plain image that lies nowhere in space, as highdicom takes it."""
        single = copy.deepcopy(self.header)
        for name in (*_OF_CINES, *_OF_SPACE):
            if name in single:
                del single[name]
        single.SOPClassUID = _SINGLE
        return single
