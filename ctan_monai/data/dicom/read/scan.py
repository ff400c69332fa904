"""Find every DICOM object in a folder, whatever its files are called."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ctan_monai.data.dicom.read.header import Header, read_header
from ctan_monai.data.dicom.read.recognize import is_blank
from ctan_monai.errors import DataError
from ctan_monai.files.progress_bar import progress_bar

_PARALLEL_FROM = 2000  # files; below, starting processes takes longer than reading
_CHUNK = 200


@dataclass(frozen=True)
class Scan:
    """Objects and unreadable files of a folder.

    Args:
        objects: every DICOM object, in the order of their paths.
        unreadable: files that look like DICOM and are damaged, or may not be read, with the reason.
        others: how many files are not DICOM.
    """

    objects: tuple[Header, ...]
    unreadable: tuple[tuple[Path, str], ...]
    others: int

    def of(self, kind: str) -> list[Header]:
        """Return the objects of a kind, for example CT."""
        return [header for header in self.objects if header.kind == kind]

    def counts(self) -> dict[str, int]:
        """Count the objects of each kind."""
        return dict(sorted(Counter(header.kind for header in self.objects).items()))

    def damaged_beside(self, headers: Iterable[Header]) -> list[Path]:
        """Return the unreadable files in the folders of some objects, which may belong to them."""
        folders = {header.path.parent for header in headers}
        return [path for path, _ in self.unreadable if path.parent in folders]


def scan(folder: str | Path, workers: int = 1, progress: bool = True) -> Scan:
    """Read the headers of all files in a folder, recursively.

    Args:
        folder: with any nesting, any names, and anything else between.
        workers: processes to read with.
        progress: show a bar.

    Returns:
        What was found.

    Raises:
        DataError: there is no such folder, or no DICOM object in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(folder, None, "there is no such folder.", "Give the folder that holds the patients.")
    paths = sorted(_files(folder))
    objects: list[Header] = []
    unreadable: list[tuple[Path, str]] = []
    others: list[Path] = []
    for path, found in zip(paths, _read_all(paths, workers, progress), strict=True):
        if isinstance(found, Header):
            objects.append(found)
        elif found is None:
            others.append(path)
        else:
            unreadable.append((path, found))
    blank = _blank_among(objects, others)
    unreadable += [(path, "it is empty, beside DICOM files") for path in blank]
    if not objects:
        reason = f"none of its {len(paths)} files is a readable DICOM object ({len(unreadable)} are damaged)"
        reason += f"; {unreadable[0][0].relative_to(folder)}: {unreadable[0][1]}." if unreadable else "."
        raise DataError(folder, None, reason, "Give the folder that holds the patients' DICOM files, unpacked.")
    return Scan(tuple(objects), tuple(sorted(unreadable)), len(others) - len(blank))


def _blank_among(objects: Iterable[Header], others: Iterable[Path]) -> list[Path]:
    """Return blank files beside DICOM files of the same suffix: failed copies."""
    kinds = {(header.path.parent, header.path.suffix) for header in objects}
    return [path for path in others if (path.parent, path.suffix) in kinds and is_blank(path)]


def _files(folder: Path) -> Iterator[Path]:
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        for name in names:
            path = Path(place, name)
            if path.is_file():
                yield path


def _read_all(paths: list[Path], workers: int, progress: bool) -> Iterator[Header | str | None]:
    with ExitStack() as stack:
        results: Iterator[Header | str | None] = map(_try, paths)
        if workers > 1 and len(paths) >= _PARALLEL_FROM:
            results = stack.enter_context(ProcessPoolExecutor(workers)).map(_try, paths, chunksize=_CHUNK)
        yield from progress_bar(results, "reading headers", "file", len(paths), progress)


def _try(path: Path) -> Header | str | None:
    """Read a header; return None for what is not DICOM, or the reason why it cannot be read."""
    try:
        return read_header(path)
    except OSError as error:
        return str(error.strerror or type(error).__name__)
    except ValueError as error:
        return str(error)
