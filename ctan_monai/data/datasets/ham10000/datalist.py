"""Datalists of HAM10000, and of images for inference."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ctan_monai.aliases import current_record, takes_old_arguments
from ctan_monai.data.cases.cache import CaseCache, read_header
from ctan_monai.data.cases.case import Case, check_case_id
from ctan_monai.data.datasets.ham10000.reader import (
    DIAGNOSIS,
    MASK_ENDING,
    READER_VERSION,
    Ham10000Reader,
    find_ham10000,
)
from ctan_monai.data.datasets.ham10000.synthetic import is_synthetic, write_lesion_phantoms
from ctan_monai.data.formats.images import CHANNELS, IMAGE_FILE_SUFFIXES, image_affine_ras, read_image_file
from ctan_monai.data.lists.datalist import Item, check_splits, choose, refuse_empty
from ctan_monai.data.lists.leakage import group_related, read_fingerprints
from ctan_monai.data.lists.splits import SPLITS, grouped_split
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.files.duplicates import check_ids

_logger = logging.getLogger(__name__)
_VERSION = "image-4"  # raise it when the same file gives another case
_SHOWN = 4  # synthetic images that stand for a user's
_STRETCH = 1.1  # how much an image may be stretched before the log says so
_SMALLEST = 32  # rows and columns; in less there is nothing to outline
_LONGEST_NAME = 64


@takes_old_arguments("data.ham10000_datalist")
def ham10000_datalist(
    dataset_dir: str | Path | None,
    cache_dir: str | Path,
    image_size: Sequence[int],
    splits: Sequence[str] = SPLITS,
    split_fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    datalist: str | Path | None = None,
    workers: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = True,
) -> dict[str, list[Item]]:
    """List HAM10000's images by split, caching them the first time.

    Images of one lesion, of one patient and, as HAM10000 has a lesion under two numbers, images that show the
    same stay in one split (`leakage.group_related`); diagnoses are spread evenly.

    Args:
        dataset_dir: folder of the data set, or None for synthetic images, which are made on the spot.
        cache_dir: folder for the cached cases, and for the synthetic images.
        image_size: rows and columns that images and masks are resized to.
        splits: what to list.
        split_fractions: of training, validation and test.
        seed: of the split.
        datalist: JSON file ``{"train": ["ISIC_0024306", ...], "validation": [...], "test": [...]}`` that chooses
            images by name instead.
        workers: processes that fill the cache; None for one per processor.
        on_error: 'skip' leaves out up to a tenth of the images if they cannot be read.
        progress: show a bar while the cache is filled.

    Returns:
        Items ``{"case", "file"}`` by split.

    Raises:
        DataError: data are missing or cannot be read, a split is empty, a name is unknown.
        ConfigError: an argument has an unknown value.
    """
    check_splits(splits)
    size = check_image_size(image_size)
    synthetic = dataset_dir is None or str(dataset_dir) == ""
    root = synthetic_images(cache_dir) if synthetic else Path(str(dataset_dir))
    found = find_ham10000(root)
    remedy = "Name images without their ending, as ISIC_0024306."
    wanted = choose(datalist, splits, found.images, f"images of {root}", remedy)
    listed = found.images if wanted is None else itertools.chain.from_iterable(wanted.values())
    images = list(dict.fromkeys(listed))
    cache = CaseCache(Path(cache_dir) / f"{size[0]}x{size[1]}", Ham10000Reader(found, size), READER_VERSION)
    files = cache.prepare(
        [found.images[image] for image in images],
        workers=0 if synthetic else workers,
        on_error=on_error,
        progress=progress,
    )
    items = {source.stem: {"case": source.stem, "file": str(file)} for source, file in files.items()}
    if not synthetic:
        _logger.info("%d images of %s, cached in %s", len(items), root, cache.cache_dir)
    divided = _divide(list(items.values()), split_fractions, seed) if wanted is None else wanted
    result = {split: [items[image] for image in divided[split] if image in items] for split in splits}
    remedy = "Give more images, other split fractions, or a datalist file that names some for each split."
    refuse_empty(root, result, "image", remedy)
    return result


def synthetic_images(cache_dir: str | Path) -> Path:
    """Return a folder of synthetic images in HAM10000's layout, creating it the first time with a note in the log."""
    root = write_lesion_phantoms(Path(cache_dir) / "synthetic")
    _logger.warning("synthetic images in use (%s): they show no patients; give --dataset_dir for HAM10000", root)
    return root


def check_image_size(image_size: Sequence[int]) -> tuple[int, int]:
    """Check an image size and return rows and columns.

    Raises:
        ConfigError: it is no pair of whole numbers of at least 32, below which nothing is left at the bottleneck.
    """
    pair = tuple(image_size) if isinstance(image_size, list | tuple) else ()
    if len(pair) != 2 or not all(isinstance(side, int) and 32 <= side <= 4096 for side in pair):
        raise ConfigError("image_size", f"{image_size!r} was found.", "Give rows and columns, for example [192, 256].")
    return pair[0], pair[1]


def _divide(items: Sequence[Item], split_fractions: Sequence[float], seed: int) -> dict[str, list[str]]:
    diagnoses = {item["case"]: read_header(item["file"]).values.get(DIAGNOSIS) for item in items}
    return grouped_split(group_related(read_fingerprints(items)), diagnoses, split_fractions, seed)


def image_inference_list(
    source: str | Path | None,
    cache_dir: str | Path,
    image_size: Sequence[int],
    on_error: Literal["raise", "skip"] = "raise",
) -> list[Item]:
    """List images for inference, caching them.

    Args:
        source: a JPEG or PNG file or a folder of such; files that end in ``_segmentation`` are masks and left out. None
            for a few synthetic images.
        cache_dir: folder for the cached cases.
        image_size: rows and columns that the network was trained with; images are stretched to them.
        on_error: 'skip' leaves out images that cannot be read, and the log lists them; 'raise' stops.

    Returns:
        Items ``{"case", "file"}``; a case is called as `image_name` says.

    Raises:
        DataError: there is no image, two have one name, or one (with 'skip': each) cannot be read.
        ConfigError: the size is none, or ``on_error`` is neither.
    """
    size = check_image_size(image_size)
    if source is None or str(source) == "":
        found = list(find_ham10000(synthetic_images(cache_dir)).images.values())[:_SHOWN]
    else:
        found = _images_in(Path(str(source)))
    names = {path: image_name(path) for path in found}
    check_ids(names)
    for path, name in names.items():
        if name != path.stem:
            _logger.warning("%s is called %s in the results", path, name)
    files = ImageFileCache(Path(cache_dir) / "images" / f"{size[0]}x{size[1]}", ImageFileReader(size), _VERSION)
    cached = files.prepare(found, on_error=on_error, skip_fraction=1.0)
    _warn_of_strange(cached, size)
    return [{"case": names[path], "file": str(file)} for path, file in cached.items()]


def _warn_of_strange(cached: Mapping[Path, Path], size: tuple[int, int]) -> None:
    """Warn of images that are unlike those that a network was trained on."""
    found = {path: read_header(file).meta for path, file in cached.items()}
    shapes = {path: meta["full_shape"] for path, meta in found.items()}
    stretch = {path: shape[0] * size[1] / (shape[1] * size[0]) for path, shape in shapes.items()}
    stretched = [path for path, factor in stretch.items() if max(factor, 1 / factor) > _STRETCH]
    gray = [path for path, meta in found.items() if current_record(meta)["gray"]]
    if stretched:
        rows, columns = shapes[stretched[0]]
        what = f"stretched to {size[1]} x {size[0]}, for example {stretched[0]} of {columns} x {rows} pixels"
        _logger.warning("%d of %d images are %s", len(stretched), len(found), what)
    if gray:
        _logger.warning("%d of %d images have no color, for example %s", len(gray), len(found), gray[0])


def image_name(path: str | Path) -> str:
    """Return the case id of an image: its file's stem, made valid for file names.

    >>> image_name("lesion (1) left.jpg")
    'lesion__1__left'
    """
    return check_case_id(re.sub(r"[^A-Za-z0-9._-]", "_", Path(path).stem)[:_LONGEST_NAME])


class ImageFileCache(CaseCache):
    """A cache of images whose files may have any name."""

    def name_of(self, source: Path) -> str:
        """Return the id of an image's case."""
        return image_name(source)


class ImageFileReader:
    """Read an image without labels as a case, for `CaseCache`.

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
        case = image_name(path)
        image = read_image_file(path, case, self.size)
        if min(image.full_shape) < _SMALLEST:
            reason = f"it has {image.full_shape[0]} rows and {image.full_shape[1]} columns, expected {_SMALLEST}"
            raise DataError(path, case, f"{reason} of each at least.", "Give the image itself, not an icon of it.")
        volumes: dict[str, Any] = {name: image.rgb[..., at].copy() for at, name in enumerate(CHANNELS)}
        is_gray = bool((image.rgb == image.rgb[..., :1]).all())
        meta: dict[str, Any] = {"full_shape": list(image.full_shape), "gray": is_gray}
        meta |= {"synthetic": True} if is_synthetic(path) else {}
        return Case(case, volumes, {}, image_affine_ras(image.full_shape, self.size), {}, meta)


def _images_in(source: Path) -> list[Path]:
    candidates = [source] if source.is_file() else sorted(source.glob("[!.]*"))
    found = [path for path in candidates if path.suffix.lower() in IMAGE_FILE_SUFFIXES and path.is_file()]
    found = [path for path in found if path == source or not path.stem.endswith(MASK_ENDING)]
    if not found:
        reason = f"no image was found; looked for a file, or files in a folder, with one of {IMAGE_FILE_SUFFIXES}."
        raise DataError(source, None, reason, "Check the path.")
    return found
