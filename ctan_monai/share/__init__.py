"""Sharing of trained networks: exported formats, and bundles for the Model Zoo."""

from __future__ import annotations

from ctan_monai.lazy_names import by_name, lazy_names

# module: public names; imported when first used, so that a bundle which runs an exported network does not need what
# packs bundles
_PUBLIC = by_name(
    """
    export: export_network Exported
    exported_network: ExportedNetwork
    formats: FORMATS read_exported
    pack: pack_bundle Packed
    reduced: export_reduced PRECISIONS
    run_images: images_of_run RunImages
    """
)

__all__ = list(_PUBLIC)

__getattr__, __dir__ = lazy_names(__name__, _PUBLIC)
