"""Cases of chest CT: the lungs, cropped and resampled to a network's grid."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.data.cases.cache import CaseCache
from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.stoic.chest_scan import Scan, read_scan, scan_name
from ctan_monai.data.datasets.stoic.crop import Found, Window, find_lungs, resample, resample_mask, window_around
from ctan_monai.data.datasets.stoic.overview import OVERVIEW, overview_meta
from ctan_monai.data.formats.images import THUMBNAIL_SIDE
from ctan_monai.data.lists.leakage import fingerprint_meta
from ctan_monai.errors import ConfigError
from ctan_monai.files.duplicates import check_ids

_logger = logging.getLogger(__name__)
READER_VERSION = "chest-1"  # raise it when the same file gives another case: caches are rebuilt
CT, LUNGS = "ct", "lungs"  # the volume and the mask of a case
SYNTHETIC = "Synthetic"  # entry of a MetaImage header that phantoms have
_ABOUT = ("PatientAge", "PatientSex")
_BLANK = np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.int8)  # chests look too much alike to be told apart by it
_SIDES = (32, 512)
_SLICE_MM = (0.5, 20.0)


class ChestReader:
    """Read a chest CT as a case, for `CaseCache`.

    A case has the volume ``ct``, int16 HU on a grid around the lungs, and the mask ``lungs``, which is absent where
    they were not found; the box is then that of the body, and the log warns. ``meta`` says what was found and how large
    the CT was, holds two small images of it (`overview`), and what tells the same CT in another file.

    Args:
        image_size: rows and columns.
        slice_mm: distance of slices; None keeps those of the CT.

    Raises:
        ConfigError: a size is none.
    """

    def __init__(self, image_size: Sequence[int], slice_mm: float | None = 3.0) -> None:
        self.image_size, self.slice_mm = check_sizes(image_size, slice_mm)

    def __call__(self, path: Path) -> Case:
        """Read one CT.

        Raises:
            DataError: it cannot be read.
        """
        return self.case_of(scan_name(path), path, read_scan(path))

    def case_of(self, name: str, path: Path, scan: Scan) -> Case:
        """Return the case of a CT that was read from a path."""
        found = find_lungs(scan.hu, scan.spacing_mm)
        if found.kind != "lungs":
            _logger.warning(
                "%s: no lungs were found (%.0f ml of what could be); the whole %s is used",
                path,
                found.volume_ml,
                found.kind,
            )
        window = window_around(found.box, scan.spacing_mm, self.image_size, self.slice_mm)
        ct = resample(scan.hu, window)
        masks = {} if found.lungs is None else {LUNGS: resample_mask(found.lungs, found.steps, window)}
        return Case(name, {CT: ct}, masks, scan.affine_ras @ window.affine(), {}, self._meta(scan, found, window))

    def _meta(self, scan: Scan, found: Found, window: Window) -> dict[str, Any]:
        about = {name: scan.about[name] for name in _ABOUT if name in scan.about}
        return {
            **fingerprint_meta(None, None, scan.sha256, _BLANK),
            **about,
            "full_shape": list(scan.hu.shape),
            "full_spacing_mm": [round(size, 4) for size in scan.spacing_mm],
            "cut_to": found.kind,
            "lungs_ml": round(found.volume_ml),
            "synthetic": SYNTHETIC in scan.about,
            OVERVIEW: overview_meta(found, window, scan.spacing_mm),
        }


class ScanCache(CaseCache):
    """A cache of CTs whose files may have any name."""

    def name_of(self, source: Path) -> str:
        """Return the id of a CT's case."""
        return scan_name(source)


def grid_name(reader: ChestReader) -> str:
    """Return the name of the cache's folder for a grid.

    >>> grid_name(ChestReader([160, 224]))
    '160x224-3mm'
    """
    rows, columns = reader.image_size
    return f"{rows}x{columns}-" + ("all" if reader.slice_mm is None else f"{reader.slice_mm:g}mm")


def check_sizes(image_size: Sequence[int], slice_mm: float | None) -> tuple[tuple[int, int], float | None]:
    """Check image size and slice spacing, and return them.

    Raises:
        ConfigError: one is no such number.
    """
    pair = tuple(image_size) if isinstance(image_size, list | tuple) else ()
    low, high = _SIDES
    if len(pair) != 2 or not all(isinstance(side, int) and low <= side <= high for side in pair):
        remedy = f"Give rows and columns from {low} to {high}, for example [160, 224]."
        raise ConfigError("image_size", f"{image_size!r} was found.", remedy)
    thinnest, thickest = _SLICE_MM
    if slice_mm is not None and not (isinstance(slice_mm, int | float) and thinnest <= slice_mm <= thickest):
        remedy = f"Give {thinnest:g} to {thickest:g} mm, or null for the slices of the CT."
        raise ConfigError("slice_mm", f"{slice_mm!r} was found.", remedy)
    return (pair[0], pair[1]), slice_mm


def check_names(paths: Sequence[Path]) -> dict[str, Path]:
    """Check the case ids of CTs, and return the CTs by them.

    Raises:
        DataError: two have one name.
    """
    check_ids({path: scan_name(path) for path in paths})
    return {scan_name(path): path for path in paths}
