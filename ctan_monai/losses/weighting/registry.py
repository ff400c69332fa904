"""The registry of weightings."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from ctan_monai.errors import check_choice
from ctan_monai.losses.options import build
from ctan_monai.losses.weighting.base import Weighting
from ctan_monai.losses.weighting.dwa import DynamicWeightAverage
from ctan_monai.losses.weighting.famo import Famo
from ctan_monai.losses.weighting.geometric import GeometricLoss
from ctan_monai.losses.weighting.imtl_l import ImpartialLoss
from ctan_monai.losses.weighting.pcgrad import PCGrad
from ctan_monai.losses.weighting.random_weights import RandomWeighting
from ctan_monai.losses.weighting.static import EqualWeighting, StaticWeighting
from ctan_monai.losses.weighting.tchebycheff import SmoothTchebycheff
from ctan_monai.losses.weighting.torchjd import IMTLG, MGDA, AlignedMTL, CAGrad, GradDrop, UPGrad
from ctan_monai.losses.weighting.uncertainty import UncertaintyWeighting
from ctan_monai.tasks import Task

_LOGGER = logging.getLogger(__name__)

WEIGHTINGS: dict[str, type[Weighting]] = {
    "equal": EqualWeighting,
    "static": StaticWeighting,
    "dwa": DynamicWeightAverage,
    "uncertainty": UncertaintyWeighting,
    "imtl_l": ImpartialLoss,
    "gls": GeometricLoss,
    "rlw": RandomWeighting,
    "stch": SmoothTchebycheff,
    "famo": Famo,
    "pcgrad": PCGrad,
    "upgrad": UPGrad,  # this and those below by torchjd, an extra
    "mgda": MGDA,
    "aligned_mtl": AlignedMTL,
    "imtl_g": IMTLG,
    "cagrad": CAGrad,
    "graddrop": GradDrop,
}


def create_weighting(
    name: str,
    tasks: Iterable[Task],
    independent: bool = False,
    static_weights: Mapping[str, float] | None = None,
    **options: Any,
) -> Weighting:
    """Create a weighting by its name.

    Args:
        name: one of `WEIGHTINGS`.
        tasks: the tasks.
        independent: the tasks share no parameters (STL): the weighting is equal, whatever the name, and the log
            says so.
        static_weights: the factors of ``static`` where ``weights`` gives none; other weightings have no use for them.
        options: keyword arguments of the weighting.

    Raises:
        ConfigError: the name or an option does not exist, an option is out of range, or the extra is not installed.
    """
    check_choice("weighting", name, WEIGHTINGS)
    tasks = tuple(tasks)
    if name == "static" and static_weights is not None:
        options = {"weights": static_weights, **options}
    weighting = build(WEIGHTINGS[name], f"weighting: {name}", tasks, options=options)
    if independent and name != "equal":
        _LOGGER.info("The tasks are learned independently: equal weighting takes the place of %r.", name)
        return EqualWeighting(tasks)
    return weighting
