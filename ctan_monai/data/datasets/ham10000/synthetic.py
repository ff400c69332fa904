"""Synthetic dermatoscopic images in HAM10000's layout, to try everything out with.

They are not meant to look right. Each class has a color, an outline and a pattern of its own, loosely after what
dermatoscopy shows, so that a network can learn both tasks from a few dozen of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.datasets.ham10000.table import CLASSES
from ctan_monai.data.formats.image_masks import write_mask_file
from ctan_monai.files.csv_cells import csv_text
from ctan_monai.files.whole_folder import write_synthetic

VERSION = 1  # raise it when other images are drawn
LESIONS = {"nv": 16, "mel": 8, "bkl": 8, "bcc": 6, "akiec": 5, "vasc": 5, "df": 5}  # as skewed as 53 lesions can be
SHAPE = (120, 160)  # rows and columns; HAM10000's are 450 x 600
_SECOND_VIEWS = 5  # every so many lesions are there in a second image
_QUALITY = 92
_COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """Appearance of the lesions of a class.

    Args:
        inner: RGB color.
        second: RGB color of the pattern.
        wavy: how far the outline departs from an ellipse, as a fraction of its radius.
        soft: width of the border, as a fraction of the radius.
        pattern: blotches, dots, center or stripes.
    """

    inner: tuple[int, int, int]
    second: tuple[int, int, int]
    wavy: float
    soft: float
    pattern: str


LOOKS = {
    "nv": Look((140, 90, 60), (110, 65, 45), 0.05, 0.25, "stripes"),
    "mel": Look((75, 50, 50), (45, 40, 70), 0.30, 0.10, "blotches"),
    "bkl": Look((185, 145, 95), (120, 90, 60), 0.12, 0.04, "dots"),
    "bcc": Look((215, 140, 140), (110, 110, 150), 0.15, 0.30, "blotches"),
    "akiec": Look((190, 80, 75), (225, 170, 150), 0.20, 0.30, "stripes"),
    "vasc": Look((150, 30, 50), (90, 15, 60), 0.15, 0.05, "dots"),
    "df": Look((150, 100, 85), (240, 225, 215), 0.08, 0.30, "center"),
}


def write_lesion_phantoms(
    folder: str | Path, seed: int = 0, lesions: Mapping[str, int] | None = None, shape: tuple[int, int] = SHAPE
) -> Path:
    """Write a dataset of synthetic images, unless it exists.

    Args:
        folder: ``<folder>-<version>-<seed>`` is made, whole or not at all.
        seed: another seed draws others.
        lesions: number of lesions by class; None: 53 lesions in 64 images.
        shape: rows and columns.

    Returns:
        The folder: two folders of JPEGs, one of masks (some as palette PNG, as in HAM10000) and the table.

    Raises:
        DataError: it cannot be written.
    """
    return write_synthetic(folder, (VERSION, seed), lambda draft: _write_all(draft, seed, lesions or LESIONS, shape))


def draw_lesion(name: str, lesion: int, view: int, shape: tuple[int, int] = SHAPE) -> tuple[Any, npt.NDArray[np.bool_]]:
    """Draw a synthetic image.

    Args:
        name: class.
        lesion: number that decides about the lesion's outline.
        view: number that decides how it is seen: where, at which angle, on which skin, under which light.
        shape: rows and columns.

    Returns:
        (H, W, 3) uint8 and the lesion's mask (H, W) bool.
    """
    look, grown, seen = LOOKS[name], np.random.default_rng([lesion, 1]), np.random.default_rng([lesion, view, 2])
    rows, columns = np.indices(shape, dtype=np.float64)
    half = shape[0] / 2
    center = [shape[axis] / 2 + seen.uniform(-0.25, 0.25) * half for axis in (0, 1)]
    y, x = _rotate((rows - center[0]) / half, (columns - center[1]) / half, seen.uniform(0, 2 * np.pi))
    radius, angle = np.hypot(y, x * grown.uniform(0.75, 1.0)), np.arctan2(y, x)
    waves = sum(grown.normal() / k * np.cos(k * angle + grown.uniform(0, 2 * np.pi)) for k in range(2, 7))
    edge = grown.uniform(0.4, 0.65) * (1 + look.wavy * np.clip(waves, -1.5, 1.5))
    share = 1 / (1 + np.exp(np.clip((radius - edge) / (edge * look.soft * 0.25), -30, 30)))[..., None]  # 1 inside
    skin = np.array([225, 180, 160]) + seen.uniform(-12, 12, 3) + 8 * _noise(seen, shape, 4)[..., None]
    pattern = _pattern(look.pattern, grown, radius / edge, y, x)[..., None]
    inner = np.array(look.inner) * (1 - pattern) + np.array(look.second) * pattern + seen.uniform(-8, 8, 3)
    rgb = skin * (1 - share) + inner * share + seen.normal(0, 4, (*shape, 3))
    light = 1 - 0.25 * (np.hypot(rows / half - 1, columns / half - shape[1] / shape[0]) / 1.6)[..., None] ** 2
    return _with_hairs(np.clip(rgb * light, 0, 255).astype(np.uint8), seen), np.asarray(radius < edge)


def _rotate(y: Array, x: Array, angle: float) -> tuple[Array, Array]:
    return np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x


def _pattern(kind: str, random: np.random.Generator, inside: Array, y: Array, x: Array) -> Array:
    """Return how much of the second color each pixel has, 0 to 1; ``inside`` is 0 at the center and 1 at the edge."""
    if kind == "center":
        return np.exp(-8 * inside**2)
    if kind == "stripes":
        return np.asarray(0.5 + 0.5 * np.sin(40 * x) * np.sin(40 * y))
    number, width = (7, 0.05) if kind == "dots" else (4, 0.18)
    spots = random.uniform(-0.4, 0.4, (number, 2))
    found = [np.exp(-((y - a) ** 2 + (x - b) ** 2) / width**2) for a, b in spots]
    return np.asarray(np.clip(np.sum(found, axis=0), 0, 1))


def _noise(random: np.random.Generator, shape: tuple[int, int], cells: int) -> Array:
    """Return smooth noise (H, W), about -1 to 1."""
    from PIL import Image

    coarse = Image.fromarray(random.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.array(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), np.float64)


def _with_hairs(rgb: npt.NDArray[np.uint8], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    image = Image.fromarray(rgb)
    pen = ImageDraw.Draw(image)
    for _ in range(int(random.integers(0, 4))):
        ends = random.uniform(0, 1, (3, 2)) * [image.width, image.height]
        pen.line([(float(a), float(b)) for a, b in ends], fill=(60, 45, 40), width=1, joint="curve")
    return np.array(image)


def _images(lesions: Mapping[str, int]) -> Iterator[tuple[str, int, int]]:
    """Yield class, lesion and view of each image."""
    kinds = [name for name in CLASSES for _ in range(lesions.get(name, 0))]
    for lesion, name in enumerate(kinds):
        for view in range(2 if lesion % _SECOND_VIEWS == 0 else 1):
            yield name, lesion, view


def _write_all(folder: Path, seed: int, lesions: Mapping[str, int], shape: tuple[int, int]) -> None:
    from PIL import Image

    parts = [folder / f"HAM10000_images_part_{part}" for part in (1, 2)]
    masks = folder / "HAM10000_segmentations_lesion_tschandl"
    for place in (*parts, masks):
        place.mkdir()
    rows = []
    for number, (name, lesion, view) in enumerate(_images(lesions)):
        image = f"SYN_{number:07d}"
        rgb, mask = draw_lesion(name, seed * 100_000 + lesion, view, shape)
        Image.fromarray(rgb).save(parts[number % 2] / f"{image}.jpg", quality=_QUALITY)
        path = masks / f"{image}_segmentation.png"
        write_mask_file(mask, path)
        if number % 8 == 0:
            palette = Image.fromarray(mask.astype(np.uint8), mode="P")
            palette.putpalette([0, 0, 0, 255, 255, 255])
            palette.save(path)
        age = "" if number % 20 == 7 else f"{30 + number % 50}.0"
        rows.append((f"SYN_{lesion:04d}", image, name, "synthetic", age, "unknown", "synthetic"))
    (folder / "HAM10000_metadata.csv").write_text(csv_text(_COLUMNS, rows), encoding="utf-8", newline="")
