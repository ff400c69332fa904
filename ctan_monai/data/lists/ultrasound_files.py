"""Image files and frames of DICOM ultrasound side by side: their names, and one way to read them.

A frame of a cine is named by a path below its file, ``cine.dcm/frame 3``, which no file can have.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from ctan_monai.data.dicom.read.reading import of_case
from ctan_monai.data.dicom.read.ultrasound import (
    DICOM_SUFFIXES,
    UltrasoundFrame,
    count_frames,
    is_dicom_file,
    read_ultrasound,
)
from ctan_monai.data.formats.images import IMAGE_FILE_SUFFIXES, RgbImage, read_image_file, rgb_image
from ctan_monai.errors import ConfigError, DataError

_logger = logging.getLogger(__name__)
_FRAME = re.compile(r"frame (\d+)")
_LONGEST_NAME = 64
ALL = "all"


def check_frame(frame: int | str) -> int | str:
    """Check the option that chooses frames, and return it.

    Raises:
        ConfigError: it is neither 'all' nor a number from 1 on.
    """
    if frame == ALL or (isinstance(frame, int) and not isinstance(frame, bool) and frame >= 1):
        return frame
    raise ConfigError("frame", f"{frame!r} was found.", "Use all, or the number of a frame, from 1 on.")


def file_and_frame(path: str | Path) -> tuple[Path, int | None]:
    """Return the file that a path is or is a frame of, and the number of the frame, None of a whole file."""
    path = Path(path)
    match = _FRAME.fullmatch(path.name)
    return (path.parent, int(match[1])) if match and path.parent.is_file() else (path, None)


def stem_of(path: str | Path) -> str:
    """Return the name of an image without ending; of a frame with its number: ``cine_f003``."""
    file, frame = file_and_frame(path)
    stem = file.stem if file.suffix.lower() in (*IMAGE_FILE_SUFFIXES, *DICOM_SUFFIXES) else file.name  # a UID has dots
    if frame is None:
        return stem
    ending = f"_f{frame:03d}"
    return stem[-(_LONGEST_NAME - len(ending)) :] + ending  # UIDs differ at their ends


def is_image_file(path: Path) -> bool:
    """Tell whether a file is called like an image, or is DICOM by name or first bytes."""
    return path.suffix.lower() in IMAGE_FILE_SUFFIXES or is_dicom_file(path)


def with_frames(paths: Iterable[Path], frame: int | str) -> list[Path]:
    """List the frames of files of several; other files stay, and so do those that cannot be read.

    Args:
        paths: files.
        frame: 'all', or the number of the one that is wanted of each file of several frames.
    """
    found: list[Path] = []
    for path in paths:
        frames = _frames(path)
        numbers = range(1, frames + 1) if frame == ALL else [int(frame)]
        found += [path] if frames == 1 else [path / f"frame {number}" for number in numbers]
    return found


def tell_frames(paths: Iterable[Path]) -> None:
    """Log which frames of DICOM files with several are cases."""
    frames = [(file, number) for file, number in map(file_and_frame, paths) if number is not None]
    if not frames:
        return
    files, numbers = {file for file, _ in frames}, sorted({number for _, number in frames})
    which = f"frame {numbers[0]} of each is a case" if len(numbers) == 1 else f"{len(frames)} frames are cases"
    _logger.info("%d DICOM files have several frames: %s (option frame)", len(files), which)


def _frames(path: Path) -> int:
    if path.suffix.lower() in IMAGE_FILE_SUFFIXES or not is_dicom_file(path):
        return 1
    try:
        return count_frames(path)
    except DataError:  # said when it is read
        return 1


def read_image(path: Path, case: str, size: tuple[int, int], square: bool) -> tuple[RgbImage, UltrasoundFrame | None]:
    """Read an image file, see `read_image_file`, or a frame of DICOM ultrasound, cut to its B-mode regions.

    Returns:
        The image; and the frame that it was made of, None of a JPEG or PNG.

    Raises:
        DataError: it cannot be read.
    """
    from PIL import Image

    file, number = file_and_frame(path)
    if number is None and (file.suffix.lower() in IMAGE_FILE_SUFFIXES or not is_dicom_file(file)):
        return read_image_file(file, case, size, square), None
    with of_case(case):
        frame = read_ultrasound(file, number or 1)
    whole = Image.fromarray(frame.rgb)
    return rgb_image(whole, path, case, frame.sha256, size, square, frame.box), frame
