"""Find what a trained network shall be applied to: OpenKBP patients, NIfTI files, or cached cases."""

from __future__ import annotations

import logging
from pathlib import Path

from ctan_monai.data.cases.cache import CASE_SUFFIX, CaseCache, read_header
from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.grid import reorient, resample_in_plane
from ctan_monai.data.datasets.openkbp.reader import READER_VERSION, read_case
from ctan_monai.data.formats.ct_source import keep_nifti_source
from ctan_monai.data.formats.nifti import is_nifti, read_nifti_case
from ctan_monai.data.lists.datalist import Item
from ctan_monai.errors import DataError
from ctan_monai.files.duplicates import check_ids

_logger = logging.getLogger(__name__)
# OpenKBP's axes, and its pixel sizes: 1.95 to 5.42 mm, median 3.906 mm
_AXCODES, _PIXEL_MM, _PIXEL_RANGE_MM = "PLI", 3.906, (1.9, 5.5)


def openkbp_inference_list(source: str | Path, cache_dir: str | Path) -> list[Item]:
    """List cases for inference with a network that was trained on OpenKBP, reading them into the cache.

    Args:
        source: an OpenKBP patient's folder, a NIfTI file of a CT, a ``.case`` file, or a folder of any of these.
            A NIfTI CT is reoriented to OpenKBP's axes and, if its pixels are not of a size that occurs in OpenKBP,
            resampled to 3.906 mm in the plane; `ct_source.read_source` says what its own grid was.
        cache_dir: folder for the cached cases.

    Returns:
        Items ``{"case", "file"}``.

    Raises:
        DataError: there is nothing of the kind, or a case cannot be read.
    """
    root = Path(str(source))
    found = [root] if _is_case(root) else sorted(path for path in root.glob("*") if _is_case(path))
    if not found:
        reason = (
            "no case was found; looked for an OpenKBP patient's folder (with ct.csv), a CT as .nii or .nii.gz, a "
            f"{CASE_SUFFIX} file, or a folder that holds some."
        )
        raise DataError(root, None, reason, "Check the path.")
    ready = {path: path for path in found if path.name.endswith(CASE_SUFFIX)}
    cache = CaseCache(cache_dir, read_any, f"{READER_VERSION} {_AXCODES} {_PIXEL_MM}")
    files = {**ready, **cache.prepare([path for path in found if path not in ready])}
    for path in files:
        if is_nifti(path):
            keep_nifti_source(path, cache.name_of(path), files[path], cache.fingerprint(path))
    cases = {path: read_header(files[path]).case for path in found}
    check_ids(cases)
    return [{"case": cases[path], "file": str(files[path])} for path in found]


def read_any(source: Path) -> Case:
    """Read an OpenKBP patient, or a CT from NIfTI on a grid like OpenKBP's.

    Raises:
        DataError: it cannot be read.
    """
    if source.is_dir():
        return read_case(source)
    case = reorient(read_nifti_case(source), _AXCODES)
    low, high = _PIXEL_RANGE_MM
    if all(low <= spacing <= high for spacing in case.spacing_mm[:2]):
        return case
    _logger.info("%s: pixels of %.2f x %.2f mm resampled to %.3f mm", source, *case.spacing_mm[:2], _PIXEL_MM)
    return resample_in_plane(case, _PIXEL_MM)


def _is_case(path: Path) -> bool:
    if path.is_dir():
        return (path / "ct.csv").is_file()
    return path.is_file() and (is_nifti(path) or path.name.endswith(CASE_SUFFIX))
