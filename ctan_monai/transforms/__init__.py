"""MONAI transforms from a cached case to a sample, and from logits back to answers."""

from ctan_monai.transforms.activate import activate
from ctan_monai.transforms.affine import RandAffineLabelsd, spatial_modes
from ctan_monai.transforms.colour import RandColourJitterd
from ctan_monai.transforms.crop import CropOrPadLabelsd
from ctan_monai.transforms.hide import HideLabelsd
from ctan_monai.transforms.imply import ImplyAbsentd
from ctan_monai.transforms.labels import read_label
from ctan_monai.transforms.load import LoadCased
from ctan_monai.transforms.mirror import RandMirrorLabelsd, mirror_sample
from ctan_monai.transforms.normalise import NormaliseChannelsd
from ctan_monai.transforms.patch import RandPatchLabelsd
from ctan_monai.transforms.pick_slice import RandSliced
from ctan_monai.transforms.postprocess import postprocess_for
from ctan_monai.transforms.window import RandWindowChannelsd, WindowChannelsd

__all__ = [
    "CropOrPadLabelsd",
    "HideLabelsd",
    "ImplyAbsentd",
    "LoadCased",
    "NormaliseChannelsd",
    "RandAffineLabelsd",
    "RandColourJitterd",
    "RandMirrorLabelsd",
    "RandPatchLabelsd",
    "RandSliced",
    "RandWindowChannelsd",
    "WindowChannelsd",
    "activate",
    "mirror_sample",
    "postprocess_for",
    "read_label",
    "spatial_modes",
]
