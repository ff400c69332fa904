"""MONAI trainers and evaluators for multi-task networks: inference, handlers, checkpoints, run folders."""

from __future__ import annotations

from ctan_monai.aliases import old_names
from ctan_monai.lazy_names import lazy_names

# public name -> module; imported when first used, so that configs name everything as ctan_monai.engines.<name>
# while a program that needs one part does not import the others
_PUBLIC = {
    "BagSampler": "loop.prepare",
    "BestModel": "handlers.best_model_handler",
    "Checkpoint": "handlers.checkpoint_handler",
    "EarlyStopping": "handlers.early_stopping_handler",
    "FinalAnswersd": "predictions.final_answers",
    "History": "handlers.history_handler",
    "DistributedSequentialSampler": "distributed.data_parallel",
    "LossLogger": "handlers.loss_logging_handler",
    "MetricsLogger": "handlers.loss_logging_handler",
    "MultiTaskEvaluator": "loop.evaluator",
    "MultiTaskInferer": "loop.inferer",
    "MultiTaskMetrics": "handlers.metrics_handler",
    "MultiTaskTrainer": "loop.trainer",
    "NonFiniteError": "loop.finite",
    "PeerWatch": "handlers.peer_watch_handler",
    "PrepareBags": "loop.prepare",
    "PrepareMultiTaskBatch": "loop.prepare",
    "ProgressBar": "handlers.progress_handler",
    "ReseedEachEpoch": "handlers.seeding_handler",
    "RunFolder": "runs.run_folder",
    "ShardedSampler": "distributed.data_parallel",
    "SlicePoolingInferer": "loop.slice_pooling",
    "StopOnSignal": "handlers.signal_handler",
    "StopTraining": "handlers.early_stopping_handler",
    "WeightingHandler": "handlers.weighting_handler",
    "WriteCaseMetrics": "handlers.case_metrics_writer",
    "WriteConfusion": "handlers.case_metrics_writer",
    "WriteDicom": "predictions.dicom_writer",
    "WriteOnOwnGrid": "predictions.source_grid_writer",
    "WriteImageDicom": "predictions.image_dicom_writer",
    "WritePredictions": "predictions.prediction_writer",
    "WriteSlices": "predictions.slice_writer",
    "WriteSyntheticCt": "predictions.synthetic_ct_writer",
    "as_bool": "runs.options",
    "default_handlers": "handlers.default_handlers",
    "check_run": "runs.run_record",
    "choose": "runs.options",
    "choose_operating_point": "predictions.operating_point",
    "create_dataloader": "loop.dataloader",
    "create_sampler": "loop.sampler",
    "distribute": "distributed.data_parallel",
    "fresh_folder": "predictions.prediction_files",
    "init_process_group": "distributed.data_parallel",
    "destroy_process_group": "distributed.data_parallel",
    "load_best": "runs.run_record",
    "load_checked": "runs.torch_file",
    "network_of_run": "runs.run_record",
    "operating_point": "predictions.operating_point",
    "predict_cases": "predictions.prediction",
    "read_data_record": "runs.data_record",
    "run_network": "runs.run_record",
    "run_setting": "runs.manifest",
    "run_tasks": "runs.run_record",
    "save_atomic": "runs.torch_file",
    "seed_run": "handlers.seeding_handler",
    "per_rank_batch_size": "distributed.data_parallel",
    "trainable_parameters": "loop.parameters",
    "write_data_record": "runs.data_record",
    "write_datalist": "runs.data_record",
}

__all__ = list(_PUBLIC)

__getattr__, __dir__ = lazy_names(__name__, _PUBLIC, old_names(__name__))
