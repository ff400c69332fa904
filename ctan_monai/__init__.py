"""Multi-task learning for medical images on MONAI.

Declare the tasks, choose an architecture, train, compare, and get clinical files back: from Python as here, or in a
bundle's YAML. Every name is imported when it is first used; ``import ctan_monai`` alone imports nothing heavy.
"""

from __future__ import annotations

from ctan_monai import aliases
from ctan_monai.lazy_names import lazy_names

__version__ = "0.1.0"

# public name -> module; __init__.pyi tells type checkers and editors the same
_PUBLIC = {
    "Case": "data",
    "CheckpointError": "errors",
    "Classification": "tasks",
    "ConfigError": "errors",
    "CtanError": "errors",
    "DataError": "errors",
    "DynamicWeightAverage": "losses",
    "LoadCaseFiled": "transforms",
    "MultiTaskEvaluator": "engines",
    "MultiTaskInferer": "engines",
    "MultiTaskLoss": "losses",
    "MultiTaskMetrics": "engines",
    "MultiTaskTrainer": "engines",
    "Regression": "tasks",
    "Segmentation": "tasks",
    "SeededDataset": "data",
    "WeightingHandler": "engines",
    "create_bundle": "apps.bundles",
    "create_network": "networks",
    "create_weighting": "losses",
    "evaluate": "apps.bundles",
    "methods": "networks",
    "metrics_for": "metrics",
    "network_of_run": "engines",
    "postprocess_for": "transforms",
    "predict": "apps.bundles",
    "read_case_file": "data",
    "tabular_datalist": "data",
    "train": "apps.bundles",
}

__all__ = ["__version__", *_PUBLIC]

__getattr__, __dir__ = lazy_names(__name__, _PUBLIC)

aliases.install()
