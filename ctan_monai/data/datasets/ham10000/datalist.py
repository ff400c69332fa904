"""Lists of HAM10000's images to train, validate and test on, as a bundle's config asks for them."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from ctan_monai.data.cases.cache import CaseCache, read_header
from ctan_monai.data.datasets.ham10000.reader import DIAGNOSIS, READER_VERSION, Ham10000Reader, find_ham10000
from ctan_monai.data.datasets.ham10000.synthetic import write_lesion_phantoms
from ctan_monai.data.lists.datalist import Item, read_choice
from ctan_monai.data.lists.leakage import group_related, read_fingerprints
from ctan_monai.data.lists.splits import SPLITS, grouped_split
from ctan_monai.errors import ConfigError, DataError

_logger = logging.getLogger(__name__)


def ham10000_datalist(
    dataset_dir: str | Path | None,
    cache_dir: str | Path,
    image_size: Sequence[int],
    splits: Sequence[str] = SPLITS,
    shares: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    datalist: str | Path | None = None,
    workers: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = True,
) -> dict[str, list[Item]]:
    """List HAM10000's images; the first time, read them into the cache.

    Images of one lesion, of one patient and, as HAM10000 has a lesion under two numbers, images that show the
    same stay in one split (`leakage.group_related`); diagnoses are spread evenly.

    Args:
        dataset_dir: folder of the data set, or None for synthetic images, which are made on the spot.
        cache_dir: folder for the cached cases, and for the synthetic images.
        image_size: rows and columns that images and masks are resized to.
        splits: what to list.
        shares: of training, validation and test.
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
    if isinstance(splits, str) or not splits or not set(splits) <= set(SPLITS):
        raise ConfigError("splits", f"{splits!r} was found.", f"List some of {SPLITS}.")
    size = check_image_size(image_size)
    synthetic = dataset_dir is None or str(dataset_dir) == ""
    root = synthetic_pictures(cache_dir) if synthetic else Path(str(dataset_dir))
    found = find_ham10000(root)
    wanted = None if datalist is None or str(datalist) == "" else _chosen(root, found.pictures, datalist, splits)
    listed = found.pictures if wanted is None else itertools.chain.from_iterable(wanted.values())
    images = list(dict.fromkeys(listed))
    cache = CaseCache(Path(cache_dir) / f"{size[0]}x{size[1]}", Ham10000Reader(found, size), READER_VERSION)
    files = cache.prepare(
        [found.pictures[image] for image in images],
        workers=0 if synthetic else workers,
        on_error=on_error,
        progress=progress,
    )
    items = {source.stem: {"case": source.stem, "file": str(file)} for source, file in files.items()}
    if not synthetic:
        _logger.info("%d images of %s, cached in %s", len(items), root, cache.cache_dir)
    divided = _divide(list(items.values()), shares, seed) if wanted is None else wanted
    result = {split: [items[image] for image in divided[split] if image in items] for split in splits}
    empty = [split for split, entries in result.items() if not entries]
    if empty:
        counts = {split: len(entries) for split, entries in result.items()}
        remedy = "Give more images, other shares, or a datalist file that names some for each split."
        raise DataError(root, None, f"no image was found for {empty}; the splits hold {counts}.", remedy)
    return result


def synthetic_pictures(cache_dir: str | Path) -> Path:
    """Return a folder of synthetic images in HAM10000's layout, made at the first time, and say so in the log."""
    root = write_lesion_phantoms(Path(cache_dir) / "synthetic")
    _logger.warning("synthetic images in use (%s): they show no patients; give --dataset_dir for HAM10000", root)
    return root


def check_image_size(image_size: Sequence[int]) -> tuple[int, int]:
    """Return rows and columns.

    Raises:
        ConfigError: it is no pair of whole numbers of at least 32, below which nothing is left at the bottleneck.
    """
    pair = tuple(image_size) if isinstance(image_size, list | tuple) else ()
    if len(pair) != 2 or not all(isinstance(side, int) and 32 <= side <= 4096 for side in pair):
        raise ConfigError("image_size", f"{image_size!r} was found.", "Give rows and columns, for example [192, 256].")
    return pair[0], pair[1]


def _chosen(
    root: Path, pictures: Mapping[str, Path], datalist: str | Path, splits: Sequence[str]
) -> dict[str, list[str]]:
    names = read_choice(datalist)
    unknown = sorted({name for split in splits for name in names.get(split, [])} - set(pictures))
    if unknown:
        reason = f"{unknown[:10]} are not among the {len(pictures)} images of {root}."
        raise DataError(datalist, None, reason, "Name images without their ending, as ISIC_0024306.")
    return {split: names.get(split, []) for split in splits}


def _divide(items: Sequence[Item], shares: Sequence[float], seed: int) -> dict[str, list[str]]:
    diagnoses = {item["case"]: read_header(item["file"]).values.get(DIAGNOSIS) for item in items}
    return grouped_split(group_related(read_fingerprints(items)), diagnoses, shares, seed)
