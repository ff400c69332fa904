"""Find the images that a trained network shall be applied to."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ctan_monai.data.cases.cache import CaseCache, read_header
from ctan_monai.data.cases.case import Case, check_case_id
from ctan_monai.data.datasets.ham10000.datalist import check_image_size, synthetic_pictures
from ctan_monai.data.datasets.ham10000.reader import MASK_ENDING, find_ham10000
from ctan_monai.data.datasets.ham10000.synthetic import is_synthetic
from ctan_monai.data.formats.images import CHANNELS, PICTURE_SUFFIXES, picture_affine_ras, read_picture
from ctan_monai.data.lists.datalist import Item
from ctan_monai.errors import DataError
from ctan_monai.files.duplicates import check_ids

_logger = logging.getLogger(__name__)
_VERSION = "picture-4"  # raise it when the same file gives another case
_SHOWN = 4  # synthetic images that stand for a user's
_STRETCH = 1.1  # how much an image may be stretched before the log says so
_SMALLEST = 32  # rows and columns; in less there is nothing to outline
_LONGEST_NAME = 64


def image_inference_list(
    source: str | Path | None,
    cache_dir: str | Path,
    image_size: Sequence[int],
    on_error: Literal["raise", "skip"] = "raise",
) -> list[Item]:
    """List images for inference, reading them into the cache.

    Args:
        source: a JPEG or PNG file or a folder of such; files that end in ``_segmentation`` are masks and left out. None
            for a few synthetic images.
        cache_dir: folder for the cached cases.
        image_size: rows and columns that the network was trained with; images are stretched to them.
        on_error: 'skip' leaves out images that cannot be read, and the log lists them; 'raise' stops.

    Returns:
        Items ``{"case", "file"}``; a case is called as `picture_name` says.

    Raises:
        DataError: there is no image, two have one name, or one (with 'skip': each) cannot be read.
        ConfigError: the size is none, or ``on_error`` is neither.
    """
    size = check_image_size(image_size)
    if source is None or str(source) == "":
        found = list(find_ham10000(synthetic_pictures(cache_dir)).pictures.values())[:_SHOWN]
    else:
        found = _pictures_in(Path(str(source)))
    names = {path: picture_name(path) for path in found}
    check_ids(names)
    for path, name in names.items():
        if name != path.stem:
            _logger.warning("%s is called %s in the results", path, name)
    files = PictureFileCache(Path(cache_dir) / "pictures" / f"{size[0]}x{size[1]}", PictureReader(size), _VERSION)
    cached = files.prepare(found, on_error=on_error, skip_share=1.0)
    _warn_of_strange(cached, size)
    return [{"case": names[path], "file": str(file)} for path, file in cached.items()]


def _warn_of_strange(cached: Mapping[Path, Path], size: tuple[int, int]) -> None:
    """Say which images are unlike those that a network was trained on."""
    found = {path: read_header(file).meta for path, file in cached.items()}
    shapes = {path: meta["full_shape"] for path, meta in found.items()}
    stretch = {path: shape[0] * size[1] / (shape[1] * size[0]) for path, shape in shapes.items()}
    stretched = [path for path, factor in stretch.items() if max(factor, 1 / factor) > _STRETCH]
    gray = [path for path, meta in found.items() if meta["grey"]]
    if stretched:
        rows, columns = shapes[stretched[0]]
        what = f"stretched to {size[1]} x {size[0]}, for example {stretched[0]} of {columns} x {rows} pixels"
        _logger.warning("%d of %d images are %s", len(stretched), len(found), what)
    if gray:
        _logger.warning("%d of %d images have no color, for example %s", len(gray), len(found), gray[0])


def picture_name(path: str | Path) -> str:
    """Return what the case of an image is called: its file's name without the ending, made fit for file names.

    >>> picture_name("lesion (1) left.jpg")
    'lesion__1__left'
    """
    return check_case_id(re.sub(r"[^A-Za-z0-9._-]", "_", Path(path).stem)[:_LONGEST_NAME])


class PictureFileCache(CaseCache):
    """A cache of images whose files may have any name."""

    def name_of(self, source: Path) -> str:
        """Return the id of an image's case."""
        return picture_name(source)


class PictureReader:
    """Reads an image of which nothing else is known into a case, for `CaseCache`.

    Args:
        size: rows and columns to resize to.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def __call__(self, path: Path) -> Case:
        """Read one image.

        Raises:
            DataError: it cannot be read, or has less than 32 rows or columns.
        """
        case = picture_name(path)
        picture = read_picture(path, case, self.size)
        if min(picture.full_shape) < _SMALLEST:
            reason = f"it has {picture.full_shape[0]} rows and {picture.full_shape[1]} columns, expected {_SMALLEST}"
            raise DataError(path, case, f"{reason} of each at least.", "Give the image itself, not an icon of it.")
        volumes: dict[str, Any] = {name: picture.rgb[..., at].copy() for at, name in enumerate(CHANNELS)}
        is_gray = bool((picture.rgb == picture.rgb[..., :1]).all())
        meta: dict[str, Any] = {"full_shape": list(picture.full_shape), "grey": is_gray}
        meta |= {"synthetic": True} if is_synthetic(path) else {}
        return Case(case, volumes, {}, picture_affine_ras(picture.full_shape, self.size), {}, meta)


def _pictures_in(source: Path) -> list[Path]:
    candidates = [source] if source.is_file() else sorted(source.glob("[!.]*"))
    found = [path for path in candidates if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()]
    found = [path for path in found if path == source or not path.stem.endswith(MASK_ENDING)]
    if not found:
        reason = f"no image was found; looked for a file, or files in a folder, with one of {PICTURE_SUFFIXES}."
        raise DataError(source, None, reason, "Check the path.")
    return found
