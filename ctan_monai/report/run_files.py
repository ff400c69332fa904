"""Read the files of a run leniently, also of killed and unfinished runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctan_monai.engines.runs.manifest import METRICS_FILE
from ctan_monai.errors import DataError

_logger = logging.getLogger(__name__)
TOTAL = "loss"
SELECTION = "selection"


@dataclass(frozen=True)
class RunHistory:
    """History of a run from metrics.json.

    Args:
        epochs: one record per epoch, as `History` writes them: epoch, seconds, learning_rate, train, weights and,
            where it was validated, validation.
        best: epoch and score of the best network ('all'), or of each independent task.
    """

    epochs: Sequence[Mapping[str, Any]]
    best: Mapping[str, Mapping[str, Any]]

    def series(self, part: str, name: str) -> tuple[list[int], list[float]]:
        """Return the epochs in which a metric is known, and its values.

        Args:
            part: train, weights or validation.
            name: of the number.
        """
        pairs = [(int(record["epoch"]), _number((record.get(part) or {}).get(name))) for record in self.epochs]
        known = [(epoch, value) for epoch, value in pairs if value is not None]
        return [epoch for epoch, _ in known], [value for _, value in known]

    def names(self, part: str) -> list[str]:
        """Return the names of the metrics in a part of any epoch, in order of occurrence."""
        return list(dict.fromkeys(name for record in self.epochs for name in record.get(part) or {}))

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks that were trained."""
        return [name for name in self.names("train") if name != TOTAL]

    @property
    def rates(self) -> tuple[list[int], list[float]]:
        """Epochs and learning rates."""
        pairs = [(int(record["epoch"]), _number(record.get("learning_rate"))) for record in self.epochs]
        known = [(epoch, rate) for epoch, rate in pairs if rate is not None]
        return [epoch for epoch, _ in known], [rate for _, rate in known]


def read_history(output_dir: str | Path) -> RunHistory:
    """Read ``<output_dir>/metrics.json``.

    Raises:
        DataError: there is none, it has no epoch, or it is something else.
    """
    path = Path(str(output_dir)) / METRICS_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        epochs, best = list(content["epochs"]), dict(content.get("best") or {})
        if not epochs or not all("epoch" in record for record in epochs):
            raise ValueError("it has no finished epoch")
    except OSError as error:
        raise DataError(path, None, f"it cannot be read ({error.strerror or error}).", "Train first.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(path, None, f"it is no history of a run ({error}).", "Train first.") from error
    return RunHistory(epochs, best)


def read_json(path: Path) -> Any:
    """Read a JSON file, None if it is missing or damaged (with a warning in the log)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _logger.warning("%s cannot be read (%s) and is left out of the report.", path, error)
        return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
