"""The 2D image, or the frames of a cine, that written objects refer to."""

from __future__ import annotations

import copy
from collections.abc import Sequence
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
    """The header of an image, or of the cine that frames are in.

    Args:
        header: dataset without pixels, with the attributes of patient and study that are of type 2.
        frames: numbers of the frames, from 1, in their order; none of a file that has one only.
        others: headers of the other images of a series that is described as a whole.
    """

    header: Any
    frames: tuple[int, ...] = ()
    others: tuple[Any, ...] = ()

    @classmethod
    def read(cls, path: str | Path, frames: Sequence[int] = (), others: Sequence[str | Path] = ()) -> ImageReference:
        """Read the header, and those of the other images of its series.

        Raises:
            DataError: one cannot be read, or lacks a UID.
        """
        return cls(_header(path), tuple(frames), tuple(_header(other) for other in others))

    @property
    def as_single(self) -> Any:
        """The header as that of a plain image that lies nowhere in space, as highdicom takes it."""
        single = copy.deepcopy(self.header)
        for name in (*_OF_CINES, *_OF_SPACE):
            if name in single:
                del single[name]
        single.SOPClassUID = _SINGLE
        return single


def _header(path: str | Path) -> Any:
    path = Path(path)
    with reading(path, "an image"):
        header = read_dicom(path, stop_before_pixels=True)
    if missing := [name for name in _NEEDED if name not in header]:
        raise DataError(path, None, f"it has no {', '.join(missing)}.", "Export it with its UIDs.")
    return with_required(header)
