"""Options of reading DICOM, for the command line, configs and prepared folders."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ctan_monai.data.dicom.read.dose_sum import Boost
from ctan_monai.data.dicom.read.masks import Between, Holes, check_options
from ctan_monai.data.dicom.read.names import unusable
from ctan_monai.errors import ConfigError

Needed = Literal["structures", "dose"]
Sides = Literal["refuse", "drop"]
Ambiguous = Literal["refuse", "newest"]


@dataclass(frozen=True)
class DicomOptions:
    """Options that change the content of a case.

    Args:
        names: names in the structure sets by TG-263 name, beside the package's synonyms; see ``names.read_mapping``.
        structures: names of the structures to keep; empty for all whose name is understood.
        need: what a patient must have to be a case: structures, dose.
        prescription_gy: what was prescribed, instead of what RTPLANs say.
        normalize_to_gy: scale each dose so that its prescription becomes this many Gy; None to leave it.
        holes: 'xor': contours within contours are holes; 'or': they are not, unless their type is CLOSEDPLANAR_XOR.
        between: what slices between contours get; see ``masks.mask_of``.
        boost: several plans on one structure set: 'refuse' the patient or 'sum' their doses.
        sides: a left structure on the right: 'refuse' the patient or 'drop' the structure.
        ambiguous: several structure sets on one CT: 'refuse' the patient or take the 'newest'.
        repair: put right what can be put right without guessing, see ``series.read_ct_series``; accept a structure
            set, structure or dose of another frame of reference if its references lead to this CT, and a CT that ends
            before its contours, its dose or the images that its structure set refers to. Each repair is noted.
        pixel_mm: pixel size within the slices to resample to; None for the CT's own.
        axcodes: where the axes of the arrays point, as nibabel names it; None for as they were scanned.

    Raises:
        ConfigError: a setting has an unknown value.
    """

    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    structures: tuple[str, ...] = ()
    need: tuple[Needed, ...] = ("structures", "dose")
    prescription_gy: float | None = None
    normalize_to_gy: float | None = None
    holes: Holes = "xor"
    between: Between = "interpolate"
    boost: Boost = "refuse"
    sides: Sides = "refuse"
    ambiguous: Ambiguous = "refuse"
    repair: bool = False
    pixel_mm: float | None = None
    axcodes: str | None = "PLS"

    def __post_init__(self) -> None:
        """Convert YAML's lists to tuples and check the values."""
        object.__setattr__(self, "names", {name: tuple(names) for name, names in self.names.items()})
        object.__setattr__(self, "structures", tuple(self.structures))
        object.__setattr__(self, "need", tuple(self.need))
        check_options(self.holes, self.between)
        if reason := unusable(self.names):
            raise ConfigError("names", reason, "Give each structure's own names, each once.")
        allowed: dict[str, tuple[str, ...]] = {
            "boost": get_args(Boost),
            "sides": get_args(Sides),
            "ambiguous": get_args(Ambiguous),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ConfigError(name, f"{getattr(self, name)!r} is unknown.", f"Use one of {values}.")
        if not set(self.need) <= set(get_args(Needed)):
            raise ConfigError("need", f"{self.need} was found.", f"List some of {get_args(Needed)}.")
        for name in ("prescription_gy", "normalize_to_gy", "pixel_mm"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and value > 0):
                raise ConfigError(name, f"{value!r} was found.", "Give a positive number.")
        if self.axcodes is not None and not _is_axcodes(self.axcodes):
            raise ConfigError("axcodes", f"{self.axcodes!r} was found.", "Give one of R/L, A/P, S/I each, such as PLS.")

    def to_json(self) -> dict[str, Any]:
        """Serialize the options to JSON values."""
        return dataclasses.asdict(self)


def _is_axcodes(codes: str) -> bool:
    pairs = ("RL", "AP", "SI")
    return len(codes) == 3 and all(sum(code in pair for code in codes) == 1 for pair in pairs)
