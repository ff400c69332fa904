"""Find the CTs of chests that a trained network shall be applied to."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ctan_monai.data.datasets.stoic.chest_case import READER_VERSION, ChestReader, ScanCache, check_names, grid_name
from ctan_monai.data.datasets.stoic.chest_scan import SCAN_SUFFIXES
from ctan_monai.data.datasets.stoic.datalist import synthetic_chests
from ctan_monai.data.datasets.stoic.reader import find_stoic
from ctan_monai.data.lists.datalist import Item
from ctan_monai.errors import DataError

_logger = logging.getLogger(__name__)
_SHOWN = 4  # synthetic CTs that stand for a user's


def chest_inference_list(
    source: str | Path | None,
    cache_dir: str | Path,
    image_size: Sequence[int],
    slice_mm: float | None = 3.0,
    on_error: Literal["raise", "skip"] = "raise",
    workers: int | None = None,
) -> list[Item]:
    """List CTs for inference, reading them into the cache.

    Args:
        source: a ``.mha``, ``.nii`` or ``.nii.gz`` file or a folder of such. None for a few synthetic CTs.
        cache_dir: folder for the cached cases.
        image_size: rows and columns that the network was trained with.
        slice_mm: distance of slices that it was trained with.
        on_error: 'skip' leaves out CTs that cannot be read, and the log lists them; 'raise' stops.
        workers: processes that read; None for one per processor.

    Returns:
        Items ``{"case", "file"}``; a case is called as `scan.scan_name` says.

    Raises:
        DataError: there is no CT, two have one name, or one (with 'skip': each) cannot be read.
        ConfigError: a size is none, or ``on_error`` is neither.
    """
    reader = ChestReader(image_size, slice_mm)
    if source is None or str(source) == "":
        named = dict(list(find_stoic(synthetic_chests(cache_dir)).scans.items())[:_SHOWN])
    else:
        named = _scans_in(Path(str(source)))
    cache = ScanCache(Path(cache_dir) / "scans" / grid_name(reader), reader, f"{READER_VERSION} {grid_name(reader)}")
    names = {path: name for name, path in named.items()}
    cached = cache.prepare(list(names), workers=workers, on_error=on_error, skip_share=1.0)
    return [{"case": names[path], "file": str(file)} for path, file in cached.items()]


def _scans_in(source: Path) -> dict[str, Path]:
    candidates = [source] if source.is_file() else sorted(source.glob("[!.]*"))
    found = [path for path in candidates if path.name.lower().endswith(SCAN_SUFFIXES) and path.is_file()]
    if not found:
        reason = f"no CT was found; looked for a file, or files in a folder, that end in one of {SCAN_SUFFIXES}."
        raise DataError(source, None, reason, "Check the path.")
    named = check_names(found)
    for name, path in named.items():
        if not path.name.startswith(f"{name}."):
            _logger.warning("%s is called %s in the results", path, name)
    return named
