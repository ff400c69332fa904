"""MONAI trainers and evaluators for multi-task networks: inference, handlers, checkpoints, run folders."""

from __future__ import annotations

from ctan_monai.aliases import old_names
from ctan_monai.lazy_names import by_name, lazy_names

# module: public names; imported when first used, so that configs name everything as ctan_monai.engines.<name>
# while a program that needs one part does not import the others
_PUBLIC = by_name(
    """
    distributed.data_parallel: destroy_process_group distribute DistributedSequentialSampler init_process_group
    distributed.data_parallel: per_rank_batch_size ShardedSampler
    handlers.best_model_handler: BestModel
    handlers.case_metrics_writer: WriteCaseMetrics WriteConfusion
    handlers.checkpoint_handler: Checkpoint
    handlers.default_handlers: default_handlers
    handlers.early_stopping_handler: EarlyStopping StopTraining
    handlers.history_handler: History
    handlers.loss_logging_handler: LossLogger MetricsLogger
    handlers.metrics_handler: MultiTaskMetrics
    handlers.peer_watch_handler: PeerWatch
    handlers.progress_handler: ProgressBar
    handlers.seeding_handler: ReseedEachEpoch seed_run
    handlers.signal_handler: StopOnSignal
    handlers.weighting_handler: WeightingHandler
    loop.dataloader: create_dataloader
    loop.evaluator: MultiTaskEvaluator
    loop.finite: NonFiniteError
    loop.inferer: MultiTaskInferer
    loop.parameters: trainable_parameters
    loop.prepare: BagSampler PrepareBags PrepareMultiTaskBatch
    loop.sampler: create_sampler
    loop.slice_pooling: SlicePoolingInferer
    loop.trainer: MultiTaskTrainer
    loop.views: MirrorViews
    predictions.dicom_writer: WriteDicom
    predictions.final_answers: FinalAnswersd
    predictions.image_dicom_writer: WriteImageDicom
    predictions.operating_point: choose_operating_point operating_point
    predictions.prediction: predict_cases
    predictions.prediction_files: fresh_folder
    predictions.prediction_writer: WritePredictions
    predictions.slice_writer: WriteSlices
    predictions.source_grid_writer: WriteOnNativeGrid
    predictions.spread_writer: WriteSpread
    predictions.synthetic_ct_writer: WriteSyntheticCt
    runs.data_record: read_data_record write_data_record write_datalist
    runs.ensemble: Ensemble
    runs.manifest: inference_dir run_setting
    runs.options: as_bool choose
    runs.run_folder: RunFolder
    runs.run_network: network_of_run run_network run_tasks
    runs.run_record: check_run load_best
    runs.torch_file: load_checked save_atomic
    """
)

__all__ = list(_PUBLIC)

__getattr__, __dir__ = lazy_names(__name__, _PUBLIC, old_names(__name__))
