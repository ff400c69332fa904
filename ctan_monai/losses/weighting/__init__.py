"""Weightings that combine the tasks' losses or gradients."""

from ctan_monai.losses.weighting.base import Weighting
from ctan_monai.losses.weighting.dwa import DynamicWeightAverage
from ctan_monai.losses.weighting.famo import Famo
from ctan_monai.losses.weighting.geometric import GeometricLoss
from ctan_monai.losses.weighting.gradient import GradientWeighting
from ctan_monai.losses.weighting.imtl_l import ImpartialLoss
from ctan_monai.losses.weighting.pcgrad import PCGrad
from ctan_monai.losses.weighting.random_weights import RandomWeighting
from ctan_monai.losses.weighting.registry import WEIGHTINGS, create_weighting
from ctan_monai.losses.weighting.static import EqualWeighting, StaticWeighting
from ctan_monai.losses.weighting.tchebycheff import SmoothTchebycheff
from ctan_monai.losses.weighting.uncertainty import UncertaintyWeighting

__all__ = [
    "WEIGHTINGS",
    "DynamicWeightAverage",
    "EqualWeighting",
    "Famo",
    "GeometricLoss",
    "GradientWeighting",
    "ImpartialLoss",
    "PCGrad",
    "RandomWeighting",
    "SmoothTchebycheff",
    "StaticWeighting",
    "UncertaintyWeighting",
    "Weighting",
    "create_weighting",
]
