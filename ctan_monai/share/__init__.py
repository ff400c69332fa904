"""Sharing of trained networks: exported formats, and bundles for the Model Zoo."""

from __future__ import annotations

from ctan_monai.lazy_names import lazy_names

# public name -> module; imported when first used, so that a bundle which runs an exported network does not need what
# packs bundles
_PUBLIC = {
    "FORMATS": "formats",
    "Exported": "export",
    "ExportedNetwork": "exported_network",
    "PRECISIONS": "reduced",
    "Packed": "pack",
    "RunImages": "run_images",
    "export_network": "export",
    "export_reduced": "reduced",
    "images_of_run": "run_images",
    "pack_bundle": "pack",
    "read_exported": "formats",
}

__all__ = list(_PUBLIC)

__getattr__, __dir__ = lazy_names(__name__, _PUBLIC)
