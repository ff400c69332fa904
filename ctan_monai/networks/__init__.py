"""Encoder, attention, decoders, and one architecture per file; every network returns `dict[str, Tensor]`."""

from ctan_monai.networks import ctan, hps, mtan, sfg, stl  # each registers its architecture
from ctan_monai.networks.base import MultiTaskNetwork, SelectOutput, describe_network
from ctan_monai.networks.registry import create_network, methods

__all__ = [
    "MultiTaskNetwork",
    "SelectOutput",
    "create_network",
    "ctan",
    "describe_network",
    "hps",
    "methods",
    "mtan",
    "sfg",
    "stl",
]
