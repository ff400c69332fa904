"""Progress bars."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_LOG_INTERVAL_S = 30.0  # in a log ten updates a second would be megabytes an hour


def progress_bar(
    items: Iterable[Item], title: str, unit: str, total: int | None = None, shown: bool = True
) -> Iterator[Item]:
    """Iterate over items with a progress bar on standard error.

    On a terminal it is updated ten times a second, elsewhere, as in a log, every half minute and at the end.

    Args:
        items: what to iterate over.
        title: what is done, in front of the bar.
        unit: of the items.
        total: number of items, where `items` has no length.
        shown: whether there is a bar at all.
    """
    from tqdm import tqdm

    intervals = {} if sys.stderr.isatty() else {"mininterval": _LOG_INTERVAL_S, "maxinterval": _LOG_INTERVAL_S}
    yield from tqdm(items, desc=title, total=total, unit=unit, disable=not shown, **intervals)
