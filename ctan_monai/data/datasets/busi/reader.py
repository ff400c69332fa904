"""Reader of BUSI images with their labels."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.busi.layout import Busi
from ctan_monai.data.datasets.busi.table import find_images
from ctan_monai.data.dicom.read.pseudonyms import Pseudonyms
from ctan_monai.data.formats.image_masks import note_of_turn, padded_mask, read_mask_file, shrunk_mask
from ctan_monai.data.formats.images import CHANNELS, IMAGE_FILE_SUFFIXES, RgbImage
from ctan_monai.data.lists.image_files import image_name, is_synthetic, shape_meta
from ctan_monai.data.lists.leakage import fingerprint_meta
from ctan_monai.data.lists.ultrasound_files import file_and_frame, read_image
from ctan_monai.errors import DataError

_logger = logging.getLogger(__name__)

READER_VERSION = "busi-1"  # raise it when the same files give another case: caches are rebuilt
TUMOR, DIAGNOSIS = "tumor", "diagnosis"  # names of the mask and of the class in a case
CLASS = "class"  # in a case's meta: benign, malignant or normal
_COLORED = 40  # gray levels between the channels of a pixel that is drawn, not measured
_WHITE, _BLACK = 250, 5  # letters and rulers; what lies outside the sector
_LEAST_SHOWN = 0.02  # fraction of the pixels that must be neither


class BusiReader:
    """Read an image of BUSI with its labels as a case, for `CaseCache`.

    A case has the volumes red, green and blue (H, W) uint8, the mask ``tumor``, in which the masks of several tumors
    are united, and the value ``diagnosis``, [1] for malignant and [0] for benign and normal; what is not known is
    absent. A normal image has no tumor: its mask is empty and known. The image is padded with zeros to a square; its
    affine leads to the pixels of the file.

    Args:
        found: the data set.
        size: rows and columns to resize to.
        key: of the pseudonyms that patients of DICOM files get.
    """

    def __init__(self, found: Busi, size: tuple[int, int], key: bytes = b"") -> None:
        self.found, self.size, self.key = found, size, key
        _FOUND[str(found.root), found.frame] = found

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the folder's name."""
        return _reader, (str(self.found.root), self.found.frame, self.size, self.key)

    def __call__(self, path: Path) -> Case:
        """Read one image.

        Raises:
            DataError: image or mask cannot be read, they differ in size, or the image shows no ultrasound.
        """
        case = image_name(path)
        known = self.found.images[case]
        image, frame = read_image(path, case, self.size, square=True)
        check_shows_ultrasound(image, path, case)
        mask = self._mask(case, image)
        patient = known.patient
        if frame is not None and patient is None and frame.patient:
            patient = Pseudonyms(self.key).patient(frame.patient)
        fingerprint = fingerprint_meta(None, patient, image.sha256, image.thumbnail, image.mean_rgb)
        about = {} if frame is None else {"regions": frame.box is not None}
        about |= {"synthetic": True} if is_synthetic(file_and_frame(path)[0]) else {}
        return Case(
            case,
            {name: image.rgb[..., channel].copy() for channel, name in enumerate(CHANNELS)},
            {} if mask is None else {TUMOR: mask},
            image.affine_ras,
            {} if known.label is None else {DIAGNOSIS: [float(known.label == "malignant")]},
            {**fingerprint, **shape_meta(image), CLASS: known.label, **about},
        )

    def _mask(self, case: str, image: RgbImage) -> npt.NDArray[np.bool_] | None:
        """Return the union of the image's masks, None if no outline is known."""
        known = self.found.images[case]
        if not known.masks and known.label != "normal":
            return None
        whole = np.zeros(image.full_shape, np.bool_)
        for path in known.masks:
            whole |= read_mask_file(path, case, image.full_shape)
            turned = known.path.suffix.lower() in IMAGE_FILE_SUFFIXES  # by EXIF, which DICOM does not have
            if turned and (note := note_of_turn(known.path, path, image.full_shape)):
                _logger.warning("%s: %s", case, note)
        if whole.any() and known.label == "normal":
            reason = f"its mask {known.masks[0].name} has {int(whole.sum())} pixels, but the image is called normal."
            raise DataError(known.path, case, reason, "Move it to its class, or remove the mask.")
        if not whole.any() and known.label in ("benign", "malignant"):
            _logger.warning("%s: the mask %s is empty", case, known.masks[0])
        if image.box is not None:
            top, left, rows, columns = image.box
            part = whole[top : top + rows, left : left + columns]
            if outside := int(whole.sum() - part.sum()):
                _logger.warning("%s: %d pixels of its mask lie outside of its ultrasound region", case, outside)
            whole = part
        return shrunk_mask(padded_mask(whole, image.whole_shape), self.size)

    def state(self, path: Path) -> str:
        """Return what a case depends on besides files: the size, class and patient."""
        known = self.found.images[image_name(path)]
        return repr((self.size, known.label, known.patient))

    def beside(self, path: Path) -> list[Path]:
        """Return the files of its masks."""
        return list(self.found.images[image_name(path)].masks)


def check_shows_ultrasound(image: RgbImage, path: Path, case: str) -> None:
    """Refuse an image that holds nothing but black and annotations: letters, rulers, drawn colors.

    Raises:
        DataError: less than 2 % of its pixels are gray.
    """
    rgb = image.rgb.astype(np.int16)
    lowest, highest = rgb.min(-1), rgb.max(-1)  # (H, W)
    inside = np.zeros(lowest.shape, np.bool_)
    rows, columns = image.part_shape
    scale = (lowest.shape[0] / image.whole_shape[0], lowest.shape[1] / image.whole_shape[1])
    inside[: max(round(rows * scale[0]), 1), : max(round(columns * scale[1]), 1)] = True
    black, drawn = highest <= _BLACK, (highest - lowest > _COLORED) | (lowest >= _WHITE)
    shown = float((inside & ~black & ~drawn).sum() / inside.sum())
    if shown < _LEAST_SHOWN:
        parts = [float((inside & what).sum() / inside.sum()) for what in (black, drawn)]
        reason = f"it shows no ultrasound: {parts[0]:.0%} of it is black, {parts[1]:.0%} white or colored."
        raise DataError(path, case, reason, "Give the image itself, not a page of letters or a mask.")


_FOUND: dict[tuple[str, int | str], Busi] = {}  # what this process has found, also for its forked workers


def _reader(root: str, frame: int | str, size: tuple[int, int], key: bytes) -> BusiReader:
    return BusiReader(_FOUND.get((root, frame)) or find_images(root, frame), size, key)
