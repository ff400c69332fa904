"""What leaves the house: trained networks in formats that other programs run, bundles for the Model Zoo."""

from __future__ import annotations

from importlib import import_module
from typing import Any

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


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_PUBLIC)
