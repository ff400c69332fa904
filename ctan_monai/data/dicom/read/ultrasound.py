"""Read frames of DICOM ultrasound (US), without what is burnt in outside of their B-mode regions."""

from __future__ import annotations

import functools
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.dicom.read.reading import check_whole, number_of, read_dicom, reading
from ctan_monai.data.dicom.read.recognize import look_at
from ctan_monai.errors import ConfigError, DataError

DICOM_SUFFIXES = (".dcm", ".dicom")
_US_CLASSES = ("1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1")  # one frame; several
_RETIRED = ("1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.3")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and those of several frames, which go on from it
_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "PALETTE COLOR")
_GRAY = ("MONOCHROME1", "MONOCHROME2")
_TWO_DIMENSIONAL, _TISSUE = 1, 1
_FORMATS = {1: "2D", 2: "M-mode", 3: "spectral", 4: "wave form", 5: "graphics"}  # RegionSpatialFormat
_DATA_TYPES = {1: "tissue", 2: "color flow", 3: "PW spectral Doppler", 4: "CW spectral Doppler"}  # RegionDataType
_EDGES = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
_LEAST_BYTES = 8  # of a compressed frame: the head of its item
_EXPORT = "Export it again, or take it out."
Bytes = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class UltrasoundFrame:
    """A frame of a DICOM ultrasound image.

    Args:
        rgb: (H, W, 3) uint8, of the whole frame; black outside of the regions.
        box: first row, first column, rows and columns of what the B-mode regions cover; None if the file names no
            regions, and all of it counts.
        frames: how many the file has.
        patient: PatientID, '' if it is not said.
        sha256: of the file, as hex.
    """

    rgb: Bytes
    box: Box | None
    frames: int
    patient: str
    sha256: str


def is_dicom_file(path: Path) -> bool:
    """Tell whether a file is called like DICOM or begins like it; a DICOMDIR is none of an image."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    try:
        return path.name.upper() != "DICOMDIR" and look_at(path) == "whole"
    except (OSError, ValueError):
        return False


def count_frames(path: Path) -> int:
    """Return the number of frames of an ultrasound file, 1 of a plain image.

    Raises:
        DataError: it cannot be read, or is no ultrasound.
    """
    with reading(path, "it"):
        return _frames_of(path, _checked(path, read_dicom(path, stop_before_pixels=True)))


def read_ultrasound(path: Path, frame: int = 1) -> UltrasoundFrame:
    """Read one frame of an ultrasound file as a color image.

    Gray becomes three equal channels; MONOCHROME1 is inverted; more than 8 bits are brought to 8 by the file's window,
    else by BitsStored. Where SequenceOfUltrasoundRegions is given, B-mode is what its 2D regions of tissue cover
    together, edges included; everything else becomes black.

    Args:
        path: an ultrasound image of one or several frames, or a secondary capture of modality US.
        frame: which, from 1.

    Raises:
        DataError: it cannot be read, is no ultrasound, has no pixels or no such frame, is compressed in a way that no
            decoder here reads, or has no B-mode region inside of the image.
        ConfigError: pydicom is older than 3.
    """
    opened = _opened(path, path.stat().st_mtime_ns if path.exists() else 0)
    header = opened.dataset
    frames = _frames_of(path, header)
    if not 1 <= frame <= frames:
        reason = f"it has {frames} frames, and no frame {frame}."
        raise DataError(path, None, reason, "Name one from 1 on, or all.")
    with reading(path, "its frame"):
        rgb = _to_rgb(path, header, _decoded(path, header, frame))
    boxes = _tissue_boxes(path, header, rgb.shape[:2])
    box = _around(boxes)
    if box is not None:
        inside = np.zeros(rgb.shape[:2], np.bool_)
        for top, left, rows, columns in boxes:
            inside[top : top + rows, left : left + columns] = True
        rgb = np.where(inside[..., None], rgb, np.uint8(0))
    return UltrasoundFrame(rgb, box, frames, str(header.get("PatientID") or ""), opened.sha256)


@dataclass(frozen=True, eq=False)
class _Opened:
    dataset: Any
    sha256: str


@functools.lru_cache(maxsize=1)  # the frames of a cine are read one after the other
def _opened(path: Path, changed_ns: int) -> _Opened:
    """Read a file and check its pixels' number."""
    with reading(path, "it"):
        content = path.read_bytes()
        whole = read_dicom(io.BytesIO(content))
        _checked(path, whole)
        check_whole(path, whole)
        return _Opened(whole, hashlib.sha256(content).hexdigest())


def _checked(path: Path, header: Any) -> Any:
    """Refuse what is no ultrasound image."""
    sop_class, modality = str(header.get("SOPClassUID") or ""), str(header.get("Modality") or "")
    captured = sop_class.startswith(_SECONDARY_CAPTURE) and modality == "US"
    if sop_class in (*_US_CLASSES, *_RETIRED) or captured:
        return header
    from pydicom.uid import UID

    known = UID(sop_class).name if sop_class else "a file without a SOPClassUID"
    reason = f"it is no ultrasound image, but {known}, Modality {modality or 'unknown'}."
    raise DataError(path, None, reason, "Give an Ultrasound Image or Ultrasound Multi-frame Image, or take it out.")


def _frames_of(path: Path, header: Any) -> int:
    frames = 1 if header.get("NumberOfFrames") in (None, "") else int(number_of(path, header, "NumberOfFrames"))
    size = int(number_of(path, header, "Rows") * number_of(path, header, "Columns"))
    least = _LEAST_BYTES if header.file_meta.TransferSyntaxUID.is_encapsulated else max(size, _LEAST_BYTES)
    if not 1 <= frames <= path.stat().st_size // least:  # a damaged header could ask for millions of cases
        raise DataError(path, None, f"its NumberOfFrames is {frames}, and it has {path.stat().st_size} bytes.", _EXPORT)
    return frames


def _decoded(path: Path, header: Any, frame: int) -> Any:
    """Decode one frame, (H, W) or (H, W, 3); colors as RGB."""
    try:
        from pydicom.pixels import get_decoder, pixel_array
    except ImportError as error:
        reason = "ultrasound needs pydicom 3, an older one is installed."
        raise ConfigError("DICOM US", reason, "Run pip install 'pydicom>=3.0.2'.") from error
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        try:
            readable = get_decoder(syntax).is_available
        except NotImplementedError:
            readable = False
        if not readable:
            remedy = "Run pip install pylibjpeg[all], or decompress the file, for example with gdcmconv --raw."
            raise DataError(path, None, f"its pixels are compressed as {syntax.name}, for which no decoder is "
                            "installed.", remedy)  # fmt: skip
    return pixel_array(header, index=frame - 1)


def _to_rgb(path: Path, header: Any, values: Any) -> Bytes:
    photometric = str(header.get("PhotometricInterpretation") or "")
    if photometric not in (*_COLORS, *_GRAY):
        reason = f"its PhotometricInterpretation is {photometric or 'absent'}, expected one of {_GRAY + _COLORS}."
        raise DataError(path, None, reason, "Export it as MONOCHROME2 or RGB.")
    if int(header.get("PixelRepresentation") or 0):
        raise DataError(path, None, "its pixels are signed, those of ultrasound are not.", "Export it again.")
    if photometric == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        colors = apply_color_lut(values, header)
        return np.asarray(colors >> 8 if colors.dtype.itemsize > 1 else colors, np.uint8)[..., :3]
    if photometric in _COLORS:
        if values.ndim != 3 or values.dtype != np.uint8:
            reason = f"its color pixels have {header.BitsAllocated} bits for each channel, expected 8."
            raise DataError(path, None, reason, "Export it with 8 bits.")
        return np.asarray(values)
    return np.repeat(_gray(header, values, photometric == "MONOCHROME1")[..., None], 3, axis=2)


def _gray(header: Any, values: Any, inverted: bool) -> Bytes:
    """Bring gray values to 0 to 255 by the window or LUT of the file, else by its BitsStored."""
    highest = float(2 ** int(header.BitsStored) - 1)
    found = values
    if header.get("VOILUTSequence") or header.get("WindowWidth") not in (None, ""):
        from pydicom.pixels import apply_voi_lut

        if lut := header.get("VOILUTSequence"):
            highest = float(2 ** int(lut[0].LUTDescriptor[2]) - 1)
        found = apply_voi_lut(values, header)
    gray = np.clip(np.rint(np.asarray(found, np.float64) * (255 / highest)), 0, 255).astype(np.uint8)
    return 255 - gray if inverted else gray


def _tissue_boxes(path: Path, header: Any, shape: tuple[int, ...]) -> list[Box]:
    """Return the 2D regions of tissue, clipped to the image; none if the file names no regions at all."""
    regions = list(header.get("SequenceOfUltrasoundRegions") or [])
    found, others = [], []
    for region in regions:
        kind = (int(region.get("RegionSpatialFormat") or 0), int(region.get("RegionDataType") or 0))
        if kind == (_TWO_DIMENSIONAL, _TISSUE):
            left, top, right, bottom = (int(number_of(path, region, name)) for name in _EDGES)
            first = (min(top, shape[0]), min(left, shape[1]))
            size = (min(bottom + 1, shape[0]) - first[0], min(right + 1, shape[1]) - first[1])
            if min(size) < 1:
                reason = (
                    f"a B-mode region has the columns {left} to {right} and rows {top} to {bottom}, the image "
                    f"{shape[1]} columns and {shape[0]} rows."
                )
                raise DataError(path, None, reason, _EXPORT)
            found.append((*first, *size))
        else:
            others.append(f"{_FORMATS.get(kind[0], 'unknown')}, {_DATA_TYPES.get(kind[1], 'other')}")
    if regions and not found:
        reason = f"none of its {len(regions)} ultrasound regions is B-mode (2D, tissue): {'; '.join(others)}."
        raise DataError(path, None, reason, "Give a B-mode image, or take it out.")
    return found


def _around(boxes: list[Box]) -> Box | None:
    """Return the smallest box that holds all of them."""
    if not boxes:
        return None
    edges = np.array([(top, left, top + rows, left + columns) for top, left, rows, columns in boxes])
    top, left = edges[:, :2].min(0).tolist()
    bottom, right = edges[:, 2:].max(0).tolist()
    return top, left, bottom - top, right - left
