"""Clinical goals, read from a YAML file, and whether a dose meets them.

    prescription_gy: 78          # optional: of cases that do not say what was prescribed
    goals:
    - {structure: Rectum, goal: V70Gy < 20 %, source: QUANTEC, fraction_gy: [1.8, 2.0]}
    - {structure: CTV, goal: D98% >= 95 %}

``structure`` is the name of a mask (AAPM TG-263 where data were prepared from DICOM). ``goal`` is a metric
(`dose_values.parse_dose_value`), one of < <= > >=, a number and its unit: Gy or % of the prescription for doses, % of
the structure or cc for volumes. ``source`` (optional) is shown beside the goal. ``fraction_gy`` (optional) says for
which doses per fraction it was published; for others it is called not applicable.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.dose_values import DoseValue, Unit, parse_dose_value
from ctan_monai.metrics.dvh import Doses

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_GOAL = re.compile(r"(?P<metric>[^<>]+?)\s*(?P<sign><=|>=|<|>)\s*(?P<limit>\d+(?:\.\d+)?)\s*(?P<unit>Gy|%|cc)", re.I)
_KEYS = {"structure", "goal", "source", "fraction_gy"}
_FRACTION_TOLERANCE_GY = 0.005  # 1.8 Gy may be 1.7999 after a division


@dataclass(frozen=True)
class Plan:
    """Prescription and fractionation of a plan; None = unknown.

    Args:
        prescription_gy: total dose, in the scale of the doses that are judged.
        fraction_gy: dose per fraction.
    """

    prescription_gy: float | None = None
    fraction_gy: float | None = None


@dataclass(frozen=True)
class Judgment:
    """The value of a goal's metric and whether it meets the goal; None = cannot be evaluated, for the reason given."""

    value: float | None
    met: bool | None
    reason: str = ""


@dataclass(frozen=True)
class Goal:
    """One clinical goal.

    Args:
        structure: name of the mask.
        metric: what is looked at.
        sign: < <= > or >=.
        limit: the number that it is compared with.
        unit: of limit and value; for a dose, % is percent of the prescription.
        source: where it was published.
        fraction_gy: lowest and highest dose per fraction that it holds for, None for all.
    """

    structure: str
    metric: DoseValue
    sign: str
    limit: float
    unit: Unit
    source: str = ""
    fraction_gy: tuple[float, float] | None = None

    @property
    def relative_dose(self) -> bool:
        """Whether the limit is a dose in percent of the prescription."""
        return self.metric.unit == "Gy" and self.unit == "%"

    @property
    def unit_text(self) -> str:
        """Unit for display."""
        return "% of prescription" if self.relative_dose else self.unit

    def __str__(self) -> str:
        """Return the goal as the file writes it."""
        return f"{self.metric.name} {self.sign} {self.limit:g} {self.unit_text}"

    def judge(self, inside: Doses | None, voxel_mm3: float, plan: Plan) -> Judgment:
        """Evaluate the goal for a dose.

        Args:
            inside: (n,) doses of the structure's voxels, Gy; None or none where it is not known.
            voxel_mm3: volume of a voxel.
            plan: what was prescribed.
        """
        if inside is None or not inside.size:
            return Judgment(None, None, "not contoured")
        if (self.relative_dose or self.metric.needs_prescription) and plan.prescription_gy is None:
            return Judgment(None, None, "prescription unknown")
        value = self.metric.read(inside, voxel_mm3, plan.prescription_gy)
        if self.relative_dose and plan.prescription_gy is not None:
            value *= 100 / plan.prescription_gy
        if self.fraction_gy is not None and plan.fraction_gy is not None:
            low, high = self.fraction_gy
            if not low - _FRACTION_TOLERANCE_GY <= plan.fraction_gy <= high + _FRACTION_TOLERANCE_GY:
                return Judgment(value, None, f"not for {plan.fraction_gy:.3g} Gy per fraction")
        return Judgment(value, _COMPARE[self.sign](value, self.limit))


@dataclass(frozen=True)
class Goals:
    """Content of a file of goals."""

    goals: tuple[Goal, ...]
    prescription_gy: float | None = None


def parse_goal(text: str) -> tuple[DoseValue, str, float, Unit]:
    """Parse a goal such as 'V70Gy < 20 %'.

    Returns:
        Figure, sign, limit and the limit's unit.

    Raises:
        ConfigError: it is none, or the unit does not fit the metric.
    """
    found = _GOAL.fullmatch(text.strip())
    if found is None:
        raise ConfigError("goal", f"{text!r} cannot be understood.", "Write it like 'V70Gy < 20 %' or 'D95% >= 76 Gy'.")
    metric = parse_dose_value(found["metric"])
    units: dict[str, Unit] = {"gy": "Gy", "%": "%", "cc": "cc"}
    unit = units[found["unit"].lower()]
    if metric.kind == "V" and unit == "cc" and metric.unit == "%" and not found["metric"].rstrip().endswith("Gy%"):
        metric = parse_dose_value(f"{metric.name}cc")
    if unit not in (("Gy", "%") if metric.unit == "Gy" else (metric.unit,)):
        allowed = "Gy, or % of the prescription" if metric.unit == "Gy" else "% of the structure, or cc"
        raise ConfigError("goal", f"{text!r}: {metric.name} has no limit in {unit}.", f"Use {allowed}.")
    return metric, found["sign"], float(found["limit"]), unit


def read_goals(path: str | Path) -> Goals:
    """Read a file of goals; its format stands at the top of this module.

    Raises:
        ConfigError: it cannot be read or holds something else; the message names line and entry.
    """
    import yaml

    path = Path(str(path))
    try:
        content, lines = _content(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        found = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ConfigError(str(path), f"it cannot be read ({found}).", "Give a YAML file of goals.") from error
    if not isinstance(content, Mapping) or not isinstance(content.get("goals"), list) or not content["goals"]:
        raise ConfigError(str(path), "it has no list 'goals'.", "Write goals: with an entry per line.")
    if unknown := sorted(str(key) for key in set(content) - {"goals", "prescription_gy"}):
        raise ConfigError(str(path), f"{unknown} is unknown.", "Use goals and prescription_gy.")
    goals = tuple(
        _goal(f"{path}, line {line} (entry {number})", entry)
        for number, (entry, line) in enumerate(zip(content["goals"], lines, strict=True), start=1)
    )
    names = [(goal.structure, str(goal), goal.source) for goal in goals]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(str(path), f"{twice[0]} {twice[1]} stands there twice.", "Keep one of them.")
    return Goals(goals, _positive(str(path), "prescription_gy", content.get("prescription_gy")))


def _content(text: str) -> tuple[Any, list[int]]:
    """Return what a file holds, and the line of each entry of its ``goals``."""
    import yaml

    lines: list[int] = []
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value == "goals" and isinstance(value, yaml.SequenceNode):
            lines = [entry.start_mark.line + 1 for entry in value.value]
    return yaml.safe_load(text), lines


def _goal(where: str, entry: Any) -> Goal:
    if not isinstance(entry, Mapping) or not {"structure", "goal"} <= set(entry) or set(entry) - _KEYS:
        raise ConfigError(
            where, f"{entry!r} is no goal.", f"Give structure and goal, and of {sorted(_KEYS)} no others."
        )
    if not all(isinstance(entry.get(key, ""), str) for key in ("structure", "goal", "source")):
        raise ConfigError(where, f"{dict(entry)!r} holds no texts.", "Put structure, goal and source in quotes.")
    try:
        metric, sign, limit, unit = parse_goal(entry["goal"])
    except ConfigError as error:
        raise ConfigError(where, error.reason, error.remedy) from error
    return Goal(entry["structure"], metric, sign, limit, unit, entry.get("source", ""), _range(where, entry))


def _range(where: str, entry: Mapping[str, Any]) -> tuple[float, float] | None:
    given = entry.get("fraction_gy")
    if given is None:
        return None
    ends = list(given) if isinstance(given, list) else [given, given]
    numbers = [_positive(where, "fraction_gy", end) for end in ends]
    low, high = (numbers[0], numbers[-1]) if numbers else (None, None)
    if len(numbers) != 2 or low is None or high is None or low > high:
        raise ConfigError(where, f"fraction_gy is {given!r}.", "Give [lowest, highest] in Gy.")
    return low, high


def _positive(where: str, name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ConfigError(where, f"{name} is {value!r}.", "Give a dose in Gy.")
    return float(value)
