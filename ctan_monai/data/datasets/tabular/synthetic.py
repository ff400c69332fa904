"""Synthetic tables of cases for any combination of tasks, to try everything out with.

They show no patient and are not meant to look like one (`phantom`). In the training cases a quarter of the labels is
left out, as in data that people have.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.datasets.tabular.layout import IMAGE, Layout
from ctan_monai.data.datasets.tabular.phantom import VERSION, Phantom, draw_phantom
from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.errors import ConfigError
from ctan_monai.files.csv_cells import csv_text
from ctan_monai.files.whole_folder import write_synthetic
from ctan_monai.tasks import Classification, Regression, Segmentation, Task, region_key

_logger = logging.getLogger(__name__)
KINDS = ("ct", "mr", "rgb", "gray")
IMAGE_FILE_KINDS = ("rgb", "gray")
SIZES = {"train": 12, "validation": 4, "test": 4}
TABLE = "datalist.csv"
_VOLUMES = {
    2: ((48, 48, 16), (4.0, 4.0, 8.0)),
    3: ((48, 48, 32), (4.0, 4.0, 4.0)),
}  # voxels, mm; by the network's dimensions
_IMAGE_SHAPE = (80, 96)
_UNKNOWN_SHARE = 0.25
_FULLY_KNOWN = 3  # first training cases, so that no label is unknown everywhere
_BODY_HU, _AIR_HU = 40, -1000

Array = npt.NDArray[Any]


def sample_table(cache_dir: str | Path, layout: Layout, kind: str) -> Path:
    """Return the table of synthetic cases for a layout, creating it the first time with a note in the log.

    Args:
        cache_dir: the cases get a folder of their own in it.
        layout: tasks and channels.
        kind: ct and mr are volumes, rgb and gray images.

    Raises:
        ConfigError: the kind is unknown, or does not fit the layout.
        DataError: they cannot be written.
    """
    if kind not in KINDS or (kind in IMAGE_FILE_KINDS and layout.spatial_dims == 3) or layout.color != (kind == "rgb"):
        found = f"{kind!r} for the channels {list(layout.image_channels)} in {layout.spatial_dims}D."
        raise ConfigError("sample", found, f"Use one of {KINDS}; rgb for red, green, blue; volumes in 3D.")
    text = repr((VERSION, kind, layout.spatial_dims, layout.tasks, layout.image_channels, layout.label_values, SIZES))
    key = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    folder = write_synthetic(Path(cache_dir) / "synthetic", (key,), lambda draft: _write_cases(draft, layout, kind))
    _logger.warning("synthetic cases in use (%s): they show no patients; give --datalist for your own", folder)
    return folder / TABLE


def header_of(layout: Layout, kind: str) -> list[str]:
    """Return the columns of a table for a layout."""
    columns = ["case", "group", "split"]
    columns += [IMAGE] if kind == "rgb" or len(layout.image_channels) == 1 else list(layout.image_channels)
    for task in layout.tasks:
        columns += list(task.labels) if isinstance(task, Segmentation) and not _has_map(task, layout) else [task.name]
        columns += [region_key(task)] if isinstance(task, Regression) and task.region == "mask" else []
    return columns


def _has_map(task: Segmentation, layout: Layout) -> bool:
    return layout.grouped(task) or (not task.overlapping and tuple(task.labels) != (task.name,))


def _write_cases(folder: Path, layout: Layout, kind: str) -> None:
    rows = []
    splits = [split for split, count in SIZES.items() for _ in range(count)]
    for number, split in enumerate(splits):
        phantom = draw_phantom(
            layout, number, _IMAGE_SHAPE if kind in IMAGE_FILE_KINDS else _VOLUMES[layout.spatial_dims][0]
        )
        name = _name_of(number)
        first = splits.index(split)
        about = {"case": name, "group": f"{split}_{(number - first) // 2}", "split": split}
        known = _known(layout, number) if split == "train" and number >= _FULLY_KNOWN else set(header_of(layout, kind))
        cells = {
            **_write_image(folder, number, phantom.image, layout, kind),
            **_write_labels(folder, name, phantom, layout),
        }
        rows.append(
            about | {column: cell for column, cell in cells.items() if column in known or _is_image(column, layout)}
        )
    columns = header_of(layout, kind)
    text = csv_text(columns, [[row.get(column) for column in columns] for row in rows])
    (folder / TABLE).write_text(text, encoding="utf-8", newline="")


def _name_of(number: int) -> str:
    return f"synthetic_{number:02d}"


def _is_image(column: str, layout: Layout) -> bool:
    return column in (IMAGE, *layout.image_channels)


def _known(layout: Layout, number: int) -> set[str]:
    """Draw which labels of a training case are known."""
    random = np.random.default_rng([VERSION, number, 2])
    names = [task.name for task in layout.tasks] + [name for task in layout.segmentations for name in task.labels]
    regions = {region_key(task) for task in layout.voxel_regressions}
    return {name for name in dict.fromkeys(names) if random.uniform() >= _UNKNOWN_SHARE} | regions


def _write_image(folder: Path, number: int, image: Array, layout: Layout, kind: str) -> dict[str, str]:
    single = kind == "rgb" or len(layout.image_channels) == 1
    columns = [IMAGE] if single else list(layout.image_channels)
    written = {}
    for at, column in enumerate(columns):
        file = f"{_name_of(number)}_{column}" + (".png" if kind in IMAGE_FILE_KINDS else ".nii.gz")
        if kind in IMAGE_FILE_KINDS:
            gray = _gray_values(image, at)
            _write_image_file(folder / file, _in_colors(gray, number) if kind == "rgb" else gray)
        else:
            hu = np.where(image > 0, _BODY_HU + 150 * (image - 1), _AIR_HU)
            values = hu if kind == "ct" else 300 * (at + 1) * image
            _write_volume(folder / file, np.rint(values).astype(np.int16))
        written[column] = file
    return written


def _gray_values(image: Array, at: int) -> Array:
    return np.asarray(np.clip(image * (90 - 10 * at), 0, 255))


def _in_colors(gray: Array, number: int) -> Array:
    """Colorize a gray image with a skin tone and light drawn for the case."""
    random = np.random.default_rng([VERSION, number, 3])
    rows, columns = (np.linspace(-1, 1, size) for size in gray.shape)
    angle = random.uniform(0, 2 * np.pi)
    light = 1 + 0.3 * (np.cos(angle) * rows[:, None] + np.sin(angle) * columns[None])
    skin = np.array([1.0, 0.8, 0.6]) * random.uniform(0.8, 1.2, 3)
    return np.asarray(np.clip((gray * light)[..., None] * skin + [0, 0, 20], 0, 255))


def _write_image_file(path: Path, values: Array) -> None:
    from PIL import Image

    Image.fromarray(np.rint(values).astype(np.uint8)).save(path)


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
    """Format an image-level label as a cell."""
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
    if not _has_map(task, layout):
        values = {label: masks[label].astype(np.uint8) for label in task.labels}
        return {label: _write_map(folder, f"{name}_{label}", each) for label, each in values.items()}
    label_map = np.zeros(next(iter(masks.values())).shape, np.uint8)
    numbers = layout.numbers_of(task)
    shared = Counter(number for group in numbers.values() for number in group)
    for label in sorted(numbers, key=lambda name: -len(numbers[name])):  # the parts of a whole after it
        label_map[masks[label]] = min(numbers[label], key=lambda number: shared[number])
    return {task.name: _write_map(folder, f"{name}_{task.name}", label_map)}


def _write_map(folder: Path, stem: str, values: Array) -> str:
    if values.ndim == 3:
        _write_volume(folder / f"{stem}.nii.gz", values)
        return f"{stem}.nii.gz"
    if values.dtype.kind == "f":
        np.save(folder / f"{stem}.npy", values)
        return f"{stem}.npy"
    _write_image_file(folder / f"{stem}.png", values)
    return f"{stem}.png"
