"""How structures are shown and what they are: colours and interpreted types by their TG-263 names."""

from __future__ import annotations

Colour = tuple[int, int, int]
_PALETTE: tuple[Colour, ...] = (
    (64, 224, 208), (250, 128, 114), (138, 43, 226), (154, 205, 50), (255, 182, 193), (70, 130, 180), (218, 165, 32),
)  # fmt: skip
_COLOURS: dict[str, Colour] = {
    "Rectum": (166, 86, 40),
    "Bladder": (255, 215, 0),
    "Femur_L": (0, 191, 255),
    "Femur_R": (50, 205, 50),
    "CTV": (255, 0, 255),
    "PTV": (255, 0, 0),
    "Prostate": (65, 105, 225),
    "SeminalVes": (255, 140, 0),
    "External": (200, 200, 160),
}
_TYPES = (("EXTERNAL", "EXTERNAL"), ("BODY", "EXTERNAL"), ("PTV", "PTV"), ("CTV", "CTV"), ("GTV", "GTV"))


def colour_of(name: str, number: int) -> Colour:
    """Return the colour of a structure: the usual one of its name, else one of a palette by its number."""
    return _COLOURS.get(name, _PALETTE[number % len(_PALETTE)])


def type_of(name: str) -> str:
    """Return RTROIInterpretedType of a structure by its TG-263 name; what is no target and no outline is an organ."""
    return next((kind for start, kind in _TYPES if name.upper().startswith(start)), "ORGAN")
