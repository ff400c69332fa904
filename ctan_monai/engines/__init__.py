"""MONAI trainers and evaluators assembled: batches, inference, handlers, checkpoints, run folders."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# public name -> module; imported when first used, so that configs name everything as ctan_monai.engines.<name>
# while a program that needs one part does not import the others
_PUBLIC = {
    "BagSampler": "bags",
    "BestModel": "best",
    "Checkpoint": "checkpoint",
    "EarlyStopping": "early_stopping",
    "FinalAnswersd": "final_answers",
    "History": "history",
    "InOrder": "distributed",
    "LossLogger": "loss_logging",
    "MetricsLogger": "metrics_logging",
    "MultiTaskEvaluator": "evaluator",
    "MultiTaskInferer": "inferer",
    "MultiTaskMetrics": "metrics_handler",
    "MultiTaskTrainer": "trainer",
    "NonFiniteError": "finite",
    "PeerWatch": "peer_watch",
    "PrepareBags": "bags",
    "PrepareMultiTaskBatch": "prepare",
    "ProgressBar": "progress",
    "ReseedEachEpoch": "seeding",
    "RunFolder": "run_folder",
    "ShardedSampler": "distributed",
    "SlicePoolingInferer": "slice_pooling",
    "StopOnSignal": "signals",
    "StopTraining": "early_stopping",
    "WeightingHandler": "weighting_handler",
    "WriteCaseMetrics": "case_table",
    "WriteConfusion": "confusion_table",
    "WriteDicom": "dicom_writer",
    "WriteOnOwnGrid": "own_grid_writer",
    "WritePredictions": "writer",
    "WriteSlices": "slice_table",
    "as_bool": "options",
    "bookkeeping": "standard_handlers",
    "check_run": "run_record",
    "choose": "options",
    "create_sampler": "sampler",
    "distribute": "distributed",
    "fresh_folder": "prediction_folder",
    "join_processes": "distributed",
    "leave_processes": "distributed",
    "load_best": "run_record",
    "load_checked": "torch_file",
    "predict_cases": "predict",
    "read_data_record": "data_record",
    "run_setting": "run_settings",
    "save_atomic": "torch_file",
    "seed_run": "seeding",
    "share_of_batch": "distributed",
    "trainable_parameters": "parameters",
    "write_data_record": "data_record",
    "write_datalist": "datalist_file",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_PUBLIC)
