"""Structure names: TG-263, synonyms of clinics, and a mapping per dataset."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ctan_monai.errors import DataError
from ctan_monai.files.duplicates import twice, yaml_once

_CANONICAL = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_RESERVED = re.compile(r"ct|dose|image|case|known|.*_region|.*_present", re.IGNORECASE)
_NOT_COUNTED = re.compile(r"[\s._\-]+")  # not ~, which TG-263 puts before the name of a part
_MAP_REMEDY = "Write one line per structure: 'Rectum: [rect_pb, Rectum 1]', and 'ignore: [old]' for names to pass over."
IGNORE = "ignore"
_PATTERN = re.compile(r"/(.+)/")
SIDES = {  # words for the sides, where a name of the table has a *
    "L": ("l", "left", "lt", "li", "links", "sin", "g", "gauche", "izq"),
    "R": ("r", "right", "rt", "re", "rechts", "dx", "d", "droite", "der"),
}
_UNKNOWN, _IGNORED = 8, 9  # ranks after those of the tables


def normal_form(name: str) -> str:
    """Normalize a name: case, spaces, dots, hyphens, underscores."""
    return _NOT_COUNTED.sub("", name.strip().lower())


@dataclass(frozen=True)
class Matched:
    """The matched names of a structure set.

    Args:
        found: position in the list of names by TG-263 name.
        ambiguous: names in the list by the TG-263 name that several of them could be.
        unknown: names that mean nothing here.
    """

    found: Mapping[str, int]
    ambiguous: Mapping[str, tuple[str, ...]]
    unknown: tuple[str, ...]


class StructureNames:
    """Mapping from names of structures to TG-263.

    The per-data-set mapping wins over everything: a structure that it lists is known by the names it lists only.
    Otherwise a name that is the TG-263 name itself wins over synonyms.

    Args:
        mapping: names in the structure sets by the name they shall have, and under ``ignore`` those to pass over.
            ``/.../`` is a regular expression that the whole name matches, in small or capital letters; names that are
            listed as they are win over it.
    """

    def __init__(self, mapping: Mapping[str, Sequence[str]] | None = None) -> None:
        self.mapping = {name: tuple(names) for name, names in (mapping or {}).items()}
        listed = {name for name in self.mapping if name != IGNORE}
        self._given = {normal_form(each): name for name in listed for each in self.mapping[name]}
        self._patterns = [
            (re.compile(found[1], re.IGNORECASE), name)
            for name, names in self.mapping.items()
            for each in names
            if (found := _PATTERN.fullmatch(each))
        ]
        self._ignored = {normal_form(each) for each in self.mapping.get(IGNORE, ())}
        table = _synonyms()
        self._exact = {normal_form(name): name for name in set(table.values()) - listed}
        self._synonyms = {each: name for each, name in table.items() if name not in listed}

    def match(self, names: Sequence[str]) -> Matched:
        """Match each name of a structure set to a structure.

        Args:
            names: as the structure set has them.

        Returns:
            At most one name per structure; if several fit equally well the structure is ambiguous, not guessed.
        """
        ranked: dict[str, dict[int, list[int]]] = {}
        unknown = []
        for position, name in enumerate(names):
            rank, meaning = self._meaning(name)
            if meaning:
                ranked.setdefault(meaning, {}).setdefault(rank, []).append(position)
            elif rank == _UNKNOWN:
                unknown.append(name)
        found, ambiguous = {}, {}
        for meaning, by_rank in ranked.items():
            best = by_rank[min(by_rank)]
            if len(best) == 1:
                found[meaning] = best[0]
            else:
                ambiguous[meaning] = tuple(names[position] for position in best)
        return Matched(found, ambiguous, tuple(unknown))

    def _meaning(self, own_name: str) -> tuple[int, str]:
        form = normal_form(own_name)
        if form in self._ignored:
            return _IGNORED, ""
        matching = {name for pattern, name in self._patterns if pattern.fullmatch(own_name.strip())}
        by_pattern = dict.fromkeys([form], *matching) if len(matching) == 1 else {}  # of several, none is guessed
        if IGNORE in matching and form not in self._given:
            return _IGNORED, ""
        for rank, table in enumerate((self._given, by_pattern, self._exact, self._synonyms)):
            if form in table:
                return rank, table[form]
        return _UNKNOWN, ""


def read_mapping(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Read a dataset's mapping of names from a YAML file.

    Args:
        path: ``Rectum: [rect_pb, Rectum 1]`` per structure, and ``ignore: [names]``.

    Raises:
        DataError: the file cannot be read, is no such list, a structure's name is unusable, or a name stands twice.
    """
    path = Path(path)
    try:
        return _mapping(path, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, None, f"the mapping of names cannot be read ({error}).", _MAP_REMEDY) from error


def mapping_of(given: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the mapping of names that a command line gives: files, or what stands in one.

    Args:
        given: each a YAML file (`read_mapping`), or its content: ``Heart: [Herz, Cor], PTV: /ptv.*/``.

    Raises:
        DataError: one cannot be read, or names a structure that another names too.
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in given:
        inline = ":" in text and not Path(text).is_file()
        mapping = _mapping(Path("--names"), "{" + text + "}") if inline else read_mapping(text)
        if again := sorted(found.keys() & mapping.keys()):
            raise DataError("--names", None, f"{again} stands there twice.", "Give all names of a structure once.")
        found |= mapping
    if reason := unusable(found):
        raise DataError("--names", None, reason, _MAP_REMEDY)
    return found


def _mapping(path: Path, text: str) -> dict[str, tuple[str, ...]]:
    import yaml

    try:
        content = yaml_once(text)
    except (ValueError, yaml.YAMLError) as error:
        raise DataError(path, None, f"the mapping of names cannot be read ({error}).", _MAP_REMEDY) from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise DataError(path, None, "the mapping of names is not one name per line.", _MAP_REMEDY)
    mapping = {name: _listed(names) for name, names in content.items()}
    if reason := unusable(mapping):
        raise DataError(path, None, reason, _MAP_REMEDY)
    return mapping


def unusable(mapping: Mapping[str, Sequence[str]]) -> str:
    """Return what is wrong with a mapping of names, '' if nothing is.

    Args:
        mapping: names in the structure sets by the name they shall have.
    """
    wrong = [name for name in mapping if not _CANONICAL.fullmatch(name) or _RESERVED.fullmatch(name)]
    if wrong:
        return f"{wrong} cannot name a mask; use a letter, then letters, digits or _, not ct, dose or _region."
    if again := twice(mapping):
        return f"{again} differ from other names in small and capital letters only."
    if again := twice(normal_form(each) for names in mapping.values() for each in names):
        return f"the mapping has {again} more than once."
    for pattern in (each for names in mapping.values() for each in names if _PATTERN.fullmatch(each)):
        try:
            re.compile(pattern)
        except re.error as error:
            return f"{pattern} is no regular expression ({error})."
    return ""


def _listed(names: Any) -> tuple[str, ...]:
    if names is None:
        return ()
    return tuple(map(str, names if isinstance(names, list) else [names]))


def _rows() -> list[tuple[str, str]]:
    text = resources.files(__package__ or "ctan_monai.data.dicom").joinpath("names.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    rows = [(row["name"], row["synonym"]) for row in csv.DictReader(lines)]
    return [row for name, synonym in rows for row in _both_sides(name, synonym)]


def _both_sides(name: str, synonym: str) -> list[tuple[str, str]]:
    if "*" not in name:
        return [(name, synonym)]
    words = [(side, word) for side, listed in SIDES.items() for word in listed]
    return [(name.replace("*", side), synonym.replace("*", word)) for side, word in words]


def known_forms() -> dict[str, str]:
    """Return the TG-263 name of each name that the package's table knows, by its normal form."""
    table = _synonyms()
    return table | {normal_form(name): name for name in table.values()}


def _synonyms() -> dict[str, str]:
    return {normal_form(synonym): name for name, synonym in _rows()}
