"""Encoder, attention, decoders, and one architecture per file; every network returns `dict[str, Tensor]`."""

from ctan_monai.networks import (  # each registers its architecture
    ctan,
    hps,
    hybrid_mt_estan,
    mt_estan,
    mt_estan_swin,
    mtan,
    sfg,
    sfg_resnet,
    stl,
    swin,
)
from ctan_monai.networks.base import MultiTaskNetwork, SelectOutput, describe_network
from ctan_monai.networks.registry import create_network, methods

__all__ = [
    "MultiTaskNetwork",
    "SelectOutput",
    "create_network",
    "ctan",
    "describe_network",
    "hps",
    "hybrid_mt_estan",
    "methods",
    "mt_estan",
    "mt_estan_swin",
    "mtan",
    "sfg",
    "sfg_resnet",
    "stl",
    "swin",
]
