"""Codes of structures for DICOM SEG, by their TG-263 names."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """A coded concept.

    Args:
        value: the code.
        scheme: who defined it: SCT (SNOMED CT), DCM (DICOM).
        meaning: in words.
    """

    value: str
    scheme: str
    meaning: str


ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
_ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
_LEFT, _RIGHT = Code("7771000", "SCT", "Left"), Code("24028007", "SCT", "Right")
_ORGAN = Code("91772007", "SCT", "Organ")  # what is not in the table, named by its label only
_KINDS = {
    "rectum": Code("34402009", "SCT", "Rectum"),
    "bladder": Code("89837001", "SCT", "Bladder"),
    "femur": Code("71341001", "SCT", "Femur"),
    "prostate": Code("41216001", "SCT", "Prostate"),
    "seminalves": Code("64739004", "SCT", "Seminal Vesicle"),
    "ctv": Code("228792002", "SCT", "Clinical target volume"),
    "ptv": Code("228793007", "SCT", "Planning target volume"),
}
_TARGETS = ("ctv", "ptv")


def codes_of(name: str) -> tuple[Code, Code, Code | None]:
    """Return category, type and side of a structure; the side is None where the name tells none.

    Source: DICOM PS3.16 CID 7150 (categories), CID 244 (laterality), SNOMED CT.
    """
    stem, *parts = name.lower().split("_")
    kind = _KINDS.get(stem) or next((_KINDS[start] for start in _TARGETS if stem.startswith(start)), _ORGAN)
    side = _LEFT if "l" in parts else _RIGHT if "r" in parts else None
    category = _CONCEPT if stem.startswith(_TARGETS) else _ANATOMY
    return category, kind, side
