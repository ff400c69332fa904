"""Reader of HAM10000 as it is published: images in one folder or two, a table of metadata, masks.

    HAM10000_images_part_1/ISIC_0024306.jpg ...
    HAM10000_images_part_2/ISIC_0029306.jpg ...
    HAM10000_segmentations_lesion_tschandl/ISIC_0024306_segmentation.png ...
    HAM10000_metadata.csv        lesion_id,image_id,dx,dx_type,age,sex,localization

The folders' names do not matter, nor does the size of the images.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctan_monai.data.cases.case import Case, check_case_id
from ctan_monai.data.datasets.ham10000.table import Row, read_table
from ctan_monai.data.formats.image_masks import note_of_turn, read_mask_file
from ctan_monai.data.formats.images import (
    CHANNELS,
    IMAGE_FILE_SUFFIXES,
    image_affine_ras,
    read_image_file,
)
from ctan_monai.data.lists.image_files import is_synthetic
from ctan_monai.data.lists.leakage import fingerprint_meta
from ctan_monai.errors import DataError

_logger = logging.getLogger(__name__)

READER_VERSION = "ham10000-4"  # raise it when the same files give another case: caches are rebuilt
LESION, DIAGNOSIS = "lesion", "diagnosis"  # names of the mask and of the class index in a case
TABLE_NAME = "HAM10000_metadata"
_TABLE_SUFFIXES = ("", ".csv", ".tab", ".txt")
MASK_ENDING = "_segmentation"
_DEPTHS = ("*", "*/*", "*/*/*")


@dataclass(frozen=True)
class Ham10000:
    """Files of a HAM10000 folder.

    Args:
        root: the folder.
        images: files by image id.
        masks: files by image id; an image whose mask is not known is absent.
        rows: of the table, by image id.
    """

    root: Path
    images: Mapping[str, Path]
    masks: Mapping[str, Path]
    rows: Mapping[str, Row]


def find_ham10000(dataset_dir: str | Path) -> Ham10000:
    """Find images, masks and metadata, up to three folders deep.

    Images with neither a mask nor a row of the table (such as the ISIC 2018 test set, which is published beside
    HAM10000) are left out, and so are rows without an image; the log says how many. Where an image is there twice,
    as in Kaggle's copy, the first in the alphabet is used.

    Raises:
        DataError: there is no image or no table, or the table cannot be read.
    """
    root = Path(dataset_dir)
    files = [path for depth in _DEPTHS for path in sorted(root.glob(depth)) if not path.name.startswith(".")]
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    tables = [path for path in files if path.stem == TABLE_NAME and path.suffix in _TABLE_SUFFIXES]
    again = 0
    for path in files:
        if path.suffix.lower() in IMAGE_FILE_SUFFIXES:
            is_mask = path.stem.endswith(MASK_ENDING)
            kind = masks if is_mask else images
            again += kind.setdefault(path.stem.removesuffix(MASK_ENDING) if is_mask else path.stem, path) != path
    if not images or not tables:
        raise _nothing_found(root, len(images))
    rows = read_table(tables[0])
    known = {image: path for image, path in images.items() if image in rows or image in masks}
    for count, what in (
        (len(images) - len(known), f"images have neither a mask nor a row in {tables[0].name}; left out"),
        (len(rows.keys() - known.keys()), f"rows of {tables[0].name} have no image"),
        (len(masks.keys() - known.keys()), "masks have no image"),
        (again, "images or masks are there twice; the first one counts"),
    ):
        if count:
            _logger.warning("%s: %d %s", root, count, what)
    if not known:
        raise _nothing_found(root, 0)
    return Ham10000(root, {check_case_id(image): known[image] for image in sorted(known)}, masks, rows)


class Ham10000Reader:
    """Read an image of HAM10000 with its labels as a case, for `CaseCache`.

    A case has the volumes red, green and blue (H, W) uint8, the mask ``lesion`` and the value ``diagnosis``, the index
    in `ham10000_table.CLASSES`; what is not known is absent. Its affine leads to the pixels of the file,
    its meta says ``synthetic`` of drawn images.

    Args:
        found: the data set.
        size: rows and columns to resize to; None keeps those of the files.
    """

    def __init__(self, found: Ham10000, size: tuple[int, int] | None) -> None:
        self.found, self.size = found, size
        _FOUND[str(found.root)] = found

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the folder's name instead of ten thousand rows."""
        return _reader, (str(self.found.root), self.size)

    def __call__(self, path: Path) -> Case:
        """Read one image.

        Raises:
            DataError: image or mask cannot be read.
        """
        case = check_case_id(path.stem)
        image = read_image_file(path, case, self.size)
        row, mask = self.found.rows.get(case), self.found.masks.get(case)
        shape = (image.rgb.shape[0], image.rgb.shape[1])
        masks = {} if mask is None else {LESION: read_mask_file(mask, case, image.full_shape, self.size)}
        if mask is not None and not masks[LESION].any():
            _logger.warning("%s: the mask %s is empty", case, mask)
        if mask is not None and (note := note_of_turn(path, mask, image.full_shape)):
            _logger.warning("%s: %s", case, note)
        lesion, patient = (None, None) if row is None else (row.lesion, row.patient)
        fingerprint = fingerprint_meta(lesion, patient, image.sha256, image.thumbnail, image.mean_rgb)
        about = {"synthetic": True} if is_synthetic(path) else {}
        return Case(
            case,
            {name: image.rgb[..., channel].copy() for channel, name in enumerate(CHANNELS)},
            masks,
            image_affine_ras(image.full_shape, shape),
            {} if row is None or row.diagnosis is None else {DIAGNOSIS: row.diagnosis},
            {**fingerprint, "full_shape": list(image.full_shape), **about, **({} if row is None else row.about)},
        )

    def state(self, path: Path) -> str:
        """Return what a case depends on besides files: the size, and its row."""
        return repr((self.size, self.found.rows.get(path.stem)))

    def beside(self, path: Path) -> list[Path]:
        """Return the file of the mask, if there is one."""
        return [self.found.masks[path.stem]] if path.stem in self.found.masks else []


_FOUND: dict[str, Ham10000] = {}  # what this process has found, also for its forked workers


def _reader(root: str, size: tuple[int, int] | None) -> Ham10000Reader:
    return Ham10000Reader(_FOUND.get(root) or find_ham10000(root), size)


def _nothing_found(root: Path, images: int) -> DataError:
    reason = (
        f"no HAM10000 data were found; there are {images} images. Looked, up to three folders deep, for "
        f"<image_id>.jpg, <image_id>{MASK_ENDING}.png and {TABLE_NAME}.csv."
    )
    remedy = "Give --dataset_dir the folder that holds them (https://doi.org/10.7910/DVN/DBW86T), or leave it out."
    return DataError(root, None, reason, remedy)
