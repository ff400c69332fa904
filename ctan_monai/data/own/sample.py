"""Synthetic cases for any combination of tasks, in the format that a user's own table has, to try everything out with.

They show no patient and are not meant to look like one: ellipsoids of different brightness in a body, one per label.
What is to be found follows from them, so that a network can learn it from a few dozen cases: a class is a second,
brighter part of the first ellipsoid, a value of the whole image is its size, a value per voxel falls with the distance
from it. In the training cases a quarter of the labels is left out, as in data that people have.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.nifti import write_nifti
from ctan_monai.data.own.layout import IMAGE, SYNTHETIC, Layout
from ctan_monai.data.own.sides import side_of
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Classification, Regression, Segmentation, Task, region_key

_logger = logging.getLogger(__name__)
VERSION = 1  # raise it when other cases are made
KINDS = ("ct", "mr", "rgb", "grey")
PICTURES = ("rgb", "grey")
SIZES = {"train": 12, "validation": 4, "test": 4}
TABLE = "datalist.csv"
_VOLUMES = {
    2: ((48, 48, 16), (4.0, 4.0, 8.0)),
    3: ((48, 48, 32), (4.0, 4.0, 4.0)),
}  # voxels, mm; by the network's dimensions
_PICTURE = (80, 96)
_UNKNOWN_SHARE = 0.25
_FULLY_KNOWN = 3  # first training cases, so that no label is unknown everywhere
_BODY_HU, _AIR_HU = 40, -1000

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Phantom:
    """What a synthetic case consists of.

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


def sample_table(cache_dir: str | Path, layout: Layout, kind: str) -> Path:
    """Return the table of synthetic cases for a layout; they are made the first time, and the log says so.

    Args:
        cache_dir: the cases get a folder of their own in it.
        layout: tasks and channels.
        kind: ct and mr are volumes, rgb and grey pictures.

    Raises:
        ConfigError: the kind is unknown, or does not fit the layout.
        DataError: they cannot be written.
    """
    if kind not in KINDS or (kind in PICTURES and layout.spatial_dims == 3) or layout.colour != (kind == "rgb"):
        found = f"{kind!r} for the channels {list(layout.image_channels)} in {layout.spatial_dims}D."
        raise ConfigError("sample", found, f"Use one of {KINDS}; rgb for red, green, blue; volumes in 3D.")
    text = repr((VERSION, kind, layout.spatial_dims, layout.tasks, layout.image_channels, layout.label_values, SIZES))
    folder = Path(cache_dir) / f"synthetic-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"
    if not (folder / SYNTHETIC).is_file():
        _write(folder, layout, kind)
    _logger.warning("synthetic cases in use (%s): they show no patients; give --datalist for your own", folder)
    return folder / TABLE


def header_of(layout: Layout, kind: str) -> list[str]:
    """Return the columns of a table for a layout."""
    columns = ["case", "group", "split"]
    columns += [IMAGE] if kind == "rgb" or len(layout.image_channels) == 1 else list(layout.image_channels)
    for task in layout.tasks:
        columns += list(task.labels) if isinstance(task, Segmentation) and not _has_map(task) else [task.name]
        columns += [region_key(task)] if isinstance(task, Regression) and task.region == "mask" else []
    return columns


def draw_phantom(layout: Layout, number: int, shape: Sequence[int]) -> Phantom:
    """Draw a case.

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
    centre = random.uniform(-0.15, 0.15, dimensions)
    if count > 1:
        centre[:2] += 0.5 * np.array([np.cos(angle), np.sin(angle)])
    if side:
        centre[0] = side * max(abs(centre[0]), 0.35)
    radii = size * random.uniform(0.8, 1.25, dimensions)
    ones = [1] * dimensions
    return np.sqrt((((place - centre.reshape(-1, *ones)) / radii.reshape(-1, *ones)) ** 2).sum(0)), size


def _findings(task: Classification, number: int) -> list[int]:
    return [int((number >> at) % 2) for at in range(len(task.classes))]


def _has_map(task: Segmentation) -> bool:
    return not task.overlapping and tuple(task.labels) != (task.name,)


def _write(folder: Path, layout: Layout, kind: str) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _write_cases(draft, layout, kind)
            (draft / SYNTHETIC).write_text("Drawn by ctan_monai. These images show no patient.\n", encoding="utf-8")
            draft.chmod(0o755)  # mkdtemp's is for this user alone
            with contextlib.suppress(OSError):  # another process was faster
                os.rename(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise DataError(folder, None, f"it cannot be written ({error.strerror or error}).", "Free space.") from error
    if not (folder / SYNTHETIC).is_file():
        raise DataError(folder, None, "something else is in the place of the synthetic cases.", "Remove it.")


def _write_cases(folder: Path, layout: Layout, kind: str) -> None:
    rows = []
    splits = [split for split, count in SIZES.items() for _ in range(count)]
    for number, split in enumerate(splits):
        phantom = draw_phantom(layout, number, _PICTURE if kind in PICTURES else _VOLUMES[layout.spatial_dims][0])
        name = f"synthetic_{number:02d}"
        first = splits.index(split)
        about = {"case": name, "group": f"{split}_{(number - first) // 2}", "split": split}
        known = _known(layout, number) if split == "train" and number >= _FULLY_KNOWN else set(header_of(layout, kind))
        cells = {
            **_write_image(folder, name, phantom.image, layout, kind),
            **_write_labels(folder, name, phantom, layout),
        }
        rows.append(
            about | {column: cell for column, cell in cells.items() if column in known or _is_image(column, layout)}
        )
    with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header_of(layout, kind), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _is_image(column: str, layout: Layout) -> bool:
    return column in (IMAGE, *layout.image_channels)


def _known(layout: Layout, number: int) -> set[str]:
    """Draw which labels of a training case are known."""
    random = np.random.default_rng([VERSION, number, 2])
    names = [task.name for task in layout.tasks] + [name for task in layout.segmentations for name in task.labels]
    regions = {region_key(task) for task in layout.voxel_regressions}
    return {name for name in dict.fromkeys(names) if random.uniform() >= _UNKNOWN_SHARE} | regions


def _write_image(folder: Path, name: str, image: Array, layout: Layout, kind: str) -> dict[str, str]:
    single = kind == "rgb" or len(layout.image_channels) == 1
    columns = [IMAGE] if single else list(layout.image_channels)
    written = {}
    for at, column in enumerate(columns):
        file = f"{name}_{column}" + (".png" if kind in PICTURES else ".nii.gz")
        if kind in PICTURES:
            _write_picture(folder / file, _grey_values(image, at), colour=kind == "rgb")
        else:
            hu = np.where(image > 0, _BODY_HU + 150 * (image - 1), _AIR_HU)
            values = hu if kind == "ct" else 300 * (at + 1) * image
            _write_volume(folder / file, np.rint(values).astype(np.int16))
        written[column] = file
    return written


def _grey_values(image: Array, at: int) -> Array:
    return np.asarray(np.clip(image * (90 - 10 * at), 0, 255))


def _write_picture(path: Path, grey: Array, colour: bool = False) -> None:
    from PIL import Image

    rgb = np.stack([grey, 0.8 * grey, 0.6 * grey + 20], -1) if colour else grey
    Image.fromarray(np.rint(rgb).astype(np.uint8)).save(path)


def _write_volume(path: Path, values: Array) -> None:
    spacing_mm = next(spacing for shape, spacing in _VOLUMES.values() if shape == values.shape)
    affine_ras = np.diag([*spacing_mm, 1.0])
    affine_ras[:3, 3] = -np.array(spacing_mm) * np.array(values.shape) / 2
    write_nifti(values, affine_ras, path)


def _write_labels(folder: Path, name: str, phantom: Phantom, layout: Layout) -> dict[str, str]:
    cells: dict[str, str] = {}
    for task in layout.tasks:
        if isinstance(task, Segmentation):
            cells.update(_write_masks(folder, name, task, phantom.masks, layout))
        elif task.name in phantom.volumes:
            cells[task.name] = _write_map(folder, f"{name}_{task.name}", phantom.volumes[task.name])
            region = region_key(task)
            if isinstance(task, Regression) and task.region == "mask":
                cells[region] = _write_map(folder, f"{name}_{region}", phantom.masks[region].astype(np.uint8))
        else:
            cells[task.name] = cell_of(task, phantom.values[task.name])
    return cells


def cell_of(task: Task, value: Any) -> str:
    """Write a label of the whole image as a table has it."""
    if not isinstance(task, Classification):
        return str(value)
    if task.exclusive:
        return str(task.classes[value])
    if len(task.classes) == 1:
        return str(value[0])
    return "|".join(label for label, holds in zip(task.classes, value, strict=True) if holds) or "none"


def _write_masks(
    folder: Path, name: str, task: Segmentation, masks: Mapping[str, Array], layout: Layout
) -> dict[str, str]:
    if not _has_map(task):
        values = {label: masks[label].astype(np.uint8) for label in task.labels}
        return {label: _write_map(folder, f"{name}_{label}", each) for label, each in values.items()}
    label_map = np.zeros(next(iter(masks.values())).shape, np.uint8)
    for label, number in layout.numbers_of(task).items():
        label_map[masks[label]] = number
    return {task.name: _write_map(folder, f"{name}_{task.name}", label_map)}


def _write_map(folder: Path, stem: str, values: Array) -> str:
    if values.ndim == 3:
        _write_volume(folder / f"{stem}.nii.gz", values)
        return f"{stem}.nii.gz"
    if values.dtype.kind == "f":
        np.save(folder / f"{stem}.npy", values)
        return f"{stem}.npy"
    _write_picture(folder / f"{stem}.png", values)
    return f"{stem}.png"
