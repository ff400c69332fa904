"""Datalists of HAM10000, and of images for inference."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ctan_monai.aliases import takes_old_arguments
from ctan_monai.data.cases.cache import CaseCache, read_header
from ctan_monai.data.datasets.ham10000.reader import (
    DIAGNOSIS,
    MASK_ENDING,
    READER_VERSION,
    Ham10000Reader,
    find_ham10000,
)
from ctan_monai.data.datasets.ham10000.synthetic import write_lesion_phantoms
from ctan_monai.data.lists.datalist import Item, check_splits, choose, items_by_split, prepare_items, split_related
from ctan_monai.data.lists.image_files import ImageFiles, check_image_size, images_in, list_image_files
from ctan_monai.data.lists.splits import SPLITS

_logger = logging.getLogger(__name__)
_SHOWN = 4  # synthetic images that stand for a user's


@takes_old_arguments("data.ham10000_datalist")
def ham10000_datalist(
    dataset_dir: str | Path | None,
    cache_dir: str | Path,
    image_size: Sequence[int],
    splits: Sequence[str] = SPLITS,
    split_fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    folds: int | None = None,
    fold: int = 0,
    datalist: str | Path | None = None,
    add_data: str | Path | None = None,
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
        folds: cross-validation: the test set is one of so many parts, and ``split_fractions`` divide the rest.
        fold: which of them, from 0.
        datalist: JSON file ``{"train": ["ISIC_0024306", ...], "validation": [...], "test": [...]}`` that chooses
            images by name instead.
        add_data: an earlier run, whose cases keep their split while others are added, see `kept_cases`.
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
    cache = CaseCache(Path(cache_dir) / f"{size[0]}x{size[1]}", Ham10000Reader(found, size), READER_VERSION)
    processes = 0 if synthetic else workers
    items = prepare_items(cache, found.images, wanted, workers=processes, on_error=on_error, progress=progress)
    if not synthetic:
        _logger.info("%d images of %s, cached in %s", len(items), root, cache.cache_dir)
    if wanted is None:
        diagnoses = {name: read_header(item["file"]).values.get(DIAGNOSIS) for name, item in items.items()}
        wanted = split_related(list(items.values()), diagnoses, split_fractions, seed, folds, fold, add_data)
    return items_by_split(root, wanted, items, splits, "image")


def synthetic_images(cache_dir: str | Path) -> Path:
    """Return a folder of synthetic images in HAM10000's layout, creating it the first time with a note in the log."""
    root = write_lesion_phantoms(Path(cache_dir) / "synthetic")
    _logger.warning("synthetic images in use (%s): they show no patients; give --dataset_dir for HAM10000", root)
    return root


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
    kind = ImageFiles(check_image_size(image_size), _is_mask)
    if source is None or str(source) == "":
        found = list(find_ham10000(synthetic_images(cache_dir)).images.values())[:_SHOWN]
    else:
        found = images_in(Path(str(source)), _is_mask)
    return list_image_files(found, cache_dir, kind, on_error)


def _is_mask(stem: str) -> bool:
    return stem.endswith(MASK_ENDING)
