"""DVH metrics of a dose in a structure: Dmean, D95%, D0.03cc, V70Gy, V95%."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.dvh import Doses, cc_at_dose, dose_at_cc, dose_at_percent, percent_at_dose

Unit = Literal["Gy", "%", "cc"]
_NUMBER = r"(?P<at>\d+(?:\.\d+)?)"
_PATTERN = re.compile(rf"(?:D?(?P<whole>mean|max|min)|D{_NUMBER}(?P<volume>%|cc))|V(?P<dose>.+)", re.IGNORECASE)
_DOSE = re.compile(rf"{_NUMBER}(?P<unit>Gy|%)(?P<of>%|cc)?", re.IGNORECASE)
_FORMS = "Dmean, Dmax, Dmin, D95%, D0.03cc, V70Gy (in %), V70Gycc, V95% (of the prescription, in %) or V95%cc"


@dataclass(frozen=True)
class DoseValue:
    """One metric of a dose in a structure.

    Args:
        name: as physicists write it, for example 'V70Gy'.
        kind: 'mean', 'max', 'min', 'D' (a dose at a volume) or 'V' (a volume at a dose).
        at: the volume or dose that it is read at; 0 for the first three.
        at_unit: its unit; for a 'V', % is percent of the prescription.
        unit: of the metric itself; % is percent of the structure's volume.
    """

    name: str
    kind: Literal["mean", "max", "min", "D", "V"]
    at: float = 0.0
    at_unit: Unit = "Gy"
    unit: Unit = "Gy"

    @property
    def needs_prescription(self) -> bool:
        """Whether the metric needs the prescription."""
        return self.kind == "V" and self.at_unit == "%"

    def read(self, inside: Doses, voxel_mm3: float, prescription_gy: float | None = None) -> float:
        """Compute the metric, in `unit`; see `dvh` for the interpolation.

        Args:
            inside: (n,) doses of the structure's voxels, Gy.
            voxel_mm3: volume of a voxel.
            prescription_gy: what was prescribed, where `needs_prescription`.

        Raises:
            ConfigError: the prescription is needed and not known.
        """
        if self.kind in ("mean", "max", "min"):
            return float(getattr(inside, self.kind)())
        if self.kind == "D":
            if self.at_unit == "%":
                return dose_at_percent(inside, self.at)
            return dose_at_cc(inside, self.at, voxel_mm3)
        dose_gy = self.at
        if self.at_unit == "%":
            if prescription_gy is None:
                raise ConfigError(self.name, "the prescription is not known.", "Give it, or a dose in Gy.")
            dose_gy = self.at / 100 * prescription_gy
        return percent_at_dose(inside, dose_gy) if self.unit == "%" else cc_at_dose(inside, dose_gy, voxel_mm3)


def parse_dose_value(text: str) -> DoseValue:
    """Parse a DVH metric.

    Args:
        text: 'Dmean', 'Dmax' and 'Dmin' (the hottest and coldest voxel); 'D95%' and 'D0.03cc', the dose that the
            hottest 95 % or 0.03 cc receive at least; 'V70Gy' or 'V70Gy%', the fraction of the volume that receives 70
            Gy or more, and 'V70Gycc', that volume; 'V95%' and 'V95%cc', the same at 95 % of the prescription. Spaces do
            not matter.

    Raises:
        ConfigError: it is none of these.

    >>> parse_dose_value("V70 Gy").unit, parse_dose_value("D0.03cc").name, parse_dose_value("V95%").needs_prescription
    ('%', 'D0.03cc', True)
    """
    bare = re.sub(r"\s+", "", text)
    found = _PATTERN.fullmatch(bare)
    dose = _DOSE.fullmatch(found["dose"]) if found and found["dose"] else None
    if found is not None and found["whole"]:
        kinds: dict[str, Literal["mean", "max", "min"]] = {"mean": "mean", "max": "max", "min": "min"}
        return DoseValue(f"D{found['whole'].lower()}", kinds[found["whole"].lower()])
    if found is not None and found["volume"]:
        volume: Unit = "%" if found["volume"] == "%" else "cc"
        if volume == "cc" or float(found["at"]) <= 100:
            return DoseValue(f"D{found['at']}{volume}", "D", float(found["at"]), volume, "Gy")
    if dose is not None:
        at_unit: Unit = "%" if dose["unit"] == "%" else "Gy"
        unit: Unit = "cc" if (dose["of"] or "").lower() == "cc" else "%"
        name = f"V{dose['at']}{at_unit}{'cc' if unit == 'cc' else ''}"
        return DoseValue(name, "V", float(dose["at"]), at_unit, unit)
    raise ConfigError("dose metric", f"{text!r} is unknown.", f"Write {_FORMS}.")
