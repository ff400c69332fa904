"""What leaves the house: trained networks in formats that other programs run, bundles for the Model Zoo."""

from ctan_monai.share.export import Exported, export_network
from ctan_monai.share.exported_network import ExportedNetwork
from ctan_monai.share.formats import FORMATS, read_exported
from ctan_monai.share.pack import Packed, pack_bundle

__all__ = [
    "FORMATS",
    "Exported",
    "ExportedNetwork",
    "Packed",
    "export_network",
    "pack_bundle",
    "read_exported",
]
