"""Options of reading DICOM, for the command line, configs and prepared folders."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ctan_monai.data.dicom.read.dose_sum import Boost
from ctan_monai.data.dicom.read.masks import Between, Holes, check_options
from ctan_monai.data.dicom.read.names import unusable
from ctan_monai.errors import ConfigError, check_choice

Needed = Literal["structures", "dose"]
Sides = Literal["refuse", "drop"]
Ambiguous = Literal["refuse", "newest", "approved"]  # or /.../, a regular expression
Modality = Literal["CT", "MR"]
NAMES = "names"
_CAME_LATER = ("body_margin_mm", "modality", "series")
_PATTERN = re.compile(r"/(.+)/")


@dataclass(frozen=True)
class DicomOptions:
    """Options that change the content of a case.

    Args:
        names: names in the structure sets by TG-263 name, beside the package's synonyms; see ``names.read_mapping``.
        structures: names of the structures to keep; empty for all whose name is understood.
        required: names of structures that a patient must have to be a case, if it has a structure set.
        need: what a patient must have to be a case: structures, dose.
        prescription_gy: what was prescribed, instead of what RTPLANs say: Gy, or 'names' for the dose level that the
            targets' names state, see ``dose_levels.dose_level``.
        normalize_to_gy: scale each dose so that its prescription becomes this many Gy; None to leave it.
        holes: 'xor': contours within contours are holes; 'or': they are not, unless their type is CLOSEDPLANAR_XOR.
        between: what slices between contours get; see ``masks.mask_of``.
        boost: several plans on one structure set: 'refuse' the patient or 'sum' their doses.
        sides: a left structure on the right: 'refuse' the patient or 'drop' the structure.
        ambiguous: several structure sets on one CT: 'refuse' the patient, take the 'newest' or the one that is
            'approved'; or ``/.../``, a regular expression that the whole StructureSetLabel of one of them matches.
        repair: put right what can be put right without guessing, see ``series.read_ct_series``; accept a structure
            set, structure or dose of another frame of reference if its references lead to this CT, and a CT that ends
            before its contours, its dose or the images that its structure set refers to. Each repair is noted.
        pixel_mm: pixel size within the slices to resample to; None for the CT's own.
        axcodes: where the axes of the arrays point, as nibabel names it; None for as they were scanned.
        body_margin_mm: crop slices to the body of the CT and this margin; None keeps them whole.
        modality: of the planning images: 'CT' or 'MR'; with 'MR', what is said of the CT here holds for the MR, but
            that its series are not repaired.
        series: SeriesDescription or SeriesNumber of the planning images, where a patient has several series of the
            modality; None for all.

    Raises:
        ConfigError: a setting has an unknown value.
    """

    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    structures: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    need: tuple[Needed, ...] = ("structures", "dose")
    prescription_gy: float | Literal["names"] | None = None
    normalize_to_gy: float | None = None
    holes: Holes = "xor"
    between: Between = "interpolate"
    boost: Boost = "refuse"
    sides: Sides = "refuse"
    ambiguous: Ambiguous | str = "refuse"
    repair: bool = False
    pixel_mm: float | None = None
    axcodes: str | None = "PLS"
    body_margin_mm: float | None = None
    modality: Modality = "CT"
    series: str | None = None

    def __post_init__(self) -> None:
        """Convert YAML's lists to tuples and check the values."""
        object.__setattr__(self, "names", {name: tuple(names) for name, names in self.names.items()})
        object.__setattr__(self, "structures", tuple(self.structures))
        object.__setattr__(self, "required", tuple(self.required))
        object.__setattr__(self, "need", tuple(self.need))
        check_options(self.holes, self.between)
        if reason := unusable(self.names):
            raise ConfigError("names", reason, "Give each structure's own names, each once.")
        check_choice("boost", self.boost, get_args(Boost))
        check_choice("sides", self.sides, get_args(Sides))
        check_choice("modality", self.modality, get_args(Modality))
        object.__setattr__(self, "series", None if self.series is None else str(self.series))
        if not is_pattern(self.ambiguous):
            check_choice("ambiguous", self.ambiguous, (*get_args(Ambiguous), "/.../"))
        if not set(self.need) <= set(get_args(Needed)):
            raise ConfigError("need", f"{self.need} was found.", f"List some of {get_args(Needed)}.")
        for name in ("prescription_gy", "normalize_to_gy", "pixel_mm", "body_margin_mm"):
            value, by_names = getattr(self, name), name == "prescription_gy"
            usable = value is None or (isinstance(value, int | float) and value > 0)
            if not usable and not (by_names and value == NAMES):
                remedy = f"Give a positive number{', names, or a table (.csv)' if by_names else ''}."
                raise ConfigError(name, f"{value!r} was found.", remedy)
        if self.axcodes is not None and not _is_axcodes(self.axcodes):
            raise ConfigError("axcodes", f"{self.axcodes!r} was found.", "Give one of R/L, A/P, S/I each, such as PLS.")

    def to_json(self) -> dict[str, Any]:
        """Serialize the options to JSON values; those that came later only if they were given: older caches hold."""
        found, usual = dataclasses.asdict(self), DicomOptions
        return {k: v for k, v in found.items() if k not in _CAME_LATER or v != getattr(usual, k)}


def is_pattern(text: str) -> bool:
    """Tell whether a text is a regular expression between slashes.

    Raises:
        ConfigError: it is between slashes, and none.
    """
    found = _PATTERN.fullmatch(str(text))
    try:
        return found is not None and bool(re.compile(found[1]))
    except re.error as error:
        reason = f"{text!r} is no regular expression ({error})."
        raise ConfigError("ambiguous", reason, "Write for example /approved.*/.") from error


def _is_axcodes(codes: str) -> bool:
    pairs = ("RL", "AP", "SI")
    return len(codes) == 3 and all(sum(code in pair for code in codes) == 1 for pair in pairs)
