"""Imports of MONAI Label and its web framework, with empty classes where they are not installed.

Without them there is no server, but the classes made of these can be read, checked and tested as any others.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "DICOMWebDatastore",
    "DefaultLabelTag",
    "HTTPException",
    "InferTask",
    "InferType",
    "LocalDatastore",
    "MONAILabelApp",
    "Random",
    "ScoringMethod",
    "Strategy",
    "TrainTask",
    "binary_to_image",
    "settings",
]

try:
    from fastapi import HTTPException
    from monailabel.config import settings
    from monailabel.datastore.dicom import DICOMWebDatastore
    from monailabel.datastore.local import LocalDatastore
    from monailabel.datastore.utils.convert import binary_to_image
    from monailabel.interfaces.app import MONAILabelApp
    from monailabel.interfaces.datastore import DefaultLabelTag
    from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
    from monailabel.interfaces.tasks.scoring import ScoringMethod
    from monailabel.interfaces.tasks.strategy import Strategy
    from monailabel.interfaces.tasks.train import TrainTask
    from monailabel.tasks.activelearning.random import Random
except ImportError as _missing:
    if (_missing.name or "").split(".")[0] not in ("fastapi", "monailabel"):
        raise

    class HTTPException(Exception):  # type: ignore[no-redef]  # noqa: N818  # the web framework's name
        """An answer that says what is wrong."""

        def __init__(self, status_code: int, detail: Any = None) -> None:
            super().__init__(status_code, detail)
            self.status_code, self.detail = status_code, detail

    class _StandIn:
        """Remembers nothing and does nothing."""

        FINAL = type("Tag", (), {"value": "final"})
        SEGMENTATION, CLASSIFICATION, OTHERS = "segmentation", "classification", "others"

        def __init__(self, *arguments: Any, **options: Any) -> None:
            pass

    settings = _StandIn()
    binary_to_image = None
    DICOMWebDatastore = LocalDatastore = MONAILabelApp = DefaultLabelTag = InferTask = InferType = _StandIn
    ScoringMethod = Strategy = TrainTask = Random = _StandIn
