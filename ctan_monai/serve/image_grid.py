"""Resize predictions for a 2D image to the rows and columns of its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from ctan_monai.engines.predictions.file_grid import full_shape, padded_shape
from ctan_monai.errors import DataError
from ctan_monai.tasks import Task
from ctan_monai.transforms.postprocess import activate, postprocess_for

Array = npt.NDArray[Any]


def on_image_grid(
    tasks: Sequence[Task], logits: Mapping[str, Tensor], file: Path, image: Path
) -> tuple[dict[str, dict[str, Array]], dict[str, Array]]:
    """Interpolate probabilities and values linearly, then decide.

    Args:
        tasks: pixel-level tasks.
        logits: (K, H, W) by task.
        file: the cached case, which may know the image's size.
        image: the image.

    Returns:
        Masks, bool (rows, columns), by task and label; and values, float32, by name of the answer.

    Raises:
        DataError: the image cannot be read.
    """
    masks: dict[str, dict[str, Array]] = {}
    values: dict[str, Array] = {}
    shape = (full_shape(file) or _size(image)) if tasks else (0, 0)
    padded = padded_shape(file) if tasks else None
    for task in tasks:
        if not task.masks:
            resized = _resized(postprocess_for(task)(logits[task.name][None]), shape, padded)  # (K, rows, columns)
            values.update(zip(task.answer_names, resized.numpy(), strict=True))
            continue
        probs = _resized(activate(task, logits[task.name][None]), shape, padded)  # (K, rows, columns)
        if not task.exclusive:
            inside = probs >= 0.5
        else:
            inside = torch.stack([probs.argmax(0) == number for number in range(1, len(probs))])
        masks[task.name] = dict(zip(task.answer_names, inside.numpy(), strict=True))
    return masks, values


def _resized(values: Tensor, shape: tuple[int, int], padded: tuple[int, int] | None) -> Tensor:
    """Resize (1, K, H, W) to (K, rows, columns), and cut off what was padded."""
    size = padded or shape
    resized = torch.nn.functional.interpolate(values.float(), size=size, mode="bilinear", align_corners=False)[0]
    return resized[:, : shape[0], : shape[1]]


def _size(image: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(image) as opened:
            return opened.height, opened.width
    except OSError as error:
        raise DataError(image, None, f"it cannot be read ({error}).", "Give a JPEG or PNG.") from error
