"""Guess what structures are meant by names that no table has."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping

from ctan_monai.data.dicom.read.names import SIDES, known_forms, normal_form

_CLOSE = 0.84  # of difflib's ratio: one letter of six or more may differ
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_IDLE = re.compile(
    r"oar|organ|org|roi|struct(ure)?|cont(our)?|final|new|neu|def|ok|approved|copy|plan(ning)?|ct|whole|total|c?gy|mm|"
    r"v|vol(ume)?|gl(a?nd)?|ai|auto|\d+"
)
_DERIVED = re.compile(
    r"prv|opti?|minus|ring|avoid(ance)?|dummy|help(er)?|hilfs?|z+|ns|eval|exp|plus|out|ohne|wo|without|sub|margin|"
    r"part(ial)?|skin|iso(dose)?|dose|hot|cold|not|old|alt|test|in|and|sib"
)
_OTHER_TARGET = re.compile(r"boost|high|low|mid|tumorbed|bed|nodes?|nodal|n|ln|lk")
_TARGET = re.compile(r"[^A-Za-z]*(ptv|ctv|gtv)(.*)", re.IGNORECASE)


def guess_structure(name: str, taken: Mapping[str, str] | None = None) -> str:
    """Guess the TG-263 name that a structure's own name means.

    Words that say nothing (``OAR``, ``final``), numbers and the order of words and sides do not count, and one letter
    may be wrong. Names of derived structures (``PTV-Skin``, ``Heart_PRV``, ``Lung opt``) mean nothing else.

    Args:
        name: as a structure set has it.
        taken: TG-263 names by normal form; the package's table if not given.

    Returns:
        The name, '' where none or several are close.

    >>> [guess_structure(name) for name in ("Lunge links final", "OAR_Haert", "PTV 50Gy", "PTV-Skin", "Heart_PRV5")]
    ['Lung_L', 'Heart', 'PTV', '', '']
    """
    forms = known_forms() if taken is None else taken
    name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    target = _TARGET.match(name)
    words = [word.lower() for word in _WORD.findall(target[2] if target else name)]
    if any(map(_DERIVED.fullmatch, words)) or re.search(r"\w\s*(\+|[-~]\s*[A-Za-z]{3})", name):
        return ""
    words = [word for word in words if not _IDLE.fullmatch(word)]
    if target:
        return "" if any(map(_OTHER_TARGET.fullmatch, words)) else target[1].upper()  # unless it is one of several
    side = next((side for word in reversed(words) for side, known in SIDES.items() if word in known), "")
    base = [word for word in words if not side or word not in SIDES[side]]
    form = normal_form("".join(base) + side)
    if form in forms:
        return forms[form]
    same_side = [each for each, meaning in forms.items() if _side(meaning) == side]
    close = difflib.get_close_matches(form, same_side, n=5, cutoff=_CLOSE) if len(form) > 4 else []
    meanings = {forms[each] for each in close}
    return meanings.pop() if len(meanings) == 1 else ""


def _side(meaning: str) -> str:
    return meaning[-1] if meaning[-2:] in ("_L", "_R") else ""
