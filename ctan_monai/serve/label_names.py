"""Labels of the numbers in a submitted label map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.errors import DataError
from ctan_monai.tasks import Segmentation

_NUMBER_KEYS = ("idx", "labelID", "label", "id")  # as viewers call it
_NO_STRUCTURES = frozenset({"background", "foreground_scribbles", "background_scribbles"})
_OBJECTS = 'Send [{"name": ..., "idx": ...}].'
_RENAME = "Name each segment as a label of the app, remove those that are none, and submit again."


def known_labels(tasks: Iterable[Segmentation]) -> tuple[str, ...]:
    """Return the labels of all tasks, each once, in their order."""
    return tuple(dict.fromkeys(label for task in tasks for label in task.labels))


def names_of_numbers(
    present: Sequence[int], info: Mapping[str, Any], tasks: Sequence[Segmentation], path: Path
) -> dict[int, str]:
    """Return the label of each number that occurs in a label map.

    3D Slicer numbers the segments that it exports by their position and sends their names as ``label_info``; an entry's
    own number ``idx`` counts segments that it leaves out, such as a background, too. Where the two disagree, the one
    that explains every number of the map counts, unless the entries' own numbers are 1 to n in any order.

    Args:
        present: numbers above 0 in the map.
        info: what came with it: ``label_info``, a list of ``{"name": ..., "idx": ...}``, and maybe ``model``.
        tasks: the segmentations of the app.
        path: of the map, for messages.

    Returns:
        Names of labels by number; numbers of what is no structure (a background) are left out.

    Raises:
        DataError: a number has no name or several, or names are missing and not each label of the task occurs.
    """
    entries = _entries(info, path)
    if not entries:
        return _complete(present, info, tasks, path)
    places = {place: name for place, (name, _) in enumerate(entries, start=1)}
    own = {number: name for name, number in entries if number is not None}
    if len(own) < len(entries):
        if len(own) or any(name in _NO_STRUCTURES for name, _ in entries):
            raise DataError(path, None, "label_info gives numbers for some segments only.", "Number all or none.")
        own = places
    fitting = [each for each in ((own,) if set(own) == set(places) else (own, places)) if set(present) <= set(each)]
    if not fitting:
        nameless = sorted(set(present) - set(own if set(own) == set(places) else places))
        found = f"the label map holds {_listed(present)}; {_listed(nameless)} has no name in label_info."
        raise DataError(path, None, found, _RENAME)
    said = {number: fitting[0][number] for number in present}
    if any(each[number] != name for each in fitting for number, name in said.items()):
        found = f"{_listed(present)} can be read by idx or by position in label_info, with different names."
        raise DataError(path, None, found, "Remove segments that are no structures, and submit again.")
    return {number: label_of(name, tasks, path) for number, name in said.items() if name not in _NO_STRUCTURES}


def label_of(name: str, tasks: Sequence[Segmentation], path: Path) -> str:
    """Return the label of a segment's name, ignoring case and surrounding blanks.

    Raises:
        DataError: there is no such label.
    """
    labels = known_labels(tasks)
    if name in labels:
        return name
    alike = [label for label in labels if label.casefold() == name.strip().casefold()]
    if len(alike) != 1:
        raise DataError(path, None, f"the segment {name[:64]!r} is none of {', '.join(labels)}.", _RENAME)
    return alike[0]


def is_structure(name: str) -> bool:
    """Tell whether a segment's name may be a structure's; viewers store strokes and background as segments, too."""
    return name not in _NO_STRUCTURES


def _entries(info: Mapping[str, Any], path: Path) -> list[tuple[str, int | None]]:
    """Return names and own numbers in the order of label_info."""
    answer = info.get("params")  # what the server itself found, and was asked to save, says its numbers there
    own = answer.get("label_names") if isinstance(answer, dict) else None
    found_here = [{"name": name, "idx": number} for name, number in own.items()] if isinstance(own, dict) else []
    given = info.get("label_info") or found_here
    if not isinstance(given, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in given
    ):
        raise DataError(path, None, "label_info is no list of objects with a name.", _OBJECTS)
    found = []
    for entry in given:
        number = next((entry[key] for key in _NUMBER_KEYS if entry.get(key) is not None), None)
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
            raise DataError(path, None, f"label_info numbers a segment {number!r:.40}.", "Give whole numbers.")
        found.append((entry["name"], number))
    numbers = [number for _, number in found if number is not None]
    if len(set(numbers)) < len(numbers):
        raise DataError(path, None, "label_info gives one number to several segments.", "Give each its own.")
    return found


def _complete(
    present: Sequence[int], info: Mapping[str, Any], tasks: Sequence[Segmentation], path: Path
) -> dict[int, str]:
    """Return the labels of a map without names, which must then hold all of them."""
    asked = [task for task in tasks if task.name == info.get("model")] or list(tasks)
    fitting = [task for task in asked if set(present) == set(range(1, len(task.labels) + 1))]
    if len(fitting) == 1:
        return dict(enumerate(fitting[0].labels, start=1))
    expected = "; ".join(", ".join(f"{at} {label}" for at, label in enumerate(task.labels, start=1)) for task in asked)
    found = f"the label map holds {_listed(present)} without names; then all of {expected} must occur."
    raise DataError(path, None, found, "Send label_info with the name of each number, as 3D Slicer does.")


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in sorted(numbers)[:8])
    return (shown + (", ..." if len(numbers) > 8 else "")) or "nothing but 0"
