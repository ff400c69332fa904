"""How structures are shown and what they are: colors and interpreted types by their TG-263 names."""

from __future__ import annotations

Color = tuple[int, int, int]
_PALETTE: tuple[Color, ...] = (
    (64, 224, 208), (250, 128, 114), (138, 43, 226), (154, 205, 50), (255, 182, 193), (70, 130, 180), (218, 165, 32),
)  # fmt: skip
_COLORS: dict[str, Color] = {
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


def color_of(name: str, number: int) -> Color:
    """Return the color of a structure: the usual one of its name, else one of a palette by its number."""
    return _COLORS.get(name, _PALETTE[number % len(_PALETTE)])


def type_of(name: str) -> str:
    """Return RTROIInterpretedType of a structure by its TG-263 name; what is no target and no outline is an organ."""
    return next((kind for start, kind in _TYPES if name.upper().startswith(start)), "ORGAN")
