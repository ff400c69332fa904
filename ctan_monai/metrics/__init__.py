"""Metrics by kind of task, the official OpenKBP scores, DVHs, and the paper's Delta."""

from __future__ import annotations

from ctan_monai.lazy_names import by_name, lazy_names

_PUBLIC = by_name(
    """
    base: CaseMetric
    calibration: Calibration expected_calibration_error FindingCalibration
    classification: auroc ExclusiveAnswers FindingAnswers
    conditional: GivenFinding
    confusion: ClassDetails
    delta: delta_mean delta_task published_table2
    device_metric: DeviceMetric
    dvh: dvh_curve DvhCurve
    for_task: metrics_for
    gamma: Gamma pass_rates
    goals: Goals read_goals
    main_metric: main_metric_for
    naive_baselines: naive_baseline_for
    openkbp: OpenKBPScores
    openkbp_official: dose_score dvh_score PatientScore score_patient
    regression: ImageError VoxelError
    segmentation: SegmentationDice
    structure_dose: StructureDose
    synthetic_ct: SyntheticCTErrors
    """
)

__all__ = list(_PUBLIC)

__getattr__, __dir__ = lazy_names(__name__, _PUBLIC)
