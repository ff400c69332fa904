"""Cache of a table's cases, rebuilt when a file, a label or the way of reading changes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.data.cases.cache import CASE_SUFFIX, CaseCache, read_header, state_of
from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.tabular.files import parts_of
from ctan_monai.data.datasets.tabular.layout import Layout
from ctan_monai.data.datasets.tabular.reader import READER_VERSION, read_case
from ctan_monai.data.datasets.tabular.rows import Row
from ctan_monai.data.datasets.tabular.values import NOTES
from ctan_monai.errors import DataError

_logger = logging.getLogger(__name__)
_TOLD = 5


class RowCache(CaseCache):
    """Cache whose sources are the case ids of a table.

    Args:
        cache_dir: the folder.
        find_rows: returns the cases; called here, and again in worker processes that do not inherit them.
        layout: how they are read.
        place: what tells one table's cases from another's of the same name.
    """

    def __init__(
        self, cache_dir: str | Path, find_rows: Callable[[], Sequence[Row]], layout: Layout, place: str
    ) -> None:
        self.rows: Mapping[str, Row] = {row.case: row for row in find_rows()}
        super().__init__(cache_dir, self._read, READER_VERSION)
        self.layout = layout
        self._place = _digest(f"{place} {layout!r}", 4)
        self._arguments = (str(cache_dir), find_rows, layout, place)
        _CACHES[self._key] = self

    @property
    def _key(self) -> str:
        return f"{self.cache_dir} {self._place}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the rows, of which there may be many."""
        return _again, (self._key, *self._arguments)

    def _read(self, source: Path) -> Case:
        return read_case(self.rows[source.name], self.layout)

    def path_of(self, source: str | Path) -> Path:
        """Return the path of a case's cached file."""
        return self.cache_dir / f"{Path(source).name}.{self._place}{CASE_SUFFIX}"

    def fingerprint(self, source: str | Path, content: bool = False) -> str:
        """Compute a digest of everything that a case depends on.

        Args:
            source: id of the case.
            content: digest what its files hold instead of their paths and times.

        Raises:
            DataError: a file is missing.
        """
        row = self.rows[Path(source).name]
        states: list[Any] = []
        for path in (part for file in row.files for part in parts_of(file)):
            try:
                states.append((path.name if content else str(path), *state_of(path, content)))
            except OSError as error:
                reason = f"it cannot be read ({error.strerror})."
                raise DataError(path, row.case, reason, "Check the path.") from error
        return _digest(repr((self._version, self.layout, row.group, row.values, row.synthetic, states)), 16)


def tell_notes(files: Mapping[Path, Path]) -> None:
    """Log the notes that readers left in cached cases.

    Args:
        files: by source, the cached case.
    """
    notes = [note for file in files.values() for note in read_header(file).meta.get(NOTES, [])]
    for note in notes[:_TOLD]:
        _logger.warning("%s", note)
    if len(notes) > _TOLD:
        _logger.warning("... and %d files more; verify lists them all", len(notes) - _TOLD)


_CACHES: dict[str, RowCache] = {}  # what this process has, also for its forked workers


def _again(key: str, *arguments: Any) -> RowCache:
    return _CACHES.get(key) or RowCache(*arguments)


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
