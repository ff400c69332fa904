"""How the losses of several tasks become one."""

from ctan_monai.losses.weighting.base import Weighting
from ctan_monai.losses.weighting.dwa import DynamicWeightAverage
from ctan_monai.losses.weighting.equal import EqualWeighting
from ctan_monai.losses.weighting.registry import WEIGHTINGS, create_weighting
from ctan_monai.losses.weighting.static import StaticWeighting
from ctan_monai.losses.weighting.uncertainty import UncertaintyWeighting

__all__ = [
    "WEIGHTINGS",
    "DynamicWeightAverage",
    "EqualWeighting",
    "StaticWeighting",
    "UncertaintyWeighting",
    "Weighting",
    "create_weighting",
]
