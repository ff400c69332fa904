"""Metrics by kind of task, the official OpenKBP scores, DVHs, and the paper's Delta."""

from __future__ import annotations

from ctan_monai.lazy_names import lazy_names

_PUBLIC = {
    "Calibration": "calibration",
    "CaseMetric": "base",
    "ClassDetails": "confusion",
    "DvhCurve": "dvh",
    "ExclusiveAnswers": "classification",
    "FindingAnswers": "classification",
    "FindingCalibration": "calibration",
    "Gamma": "gamma",
    "GivenFinding": "conditional",
    "Goals": "goals",
    "ImageError": "regression",
    "OpenKBPScores": "openkbp",
    "PatientScore": "openkbp_official",
    "SegmentationDice": "segmentation",
    "StructureDose": "structure_dose",
    "SyntheticCTErrors": "synthetic_ct",
    "VoxelError": "regression",
    "auroc": "classification",
    "delta_mean": "delta",
    "delta_task": "delta",
    "dose_score": "openkbp_official",
    "dvh_curve": "dvh",
    "dvh_score": "openkbp_official",
    "expected_calibration_error": "calibration",
    "main_metric_for": "main_metric",
    "metrics_for": "for_task",
    "naive_baseline_for": "naive_baselines",
    "pass_rates": "gamma",
    "published_table2": "delta",
    "read_goals": "goals",
    "score_patient": "openkbp_official",
}

__all__ = list(_PUBLIC)

__getattr__, __dir__ = lazy_names(__name__, _PUBLIC)
