"""DICOM in (``read``) and out (``write``).

A walk of one patient: ``read.scan`` reads headers, ``read.link`` says which CT, structure set and dose belong together,
``read.series`` makes a volume of the CT, ``read.masks`` of the contours, ``read.dose_sum`` of the dose, and
``read.patient`` a case of all three. A folder of patients is prepared by ``datasets.prostate.prepare``.

Positions are DICOM's own: LPS, in mm. Only ``Grid.affine_ras`` leaves this frame.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = ("CtReference", "Origin", "predicted_by", "write_rtdose", "write_rtplan", "write_rtstruct", "write_seg")

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Import a public name of the writers."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.write"), name)
