"""Prescriptions from the names of targets, as TG-263 writes dose levels."""

from __future__ import annotations

import re
from collections.abc import Iterable

_TARGETS = ("PTV", "CTV", "GTV")  # the first kind that has a level counts
_LEVEL = re.compile(
    r"(?<![\d.,])(\d+(?:[.,p]\d+)?)\s*(c?gy)?(?:\s*x\s*(\d+))?(?![\da-z])", re.IGNORECASE
)  # 7000, 50.4Gy, 50p4Gy, 2000x3
_CGY_FROM, _GY_FROM, _GY_MAX = 100.0, 10.0, 100.0  # without a unit: cGy from 100 on, Gy from 10 on, else a number


def dose_level(name: str) -> float | None:
    """Return the highest dose in Gy that a target's name states, None without one.

    TG-263: a number is cGy (``PTV_7000``), one in Gy has the unit, with p for the point (``PTV_50.4Gy``,
    ``PTV_50p4Gy``), and a dose per fraction is followed by x and the fractions (``PTV_2000x3``). Beyond TG-263, for
    names as clinics write them, a number from 10 to below 100 without unit is Gy (``PTV_70``). Smaller numbers, those
    before other letters (``PTV_3mm``) and results over 100 Gy are none.

    Args:
        name: of the structure.

    Source: AAPM TG-263 (Mayo et al. 2018), section on the physical dose in names of targets.

    >>> [dose_level(name) for name in ("PTV_7000", "PTV 40.05", "PTVp_50p4Gy", "PTV_Liver_20Gyx3", "PTV1_3mm", "GTVp")]
    [70.0, 40.05, 50.4, 60.0, None, None]
    """
    levels = []
    for number, unit, fractions in _LEVEL.findall(name.strip()[3:]):
        value = float(re.sub("[,p]", ".", number.lower()))
        centi = unit.lower() == "cgy" if unit else value >= _CGY_FROM
        if not unit and value < _GY_FROM and not fractions:
            continue
        gy = round(value * (0.01 if centi else 1.0) * int(fractions or 1), 6)
        levels += [gy] if 0 < gy <= _GY_MAX else []
    return max(levels, default=None)


def prescription_of_names(names: Iterable[str]) -> float | None:
    """Return the highest dose level in Gy of the targets among names of structures, None where none states one.

    Those of PTVs count; of CTVs only where no PTV states one, then of GTVs.
    """
    names = [name.strip() for name in names]
    for kind in _TARGETS:
        levels = [dose_level(name) for name in names if name.upper().startswith(kind)]
        if known := [level for level in levels if level is not None]:
            return max(known)
    return None
