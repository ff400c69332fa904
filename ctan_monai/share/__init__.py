"""What leaves the house: trained networks in formats that other programs run."""

from ctan_monai.share.export import Exported, export_network
from ctan_monai.share.exported_network import ExportedNetwork
from ctan_monai.share.formats import FORMATS, read_exported

__all__ = ["FORMATS", "Exported", "ExportedNetwork", "export_network", "read_exported"]
