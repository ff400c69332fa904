"""Datalists of BUSI, and of ultrasound images for inference."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ctan_monai.data.cases.cache import read_header
from ctan_monai.data.datasets.busi.layout import CLASSES, Busi, BusiImage, find_busi, is_mask
from ctan_monai.data.datasets.busi.reader import CLASS, READER_VERSION, BusiReader, check_shows_ultrasound
from ctan_monai.data.datasets.busi.synthetic import write_ultrasound_phantoms
from ctan_monai.data.datasets.busi.table import find_images
from ctan_monai.data.dicom.read.pseudonyms import read_or_make_key
from ctan_monai.data.formats.images import IMAGE_FILE_SUFFIXES
from ctan_monai.data.lists.datalist import Item, check_splits, choose, items_by_split, prepare_items, split_related
from ctan_monai.data.lists.image_files import (
    ImageFileCache,
    ImageFiles,
    check_image_size,
    images_in,
    list_image_files,
    tell_regions,
)
from ctan_monai.data.lists.splits import SPLITS
from ctan_monai.data.lists.ultrasound_files import ALL, check_frame, tell_frames
from ctan_monai.errors import ConfigError

_logger = logging.getLogger(__name__)
KEY = ".pseudonym.key"  # in the folder of the cache
_SHOWN = 4  # synthetic images that stand for a user's


def busi_datalist(
    dataset_dir: str | Path | None,
    cache_dir: str | Path,
    image_size: Sequence[int],
    use_normal: bool = False,
    splits: Sequence[str] = SPLITS,
    split_fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    folds: int | None = None,
    fold: int = 0,
    datalist: str | Path | None = None,
    add_data: str | Path | None = None,
    frame: int | str = ALL,
    workers: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> dict[str, list[Item]]:
    """List BUSI's images by split, caching them the first time.

    Images of one patient, as far as a table names patients, and images that show the same, of which BUSI has several,
    stay in one split (`leakage.group_related`); classes are spread evenly.

    Args:
        dataset_dir: folder of the data set, or a table (`find_images`); None for synthetic images, made on the spot.
        cache_dir: folder for the cached cases, and for the synthetic images.
        image_size: rows and columns that images, padded to squares, and masks are resized to.
        use_normal: also list normal images: not malignant, without a tumor.
        splits: what to list.
        split_fractions: of training, validation and test.
        seed: of the split.
        folds: cross-validation: the test set is one of so many parts, and ``split_fractions`` divide the rest.
        fold: which of them, from 0.
        datalist: JSON file ``{"train": ["benign__1_", ...], ...}`` that chooses images by id instead.
        add_data: an earlier run, whose cases keep their split while others are added, see `kept_cases`.
        frame: of DICOM files of several frames, 'all' or the number, from 1, of the one to use.
        workers: processes that fill the cache; None for one per processor.
        on_error: 'skip' leaves out up to a tenth of the images if they cannot be read.

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
    found = _without_normal(find_images(root, check_frame(frame)), use_normal)
    tell_frames(image.path for image in found.images.values())
    wanted = choose(datalist, splits, found.images, f"images of {root}", "Name images as datalist.json of a run does.")
    key = read_or_make_key(Path(cache_dir) / KEY) if any(map(_is_dicom, found.images.values())) else b""
    cache = ImageFileCache(Path(cache_dir) / f"{size[0]}x{size[1]}", BusiReader(found, size, key), READER_VERSION)
    paths = {name: image.path for name, image in found.images.items()}
    items = prepare_items(cache, paths, wanted, workers=0 if synthetic else workers, on_error=on_error)
    tell_regions(item["file"] for item in items.values())
    if not synthetic:
        _logger.info("%d images of %s, cached in %s", len(items), root, cache.cache_dir)
    if wanted is None:
        classes = {name: read_header(item["file"]).meta[CLASS] for name, item in items.items()}
        wanted = split_related(list(items.values()), classes, split_fractions, seed, folds, fold, add_data)
    return items_by_split(root, wanted, items, splits, "image")


def synthetic_images(cache_dir: str | Path) -> Path:
    """Return a folder of synthetic images in BUSI's layout, creating it the first time with a note in the log."""
    root = write_ultrasound_phantoms(Path(cache_dir) / "synthetic")
    _logger.warning("synthetic images in use (%s): they show no patients; give --dataset_dir for BUSI", root)
    return root


def busi_inference_list(
    source: str | Path | None,
    cache_dir: str | Path,
    image_size: Sequence[int],
    on_error: Literal["raise", "skip"] = "raise",
    frame: int | str = ALL,
) -> list[Item]:
    """List ultrasound images for inference, caching them, padded with zeros to squares.

    Args:
        source: a JPEG, PNG or DICOM ultrasound file or a folder of such; files that end in ``_mask`` or ``_mask_<n>``
            are masks and left out. None for a few synthetic images.
        cache_dir: folder for the cached cases.
        image_size: rows and columns that the network was trained with.
        on_error: 'skip' leaves out images that cannot be read, and the log lists them; 'raise' stops.
        frame: as in training.

    Returns:
        Items, see `list_image_files`.

    Raises:
        DataError: there is no image, two have one name, or one (with 'skip': each) cannot be read.
        ConfigError: the size is none, or ``on_error`` is neither.
    """
    kind = ImageFiles(
        check_image_size(image_size),
        is_mask,
        square=True,
        color=False,
        check=check_shows_ultrasound,
        frame=check_frame(frame),
    )
    if source is None or str(source) == "":
        known = find_busi(synthetic_images(cache_dir)).images
        labels = [[image.path for image in known.values() if image.label == label] for label in CLASSES[:2]]
        found = [path for paths in labels for path in paths[: _SHOWN // 2]]
    else:
        found = images_in(Path(str(source)), is_mask, dicom=True)
    return list_image_files(found, cache_dir, kind, on_error)


def _without_normal(found: Busi, use_normal: bool) -> Busi:
    if not isinstance(use_normal, bool):
        raise ConfigError("use_normal", f"{use_normal!r} was found.", "Use True or False.")
    kept = {name: image for name, image in found.images.items() if use_normal or image.label != "normal"}
    if left_out := len(found.images) - len(kept):
        _logger.info("%d normal images are left out; use_normal: true lists them", left_out)
    return dataclasses.replace(found, images=kept)


def _is_dicom(image: BusiImage) -> bool:
    return image.path.suffix.lower() not in IMAGE_FILE_SUFFIXES
