"""Encoder, attention, decoders, and one architecture per file; every network returns `dict[str, Tensor]`."""

from ctan_monai.networks import ctan, hps, mtan, stl  # each registers its architecture
from ctan_monai.networks.base import MultiTaskNetwork, describe_network
from ctan_monai.networks.registry import create_network, methods
from ctan_monai.networks.select import SelectOutput

__all__ = [
    "MultiTaskNetwork",
    "SelectOutput",
    "create_network",
    "ctan",
    "describe_network",
    "hps",
    "methods",
    "mtan",
    "stl",
]
