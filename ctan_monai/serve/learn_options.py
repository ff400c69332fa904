"""How to learn from corrected labels, as a viewer asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ctan_monai.engines.runs.options import as_bool
from ctan_monai.errors import ConfigError


@dataclass(frozen=True)
class Options:
    """How to learn.

    Args:
        epochs: passes over the labeled slices.
        learning_rate: of Adam.
        batch_size: slices in a batch, all of one case.
        layers: 'task' changes only what belongs to the corrected task alone, 'all' everything.
        val_split: fraction of the cases that decide and are not trained on, of those whose labels were not submitted
            since weights were kept the last time.
        keep_unjudged: use the new weights even if no such case, or none with one of the labels, can decide.

    Raises:
        ConfigError: one cannot be used.
    """

    epochs: int = 5
    learning_rate: float = 1e-4
    batch_size: int = 4
    layers: str = "task"
    val_split: float = 0.2
    keep_unjudged: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        numbers = 1 <= self.epochs <= 1000 and 0 < self.learning_rate < 1 and 1 <= self.batch_size <= 256
        if not numbers or self.layers not in ("task", "all") or not 0 <= self.val_split < 1:
            remedy = "Use 1 to 1000 epochs, a rate below 1, 1 to 256 slices, layers 'task' or 'all', a share below 1."
            raise ConfigError("training", f"{self} cannot be used.", remedy)


def options_from(request: Mapping[str, Any]) -> Options:
    """Read the options of a request; a viewer sends a list where it offers a choice, whose first entry counts.

    Raises:
        ConfigError: one cannot be used.
    """
    found = {key: value[0] if isinstance(value, list) and value else value for key, value in request.items()}
    kinds: dict[str, Callable[[Any], Any]] = {"max_epochs": int, "learning_rate": float, "batch_size": int}
    kinds |= {"layers": str, "val_split": float, "keep_unjudged": lambda value: as_bool(value, "keep_unjudged")}
    try:
        read = {key: kind(found[key]) for key, kind in kinds.items() if key in found}
    except (TypeError, ValueError) as error:
        given = {key: found[key] for key in kinds if key in found}
        raise ConfigError("training", f"{given} cannot be used ({error}).", "Give numbers.") from error
    return Options(**{"epochs" if key == "max_epochs" else key: value for key, value in read.items()})
