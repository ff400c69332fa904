"""Multi-task learning for medical images on MONAI.

Declare the tasks, choose an architecture, train, compare, and get clinical files back: from Python as here, or in a
bundle's YAML. Every name is imported when it is first used; ``import ctan_monai`` alone imports nothing heavy.
"""

from __future__ import annotations

from ctan_monai import aliases
from ctan_monai.lazy_names import by_name, lazy_names

__version__ = "0.1.0"

# module: public names; __init__.pyi tells type checkers and editors the same
_PUBLIC = by_name(
    """
    apps.bundles: create_bundle evaluate predict train
    data: Case read_case_file SeededDataset tabular_datalist
    engines: MultiTaskEvaluator MultiTaskInferer MultiTaskMetrics MultiTaskTrainer network_of_run WeightingHandler
    errors: CheckpointError ConfigError CtanError DataError
    losses: create_weighting DynamicWeightAverage MultiTaskLoss
    metrics: metrics_for
    networks: create_network methods
    tasks: Classification Regression Segmentation
    transforms: LoadCaseFiled postprocess_for
    """
)

__all__ = ["__version__", *_PUBLIC]

__getattr__, __dir__ = lazy_names(__name__, _PUBLIC)

aliases.install()
