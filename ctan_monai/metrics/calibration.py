"""Calibration of predicted probabilities."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.base import NAN, known_mean
from ctan_monai.metrics.classification import ExclusiveAnswers, FindingAnswers
from ctan_monai.tasks import Classification

BINS = 15


def expected_calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = BINS) -> float:
    """Compute the expected calibration error: mean |confidence - accuracy| over bins of equal width, weighted by cases.

    Args:
        confidence: (N,) probability of the answer, 0 to 1; a bin contains its upper end.
        correct: (N,) whether the answer was right.
        bins: number of bins.

    Returns:
        0 (perfect) to 1, nan without a case.

    Source: Guo et al. 2017, "On calibration of modern neural networks", eq. 3, with its 15 bins.

    >>> expected_calibration_error(np.array([0.9, 0.9, 0.9, 0.9]), np.array([True, True, True, False]))
    0.15000000000000002
    """
    if not confidence.size:
        return NAN
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / confidence.size)


class Calibration(ExclusiveAnswers):
    """Compute the calibration of mutually exclusive classes: ECE and negative log-likelihood.

    For a task named ``lesion``: ``lesion_ece``, the expected calibration error of the answer's probability, and
    ``lesion_nll``, the mean of -log of the probability given to the truth (which a guess at random has at log K).

    Args:
        task: the classification that is measured.
        bins: of the calibration error.

    Raises:
        ConfigError: the classes do not exclude each other, or there is no bin.
    """

    def __init__(self, task: Classification, bins: int = BINS) -> None:
        if not task.exclusive or bins < 1:
            raise ConfigError("Calibration", f"{task} with {bins} bins.", "Give exclusive classes and a bin or more.")
        super().__init__(task)
        self.bins = bins

    def compute(self) -> dict[str, float]:
        """Return both metrics; nan = nothing known."""
        probs, labels = self._known()  # (N, K), (N, 1)
        truth = labels[:, 0].astype(np.int64)
        error = expected_calibration_error(probs.max(1, initial=0.0), probs.argmax(1) == truth, self.bins)
        given = probs[np.arange(len(truth)), truth]  # (N,)
        nll = -np.log(np.maximum(given, 1e-12)).mean() if len(truth) else math.nan
        return {f"{self.task.name}_ece": error, f"{self.task.name}_nll": float(nll)}

    def selection(self) -> float | None:
        """Return None: calibration does not select the best model."""
        return None


class FindingCalibration(FindingAnswers):
    """Compute the calibration of the probabilities of findings.

    For a task named ``covid``: ``covid_ece``, the mean distance between probability and fraction of positives over bins
    of the probability, weighted by their cases; ``covid_brier``, the mean squared error of the probability (0.25 for
    always one half); ``covid_nll``, the mean of -log of the probability given to the truth (log 2 for always one half).
    Of several classes that may hold together, the mean.

    Args:
        task: the classification that is measured.
        bins: of the calibration error.

    Raises:
        ConfigError: the classes exclude each other, or there is no bin.
    """

    def __init__(self, task: Classification, bins: int = BINS) -> None:
        if task.exclusive or bins < 1:
            raise ConfigError("FindingCalibration", f"{task} with {bins} bins.", "Give findings and a bin or more.")
        super().__init__(task)
        self.bins = bins

    def compute(self) -> dict[str, float]:
        """Return the metrics; nan = nothing known."""
        probs, labels = self._known()  # (N, K) each
        truth = labels > 0.5
        given = np.where(truth, probs, 1 - probs)
        errors = [
            expected_calibration_error(probs[:, k], truth[:, k], self.bins) for k in range(len(self.task.classes))
        ]
        return {
            f"{self.task.name}_ece": known_mean(errors),
            f"{self.task.name}_brier": known_mean(((1 - given) ** 2).ravel()),
            f"{self.task.name}_nll": known_mean((-np.log(np.maximum(given, 1e-12))).ravel()),
        }

    def selection(self) -> float | None:
        """Return None: calibration does not select the best model."""
        return None
