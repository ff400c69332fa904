"""What an image shows of a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from ctan_monai.metrics.goals import Plan

Array = NDArray[Any]


@dataclass(frozen=True)
class CaseView:
    """Everything that an image of one case shows, on one grid (*S) with three axes.

    Args:
        case: id, for the title.
        image: (*S) gray values, CT in HU.
        affine_ras: (4, 4) voxel -> RAS mm.
        reference: masks by name; a structure that is unknown is absent.
        predicted: masks by name.
        dose_reference: (*S) in ``dose_unit``, None where it is unknown.
        dose_predicted: (*S) in ``dose_unit``, None if no task predicts one.
        dose_unit: its unit.
        targets: names of reference structures that are drawn in white, the contours that a plan aims at.
        dose_region: (*S) where the reference dose is known, None for everywhere; what it means for a predicted dose
            of a case without a plan is nothing.
        plan: prescription and dose per fraction, as far as they are known.
        synthetic: whether the case was computed rather than imaged.
    """

    case: str
    image: Array
    affine_ras: Array
    reference: Mapping[str, Array] = field(default_factory=dict)
    predicted: Mapping[str, Array] = field(default_factory=dict)
    dose_reference: Array | None = None
    dose_predicted: Array | None = None
    dose_unit: str = "Gy"
    targets: Sequence[str] = ()
    dose_region: Array | None = None
    plan: Plan = field(default_factory=Plan)
    synthetic: bool = False

    @property
    def names(self) -> list[str]:
        """Structures to draw, each once, predicted ones first, targets left out."""
        return [name for name in dict.fromkeys([*self.predicted, *self.reference]) if name not in self.targets]

    @property
    def targets_here(self) -> list[str]:
        """Targets that are contoured or predicted."""
        return [name for name in self.targets if name in self.reference or name in self.predicted]
