"""Look at the headers of all cases before training starts, for what a single case cannot show."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ctan_monai.data.cases.cache import Header, read_header
from ctan_monai.errors import DataError
from ctan_monai.tasks import Task, region_key

_logger = logging.getLogger(__name__)


def check_cases(
    items: Iterable[Mapping[str, Any]], tasks: Sequence[Task], image_channels: Sequence[str] = ("ct",)
) -> None:
    """Refuse data from which the tasks cannot be learned, and log in how many cases each label is known.

    A label that no case has is most likely misspelt; for a single case it would be a missing label. A contour that
    no case has is a channel of zeros: that may be so in a small data set, and the log warns.

    Args:
        items: of a datalist, cases or slices.
        tasks: what is predicted.
        image_channels: volumes and masks that form the image.

    Raises:
        DataError: a label is in no case, or only some cases have the region of a voxel-level regression.
    """
    files = list(dict.fromkeys(str(item["file"]) for item in items))
    headers = [read_header(file) for file in files]
    arrays = [set(header.occupied) for header in headers]
    for channel in image_channels:
        if not any(channel in found for found in arrays):
            _logger.warning("image channel %s is in none of the %d cases: it will be zero", channel, len(files))
    for task in tasks:
        for label, known in _known(task, headers).items():
            _require(files, known, label, arrays)
            _logger.info("%s is known in %d of %d cases", label, known, len(headers))
        if task.pixel_level:
            with_region = sum(region_key(task) in found for found in arrays)
            if with_region not in (0, len(headers)):
                reason = f"{with_region} of {len(headers)} cases have {region_key(task)}; all or none must."
                raise DataError(files[0], None, reason, "Prepare the others again, or leave them out.")


def _known(task: Task, headers: Sequence[Header]) -> dict[str, int]:
    """Count for each label of a task the cases in which it is known."""
    held: list[Collection[str]] = [header.values if task.labels_in_values else header.occupied for header in headers]
    return {
        f"{task.name} label {name}" if task.present_shape else name: sum(name in names for names in held)
        for name in task.label_names
    }


def _require(files: Sequence[str], count: int, what: str, arrays: Sequence[set[str]]) -> None:
    if count == 0:
        found = sorted(set().union(*arrays))
        reason = f"{what} is in none of the {len(files)} cases; they hold {found}."
        raise DataError(files[0] if files else "datalist", None, reason, "Correct the name, or prepare the data again.")
