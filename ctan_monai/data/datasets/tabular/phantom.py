"""Synthetic cases for any combination of tasks: ellipsoids of different intensity in a body, one per label.

What is to be found follows from them, so that a network can learn it from a few dozen cases: a class is a second,
brighter part of the first ellipsoid, a value of the whole image is its size, a value per voxel falls with the distance
from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.datasets.tabular.layout import Layout
from ctan_monai.data.datasets.tabular.sides import side_of
from ctan_monai.tasks import Classification, Regression, region_key

VERSION = 1  # raise it when other cases are drawn
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Phantom:
    """Arrays and labels of a synthetic case.

    Args:
        image: (*S) brightness, 0 outside of the body, about 1 to 2 inside.
        masks: by label, and by region.
        values: by task, the class's index, or per class 0 or 1, or the value of the image.
        volumes: by task, (*S) in its unit.
    """

    image: Array
    masks: Mapping[str, Array]
    values: Mapping[str, Any]
    volumes: Mapping[str, Array]


def draw_phantom(layout: Layout, number: int, shape: Sequence[int]) -> Phantom:
    """Draw a synthetic case.

    Args:
        layout: tasks.
        number: another number gives another case.
        shape: of the grid; its first axis runs from left to right if it has three.
    """
    random = np.random.default_rng([VERSION, number])
    axes = [np.linspace(-1, 1, size) for size in shape]
    place = np.stack(np.meshgrid(*axes, indexing="ij"))  # (D, *S), -1 to 1
    body = (place**2).sum(0) < 0.9
    image = body * (1 + 0.03 * random.standard_normal(tuple(shape)))
    labels = [label for task in layout.segmentations for label in task.labels]
    masks: dict[str, Array] = {}
    distance = np.sqrt(((place - random.uniform(-0.2, 0.2, (len(shape), *[1] * len(shape)))) ** 2).sum(0))
    radius = random.uniform(0.2, 0.35)
    for at, label in enumerate(labels):
        found, size = _ellipsoid(place, random, at, len(labels), side_of(label))
        masks[label] = (found < 1) & body
        image = image + masks[label] * (0.4 + 0.6 * (at + 1) / len(labels))
        if at == 0:
            distance, radius = found * size, size
    if not labels:
        image = image + 0.5 * (distance < radius)
    values: dict[str, Any] = {}
    volumes: dict[str, Array] = {}
    for task in layout.tasks:
        if isinstance(task, Classification):
            classes = max(len(task.classes), 2)
            index = number % classes
            values[task.name] = index if task.exclusive else _findings(task, number)
            image = image + 0.8 * index / (classes - 1) * (distance < 0.5 * radius)
        elif isinstance(task, Regression) and task.pixel_level:
            volumes[task.name] = (task.scale * np.exp(-((distance / 0.6) ** 2)) * body).astype(np.float32)
            masks[region_key(task)] = body
        elif isinstance(task, Regression):
            values[task.name] = round(float(task.scale * radius * 2), 3)
    return Phantom(image, masks, values, volumes)


def _ellipsoid(place: Array, random: np.random.Generator, at: int, count: int, side: int) -> tuple[Array, float]:
    """Return (*S) below 1 inside of an ellipsoid, and its radius; ellipsoids of different labels hardly meet."""
    dimensions = len(place)
    size = random.uniform(0.18, 0.3) / max(1.0, count / 4)
    angle = 2 * np.pi * at / max(count, 1) + random.uniform(-0.2, 0.2)
    center = random.uniform(-0.15, 0.15, dimensions)
    if count > 1:
        center[:2] += 0.5 * np.array([np.cos(angle), np.sin(angle)])
    if side:
        center[0] = side * max(abs(center[0]), 0.35)
    radii = size * random.uniform(0.8, 1.25, dimensions)
    ones = [1] * dimensions
    return np.sqrt((((place - center.reshape(-1, *ones)) / radii.reshape(-1, *ones)) ** 2).sum(0)), size


def _findings(task: Classification, number: int) -> list[int]:
    return [int((number >> at) % 2) for at in range(len(task.classes))]
