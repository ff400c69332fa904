"""The cache of cases: compact, checked files, rebuilt when their source changes."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Literal

from ctan_monai.data.cases.case import Case, check_case_id
from ctan_monai.data.cases.file_header import Header
from ctan_monai.data.cases.file_read import check_case_file, read_case_file, read_header, read_slice
from ctan_monai.data.cases.file_write import CASE_SUFFIX, write_case
from ctan_monai.errors import DataError, check_choice
from ctan_monai.files.progress_bar import progress_bar

__all__ = [
    "CASE_SUFFIX",
    "CaseCache",
    "Header",
    "check_case_file",
    "read_case_file",
    "read_header",
    "read_slice",
    "write_case",
]

_logger = logging.getLogger(__name__)
_MOST_LISTED = 10
_AND = "+"  # between the digests of a source's state and of its content, as a case file keeps them
_WORKERS_MAX = 8


def _stem(source: Path) -> str:
    """Return the name of a source without the ending of a file."""
    if source.is_dir():
        return source.name
    return source.name.removesuffix(".gz").rsplit(".", maxsplit=1)[0]


def _id_of(path: Path) -> str:
    """Return the id in the name of a cached file."""
    return path.name.removesuffix(CASE_SUFFIX).rpartition(".")[0]


def _nothing(source: Path) -> list[Path]:
    return []


def state_of(path: Path, content: bool) -> tuple[Any, ...]:
    """Return what tells one state of a file from another: a digest of its content, or size and time in ns."""
    if content:
        return (hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest(),)
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def processors(most: int) -> int:
    """Return the number of processes to read with: the processors this process may use, at most ``most``."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, most)


class CaseCache:
    """Cache of case files, kept up to date with their sources.

    A source is one file or one folder. Its state is the names, sizes and modification times of its files and the
    version of the reader, so finding out whether a cached case is up to date costs no reading of the source. The
    file's name carries a digest of the source's path: two data sets can share a folder. Where paths or times differ, as
    after data and cache were copied to another machine, what the files hold decides, and nothing is read again.

    Args:
        cache_dir: the folder; created when the first case is written.
        reader: reads a source; has to be a function of a module where several processes are to read. Where cases depend
            on more than the source (a row of a table, a size), its ``state(source)`` says on what, and its
            ``beside(source)`` on which other files (a mask).
        reader_version: raise it whenever the reader returns something else for the same files.
    """

    def __init__(self, cache_dir: str | Path, reader: Callable[[Path], Case], reader_version: str = "") -> None:
        self.cache_dir = Path(cache_dir)
        self._reader = reader
        self._version = f"{getattr(reader, '__qualname__', type(reader).__qualname__)} {reader_version}"

    def name_of(self, source: Path) -> str:
        """Return the id of a source's case: its name without ending.

        Raises:
            DataError: that cannot be an id.
        """
        return check_case_id(_stem(source))

    def file_of(self, source: Path) -> Path:
        """Return the file or folder that a source is in, itself unless it is a part of one."""
        return source

    def path_of(self, source: str | Path) -> Path:
        """Return the path of a source's cached case.

        Raises:
            DataError: the source's name cannot be a case id.
        """
        source = Path(source)
        name = self.name_of(source)
        place = hashlib.blake2b(os.fsencode(source.resolve()), digest_size=4).hexdigest()
        return self.cache_dir / f"{name}.{place}{CASE_SUFFIX}"

    def fingerprint(self, source: str | Path, content: bool = False) -> str:
        """Return a digest of the state of a source, of what else its case depends on, and of the reader's version.

        Args:
            source: file or folder.
            content: digest what the files hold instead of their times.

        Raises:
            DataError: there is no such source.
        """
        source = Path(source)
        place = self.file_of(source)
        try:
            inside = place.rglob("*") if place.is_dir() else [place]
            files = sorted(path for path in inside if path == place or path.is_file())
            named = [(path.relative_to(place.parent).as_posix(), path) for path in files]
            named += [(path.name, path) for path in getattr(self._reader, "beside", _nothing)(source)]
            states = [(name, *state_of(path, content)) for name, path in named]
        except OSError as error:
            reason = f"it cannot be read ({error.strerror})."
            raise DataError(Path(error.filename or source), _stem(source), reason, "Check the data.") from error
        text = repr([self._version, states])
        if (state := getattr(self._reader, "state", None)) is not None:
            text += f" {state(source)}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def get(self, source: str | Path, others: Iterable[Path] | None = None) -> Path:
        """Return the cached file of a source, checked in every byte, building it if it is missing or out of date.

        A damaged file is built again, and the log warns. Several processes may do this at once.

        Args:
            source: file or folder.
            others: cached cases of its name that may hold the same; None: look for them.

        Raises:
            DataError: the source cannot be read, or the cache cannot be written.
        """
        source = Path(source)
        path, now = self.path_of(source), self.fingerprint(source)
        if path.exists():
            try:
                if check_case_file(path).fingerprint.split(_AND)[0] == now:
                    return path
            except DataError as error:
                _logger.warning("%s Reading %s again.", error, source)
        held = self.fingerprint(source, content=True)
        others = self._listed().get(_id_of(path), []) if others is None else others
        known = self._with_content(held, path, others)
        if known is None and path.exists():
            _logger.info("%s has changed; reading it again", source)
        write_case(path, self._reader(source) if known is None else known, f"{now}{_AND}{held}")
        return path

    def _with_content(self, held: str, path: Path, others: Iterable[Path]) -> Case | None:
        """Read a case of the same content that this or another path of its source had; None if there is none."""
        for known in dict.fromkeys([path, *others]):
            with contextlib.suppress(DataError):  # nothing is taken of damaged files
                if known.exists() and read_header(known).fingerprint.split(_AND)[-1] == held:
                    return read_case_file(known)
        return None

    def _listed(self) -> dict[str, list[Path]]:
        """List cached files by their case's id."""
        found: dict[str, list[Path]] = {}
        for path in self.cache_dir.glob(f"*{CASE_SUFFIX}"):
            found.setdefault(_id_of(path), []).append(path)
        return found

    def prepare(
        self,
        sources: Iterable[str | Path],
        workers: int | None = None,
        progress: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
        skip_fraction: float = 0.1,
    ) -> dict[Path, Path]:
        """Build all missing cases before training.

        Args:
            sources: files or folders.
            workers: processes that read; None for one per processor, at most 8; 0 or 1 for none but this one.
            progress: show a bar.
            on_error: 'raise' after all sources were tried, or 'skip' those that cannot be read.
            skip_fraction: with 'skip', the fraction of the sources that may be skipped; more is an error.

        Returns:
            The cached file of each source, in the order given, without those that were skipped.

        Raises:
            DataError: a source cannot be read (or too many of them); it lists what is wrong with each.
            ConfigError: ``on_error`` is neither.
        """
        check_choice("on_error", on_error, ("raise", "skip"))
        found: dict[Path, Path] = {}
        errors: list[DataError] = []
        paths = [Path(source) for source in sources]
        for source, result in zip(paths, self._results(paths, workers, progress), strict=True):
            if isinstance(result, DataError):
                errors.append(result)
            else:
                found[source] = result
        self._judge(errors, len(paths), skip_fraction if on_error == "skip" else 0.0)
        return found

    def _results(self, sources: Sequence[Path], workers: int | None, progress: bool) -> Iterator[Path | DataError]:
        count = min(processors(_WORKERS_MAX) if workers is None else workers, len(sources))
        with contextlib.ExitStack() as stack:
            missing = sum(not self.path_of(source).exists() for source in sources)
            listed = self._listed() if missing else {}  # once: there may be thousands of files
            others = [listed.get(_id_of(self.path_of(source)), []) for source in sources]
            results: Iterator[Path | DataError] = map(self._try, sources, others)
            if count > 1 and missing > 1:  # otherwise it does not pay to start processes
                results = stack.enter_context(ProcessPoolExecutor(count)).map(self._try, sources, others)
            shown = progress and missing > 0
            try:
                yield from progress_bar(results, "preparing cases", "case", len(sources), shown)
            except BrokenProcessPool as error:
                reason = f"one of {count} processes that read cases was killed, perhaps for want of memory."
                raise DataError(self.cache_dir, None, reason, "Prepare again with fewer workers.") from error

    def _try(self, source: Path, others: Sequence[Path]) -> Path | DataError:
        try:
            return self.get(source, others)
        except DataError as error:
            return error

    def _judge(self, errors: Sequence[DataError], total: int, share: float) -> None:
        if not errors:
            return
        listed = "\n".join(f"  {error}" for error in errors[:_MOST_LISTED])
        if len(errors) > _MOST_LISTED:
            listed += f"\n  ... and {len(errors) - _MOST_LISTED} more"
        summary = f"{len(errors)} of {total} cases cannot be used:\n{listed}\n"
        if len(errors) > share * total or len(errors) == total:
            remedy = "Correct these cases, take them out, or skip them with on_error: skip and a larger skip_fraction."
            raise DataError(errors[0].path if len(errors) == 1 else self.cache_dir, None, summary, remedy)
        _logger.warning("%sThey are left out.", summary)
