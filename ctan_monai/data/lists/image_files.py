"""Image files of any name, listed for inference and cached; what the data sets of images have in common."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ctan_monai.aliases import current_record
from ctan_monai.data.cases.cache import CaseCache, read_header
from ctan_monai.data.cases.case import Case, check_case_id
from ctan_monai.data.cases.file_grid import NATIVE_GRID, Grid
from ctan_monai.data.formats.images import CHANNELS, IMAGE_FILE_SUFFIXES, RgbImage, image_affine_ras
from ctan_monai.data.lists.datalist import Item
from ctan_monai.data.lists.ultrasound_files import (
    file_and_frame,
    is_image_file,
    read_image,
    stem_of,
    tell_frames,
    with_frames,
)
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.files.duplicates import check_ids
from ctan_monai.files.whole_folder import INDEX_FILE, PREDICTIONS, SYNTHETIC_MARK

_logger = logging.getLogger(__name__)
_VERSION = "image-4"  # raise it when the same file gives another case
_STRETCH = 1.1  # how much an image may be stretched before the log says so
_SMALLEST = 32  # rows and columns; in less there is nothing to outline
_LONGEST_NAME = 64
_SHOWN = 3  # names in the log


@dataclass(frozen=True)
class ImageFiles:
    """How a data set's images are listed for inference.

    Args:
        size: rows and columns to resize to.
        is_mask: tells by a file's stem whether it is a mask, which is left out.
        square: pad with zeros to a square first, see `read_image_file`.
        color: images without color are strange, and the log says so.
        check: refuses an image that was read; None: none.
        frame: of DICOM ultrasound, 'all' or the number of the frame to use of files of several; None: no DICOM.
    """

    size: tuple[int, int]
    is_mask: Callable[[str], bool]
    square: bool = False
    color: bool = True
    check: Callable[[RgbImage, Path, str], None] | None = None
    frame: int | str | None = None


def list_image_files(
    found: Sequence[Path], cache_dir: str | Path, kind: ImageFiles, on_error: Literal["raise", "skip"] = "raise"
) -> list[Item]:
    """List image files for inference, caching them.

    Args:
        found: the files.
        cache_dir: folder for the cached cases.
        kind: how they are read.
        on_error: 'skip' leaves out images that cannot be read, and the log lists them; 'raise' stops.

    Returns:
        Items ``{"case", "file"}``; a case is called as `image_name` says, and where images of several folders would
        have one name, like its folders too. Those of DICOM ultrasound have ``"dicom"`` too, the file, and ``"frame"``,
        from 1, or 0 where the file has one only; frames also ``"cine"``, the id of their file.

    Raises:
        DataError: two of a folder have one name, or one (with 'skip': each) cannot be read.
        ConfigError: ``on_error`` is neither.
    """
    found = list(found) if kind.frame is None else with_frames(found, kind.frame)
    tell_frames(found)
    cines = [file for file, frame in map(file_and_frame, found) if frame is not None]
    names = names_of([*found, *dict.fromkeys(cines)])
    folder = Path(cache_dir) / ("squares" if kind.square else "images") / f"{kind.size[0]}x{kind.size[1]}"
    files = ImageFileCache(folder, ImageFileReader(kind.size, kind.square, kind.check, names), _VERSION, names)
    cached = files.prepare(found, on_error=on_error, skip_fraction=1.0)
    _warn_of_strange(cached, kind)
    tell_regions(cached.values())
    return [{"case": names[path], "file": str(file), **_dicom(path, names)} for path, file in cached.items()]


def names_of(paths: Sequence[Path]) -> dict[Path, str]:
    """Return ids of images, and log those that are not called like their file.

    An id is the image's name; where images of several folders share it, their folders stand before it.

    Raises:
        DataError: two images of one folder would have one id.
    """
    files = {file_and_frame(path)[0] for path in paths}
    count = Counter(image_name(file).lower() for file in files)
    shared = [file.parent for file in files if count[image_name(file).lower()] > 1]
    top = os.path.commonpath(shared) if shared else ""
    names = {}
    for path in paths:
        file = file_and_frame(path)[0]
        folders = file.parent.relative_to(top).parts if count[image_name(file).lower()] > 1 else ()
        names[path] = fit_name("_".join([*folders, stem_of(path)])[-_LONGEST_NAME:]) if folders else image_name(path)
    check_ids(names)
    if others := [path for path, name in names.items() if name != stem_of(path)]:
        shown = "; ".join(f"{path} is {names[path]}" for path in others[:_SHOWN])
        _logger.warning("%d names in the results are not those of the files, such as: %s", len(others), shown)
    return names


def _dicom(path: Path, names: Mapping[Path, str]) -> dict[str, Any]:
    file, frame = file_and_frame(path)
    if file.suffix.lower() in IMAGE_FILE_SUFFIXES:
        return {}
    return {"dicom": str(file), "frame": frame or 0, **({"cine": names[file]} if frame else {})}


def tell_regions(files: Iterable[str | Path]) -> None:
    """Log how many cached DICOM images were cut to their ultrasound regions, and how many name none."""
    regions = [meta["regions"] for file in files if "regions" in (meta := read_header(file).meta)]
    if cut := sum(regions):
        _logger.info("%d DICOM images are cut to their B-mode regions; annotations outside of them are left out", cut)
    if whole := len(regions) - cut:
        _logger.warning("%d DICOM images name no regions: all that is burnt in stays in them", whole)


def images_in(source: Path, is_mask: Callable[[str], bool], dicom: bool = False) -> list[Path]:
    """Return an image file, or those in a folder and below it that are no masks; with DICOM or without.

    Raises:
        DataError: there is none.
    """
    if not source.exists():
        raise DataError(source, None, "there is no such file or folder.", "Check the path.")
    files = [source] if source.is_file() else _files_below(source)
    found = [path for path in files if path.suffix.lower() in IMAGE_FILE_SUFFIXES or (dicom and is_image_file(path))]
    masks = {path for path in found if path != source and is_mask(path.stem)}
    if len(masks) == len(found):
        but = f" but {len(masks)} masks" if masks else ""
        kinds = f"{IMAGE_FILE_SUFFIXES}{' or DICOM' if dicom else ''}"
        reason = f"no image was found{but}; looked for a file, or files in a folder and below it, with one of {kinds}."
        raise DataError(source, None, reason, "Check the path.")
    if masks:
        _logger.info("%d masks are left out, such as %s", len(masks), min(masks))
    return [path for path in found if path not in masks]


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and those below it, in the alphabet, without hidden ones and earlier predictions."""
    for place, folders, files in os.walk(folder, onerror=_refuse):
        if INDEX_FILE in files and PREDICTIONS in Path(place, INDEX_FILE).read_text(errors="replace")[:100]:
            _logger.info("%s is left out: it holds predictions", place)
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


def _refuse(error: OSError) -> None:
    reason = f"it cannot be read ({error.strerror})."
    raise DataError(error.filename, None, reason, "Check its permissions.") from error


def is_synthetic(image: str | Path) -> bool:
    """Tell whether an image lies in a folder of drawn images."""
    return any((folder / SYNTHETIC_MARK).is_file() for folder in list(Path(image).parents)[:2])


def check_image_size(image_size: Sequence[int]) -> tuple[int, int]:
    """Check an image size and return rows and columns.

    Raises:
        ConfigError: it is no pair of whole numbers of at least 32, below which nothing is left at the bottleneck.
    """
    pair = tuple(image_size) if isinstance(image_size, list | tuple) else ()
    if len(pair) != 2 or not all(isinstance(side, int) and 32 <= side <= 4096 for side in pair):
        raise ConfigError("image_size", f"{image_size!r} was found.", "Give rows and columns, for example [192, 256].")
    return pair[0], pair[1]


def _warn_of_strange(cached: Mapping[Path, Path], kind: ImageFiles) -> None:
    """Warn of images that are unlike those that a network was trained on."""
    size = kind.size
    found = {path: read_header(file).meta for path, file in cached.items()}
    shapes = {path: meta["full_shape"] for path, meta in found.items()}
    stretch = {path: shape[0] * size[1] / (shape[1] * size[0]) for path, shape in shapes.items()}
    stretched = [path for path, factor in stretch.items() if max(factor, 1 / factor) > _STRETCH]
    gray = [path for path, meta in found.items() if current_record(meta)["gray"]]
    if stretched and not kind.square:
        rows, columns = shapes[stretched[0]]
        what = f"stretched to {size[1]} x {size[0]}, for example {stretched[0]} of {columns} x {rows} pixels"
        _logger.warning("%d of %d images are %s", len(stretched), len(found), what)
    if gray and kind.color:
        _logger.warning("%d of %d images have no color, for example %s", len(gray), len(found), gray[0])


def image_name(path: str | Path) -> str:
    """Return the case id of an image: its file's stem, and number of a frame, made valid for file names.

    >>> image_name("lesion (1) left.jpg")
    'lesion__1__left'
    """
    return fit_name(stem_of(path))


def fit_name(name: str) -> str:
    """Return a name made valid for an id: other characters replaced, and cut."""
    return check_case_id(re.sub(r"[^A-Za-z0-9._-]", "_", name)[:_LONGEST_NAME])


class ImageFileCache(CaseCache):
    """A cache of images whose files may have any name; ``names`` gives ids other than `image_name`'s."""

    def __init__(
        self,
        cache_dir: str | Path,
        reader: Callable[[Path], Case],
        version: str,
        names: Mapping[Path, str] | None = None,
    ) -> None:
        super().__init__(cache_dir, reader, version)
        self._names = names or {}

    def name_of(self, source: Path) -> str:
        """Return the id of an image's case."""
        return self._names.get(source) or image_name(source)

    def file_of(self, source: Path) -> Path:
        """Return the file that a frame is in."""
        return file_and_frame(source)[0]


class ImageFileReader:
    """Read an image without labels as a case, for `CaseCache`.

    Args:
        size: rows and columns to resize to.
        square: pad with zeros to a square first.
        check: refuses an image that was read.
        names: ids other than `image_name`'s.
    """

    def __init__(
        self,
        size: tuple[int, int],
        square: bool = False,
        check: Callable[[RgbImage, Path, str], None] | None = None,
        names: Mapping[Path, str] | None = None,
    ) -> None:
        self.size, self.square, self.check, self._names = size, square, check, names or {}

    def __call__(self, path: Path) -> Case:
        """Read one image.

        Raises:
            DataError: it cannot be read, or has less than 32 rows or columns.
        """
        case = self._names.get(path) or image_name(path)
        image, frame = read_image(path, case, self.size, self.square)
        if min(image.part_shape) < _SMALLEST:
            reason = f"it has {image.part_shape[0]} rows and {image.part_shape[1]} columns, expected {_SMALLEST}"
            raise DataError(path, case, f"{reason} of each at least.", "Give the image itself, not an icon of it.")
        if self.check is not None:
            self.check(image, path, case)
        volumes: dict[str, Any] = {name: image.rgb[..., at].copy() for at, name in enumerate(CHANNELS)}
        is_gray = bool((image.rgb == image.rgb[..., :1]).all())
        meta: dict[str, Any] = {**shape_meta(image), "gray": is_gray}
        meta |= {} if frame is None else {"regions": frame.box is not None}
        meta |= {"synthetic": True} if is_synthetic(file_and_frame(path)[0]) else {}
        return Case(case, volumes, {}, image.affine_ras, {}, meta)


def shape_meta(image: RgbImage) -> dict[str, Any]:
    """Return the entries of a case's ``meta`` that say which rows and columns of the file its grid covers."""
    found: dict[str, Any] = {"full_shape": list(image.full_shape)}
    if image.padded_shape is not None:
        own = Grid(image.full_shape, image_affine_ras(image.full_shape, image.full_shape), image.box)
        found |= {"padded_shape": list(image.padded_shape), NATIVE_GRID: own.to_meta()}
    return found
