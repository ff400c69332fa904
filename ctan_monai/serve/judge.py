"""Decide whether a network trained on corrected labels replaces the previous one; scores of images."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.files.atomic import replace_text
from ctan_monai.serve.answer import Answer
from ctan_monai.serve.drawn import Drawn

FALL = 0.02  # of a label's Dice, which is not made good by a rise of another's
_REQUEST = "Train again with keep_unjudged to use the weights all the same."
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Seen:
    """Agreement of a prediction with the label of a case.

    Args:
        dice: of each label that was drawn.
        values: of the voxel-level tasks, which have no label here.
    """

    dice: Mapping[str, float]
    values: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Verdict:
    """Decision whether new weights are kept.

    Args:
        kept: whether.
        why: in a sentence.
        dice_before: mean over the cases that decide and their labels, None without such cases.
        dice_after: the same.
        by_label: of each label the mean Dice before and after, over all cases whose labels were not submitted lately.
    """

    kept: bool
    why: str
    dice_before: float | None
    dice_after: float | None
    by_label: Mapping[str, tuple[float, float]]


def seen(answer: Answer, drawn: Drawn, task: str) -> Seen:
    """Compute the agreement of a prediction with a submitted label, on the image's own grid."""
    masks = answer.masks[task]
    found = {}
    for label, mask in masks.items():
        reference = drawn.masks.get(label)
        if reference is not None:
            found[label] = 2 * float((reference & mask).sum()) / float(reference.sum() + mask.sum())
    return Seen(found, answer.values)


def judge(
    before: Sequence[Seen], after: Sequence[Seen], deciding: int, labels: Sequence[str], keep_unjudged: bool
) -> Verdict:
    """Decide between two networks by cases whose labels were not newly submitted.

    Kept if the mean Dice of the cases that decide is not lower, and the Dice of no label falls by more than 0.02 on
    all of them. Where no case can decide, or a label occurs in none, only a request keeps the weights.

    Args:
        before: of the earlier network.
        after: of the new one, of the same cases.
        deciding: how many of them, from the first on, were not trained on either.
        labels: of the task.
        keep_unjudged: the request.
    """
    if not deciding or not any(each.dice for each in before[:deciding]):
        why = "no case decides: all labels were submitted since weights were kept the last time."
        return Verdict(keep_unjudged, why if keep_unjudged else f"{why} {_REQUEST}", None, None, {})
    by_label = {label: (_mean(before, label), _mean(after, label)) for label in labels if _has(before, label)}
    old_mean, new_mean = _mean_of_all(before[:deciding]), _mean_of_all(after[:deciding])
    fallen = [f"{label} ({old:.3f} to {new:.3f})" for label, (old, new) in by_label.items() if new < old - FALL]
    unknown = [label for label in labels if label not in by_label]
    kept, why = False, ""
    if fallen:
        why = f"the Dice of {', '.join(fallen)} fell."
    elif new_mean < old_mean:
        why = "the mean Dice of the cases that decide fell."
    elif unknown and not keep_unjudged:
        why = f"no case that decides has a label of {', '.join(unknown)}. {_REQUEST}"
    else:
        kept, why = True, f"the mean Dice of the cases that decide is not lower, no label's fell by more than {FALL}."
        why += f" Kept on request without a case for {', '.join(unknown)}." if unknown else ""
    return Verdict(kept, why, old_mean, new_mean, by_label)


def changes(before: Sequence[Seen], after: Sequence[Seen]) -> dict[str, float]:
    """Compute the mean absolute change of voxel-level tasks' values, in their unit."""
    pairs = list(zip(before, after, strict=True))
    moved = {name: [np.abs(b.values[name] - a.values[name]).mean() for b, a in pairs] for name in before[0].values}
    return {name: round(float(np.mean(each)), 5) for name, each in moved.items()}


def _has(cases: Sequence[Seen], label: str) -> bool:
    return any(label in each.dice for each in cases)


def _mean_of_all(cases: Sequence[Seen]) -> float:
    return float(np.mean([value for each in cases for value in each.dice.values()]))


def _mean(cases: Sequence[Seen], label: str) -> float:
    return float(np.mean([each.dice[label] for each in cases if label in each.dice]))


class Scores:
    """Scores by image, each with the version of the network that gave it.

    Args:
        path: the file; a missing or damaged one counts as empty, since every score can be computed again.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def of(self, version: str | None = None) -> dict[str, float]:
        """Return the scores, of one version or of any."""
        return {
            image: float(score) for image, (given, score) in self._read().items() if version is None or given == version
        }

    def put(self, image: str, version: str, score: float) -> None:
        """Set the score of an image."""
        content = {**self._read(), image: (version, score)}
        replace_text(self.path, json.dumps(content, indent=1) + "\n")

    def _read(self) -> dict[str, tuple[str, float]]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return {str(image): (str(version), float(score)) for image, (version, score) in content.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _logger.warning("%s cannot be read (%s); it counts as empty", self.path, error)
            return {}


def most_uncertain(images: Iterable[str], scores: dict[str, float]) -> tuple[str, float] | None:
    """Choose the image with the highest score; of equals, the first by name.

    Returns:
        The image and its score; None if none of the images has a score.
    """
    scored = sorted((-scores[image], image) for image in set(images) if image in scores)
    return (scored[0][1], -scored[0][0]) if scored else None
