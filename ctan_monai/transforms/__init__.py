"""MONAI transforms: from a cached case to a sample, and from logits to predictions."""

from ctan_monai.aliases import keep_old_names
from ctan_monai.transforms.affine import RandAffineLabelsd, spatial_modes
from ctan_monai.transforms.color import RandColorJitterd
from ctan_monai.transforms.crop import CropOrPadLabelsd, RandPatchLabelsd, RandSelectSliced
from ctan_monai.transforms.labels import DropLabelsd, SetDependentLabeld, read_label
from ctan_monai.transforms.load import LoadCaseFiled
from ctan_monai.transforms.mirror import RandMirrorLabelsd
from ctan_monai.transforms.normalize import NormalizeChannelsd
from ctan_monai.transforms.postprocess import activate, postprocess_for
from ctan_monai.transforms.window import RandWindowChannelsd, WindowChannelsd

keep_old_names(__name__)

__all__ = [
    "CropOrPadLabelsd",
    "DropLabelsd",
    "LoadCaseFiled",
    "NormalizeChannelsd",
    "RandAffineLabelsd",
    "RandColorJitterd",
    "RandMirrorLabelsd",
    "RandPatchLabelsd",
    "RandSelectSliced",
    "RandWindowChannelsd",
    "SetDependentLabeld",
    "WindowChannelsd",
    "activate",
    "postprocess_for",
    "read_label",
    "spatial_modes",
]
