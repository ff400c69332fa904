"""Chest CTs as DICOM series, for inference."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctan_monai.data.cases.cache import CaseCache, state_of
from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.stoic.chest_case import SYNTHETIC, ChestReader
from ctan_monai.data.datasets.stoic.chest_scan import scan_of
from ctan_monai.data.dicom.read.header import Header
from ctan_monai.data.dicom.read.pseudonyms import Pseudonyms, read_or_make_key
from ctan_monai.data.dicom.read.scan import scan
from ctan_monai.data.dicom.read.series import read_ct_series
from ctan_monai.errors import DataError

_logger = logging.getLogger(__name__)
_KEY = ".pseudonym.key"  # in the cache
_REPAIR = ", or repair it with --repair"  # of prepare, which inference has not
_FEW = 4  # images; a scout or a localizer has fewer than a chest


@dataclass(frozen=True)
class ChestSeries:
    """A CT series.

    Args:
        case: pseudonym.
        images: headers, in the order of their files.
    """

    case: str
    images: tuple[Header, ...]


def find_chest_series(root: Path, cache_dir: Path) -> dict[Path, ChestSeries]:
    """Find the CT series in a folder with any nesting; those of fewer than four images are passed over.

    Args:
        root: the folder, or one image of a series.
        cache_dir: folder of the pseudonyms' key.

    Returns:
        By the first image's path, in the order of cases; nothing where there is no such series.

    Raises:
        DataError: there is no DICOM in it.
    """
    series: dict[str, list[Header]] = defaultdict(list)
    for image in scan(root, progress=False).of("CT"):
        if not image.localizer:
            series[image.series_uid].append(image)
    names = Pseudonyms(read_or_make_key(cache_dir / _KEY))
    made = []
    for uid, images in series.items():
        if len(images) < _FEW:
            _logger.warning("%s: a CT series of %d images is left out", root, len(images))
            continue
        patient = names.patient(images[0].patient_id or f"study {images[0].study_uid}")
        made.append(ChestSeries(names.case(patient, uid), tuple(sorted(images, key=lambda image: image.path))))
    return {each.images[0].path: each for each in sorted(made, key=lambda each: each.case)}


class SeriesReader(ChestReader):
    """Read a CT series as a case, for `SeriesCache`; a source is the path of its first image.

    Args:
        series: of `find_chest_series`.
        image_size: rows and columns.
        slice_mm: distance of slices; None keeps those of the CT.
    """

    def __init__(
        self, series: Mapping[Path, ChestSeries], image_size: Sequence[int], slice_mm: float | None = 3.0
    ) -> None:
        super().__init__(image_size, slice_mm)
        self.series = series

    def __call__(self, path: Path) -> Case:
        """Read one series.

        Raises:
            DataError: it is no volume, or none of a chest in HU.
        """
        found = self.series[path]
        try:
            volume = read_ct_series([image.path for image in found.images])
        except DataError as error:
            raise DataError(error.path, found.case, error.reason, error.remedy.replace(_REPAIR, "")) from error
        for note in volume.notes:
            _logger.info("%s: %s", found.case, note)
        about = {SYNTHETIC: "YES"} if found.images[0].synthetic else {}
        return self.case_of(found.case, path, scan_of(path, found.case, volume.hu, volume.grid.affine_ras, about))

    def state(self, path: Path) -> str:
        """Return what a case depends on besides its first image: the others."""
        images = [state_of(image.path, content=True) for image in self.series[path].images]
        return repr((self.image_size, self.slice_mm, images))


class SeriesCache(CaseCache):
    """A cache of CT series."""

    def __init__(self, cache_dir: Path, reader: SeriesReader, reader_version: str) -> None:
        super().__init__(cache_dir, reader, reader_version)
        self._series = reader.series

    def name_of(self, source: Path) -> str:
        """Return the pseudonym of a series."""
        return self._series[source].case
