"""Synthetic ultrasound in BUSI's layout, to try everything out with.

They are not meant to look right. Tissue is layers of gray under multiplicative Rayleigh noise (speckle), a tumor a dark
region in it. A benign one is an ellipse that is wider than tall, with a smooth border; a malignant one is taller than
wide, has spikes, and shadows what lies below it, loosely after the signs of BI-RADS.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ctan_monai.data.formats.image_masks import write_mask_file
from ctan_monai.files.whole_folder import write_synthetic

VERSION = 1  # raise it when other images are drawn
IMAGES = {"benign": 44, "malignant": 32, "normal": 6}  # about as BUSI's 437, 210 and 133, with fewer normal ones
_SECOND_TUMOR = 10  # every so many benign images have two
_WITHOUT_MASK = 8  # every so many images have none
_AGAIN = 15  # every so many images are there a second time, brighter, as some of BUSI's
_SIZES = ((120, 160), (128, 128), (110, 150))  # rows and columns; BUSI's differ too

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def write_ultrasound_phantoms(folder: str | Path, seed: int = 0, images: Mapping[str, int] | None = None) -> Path:
    """Write a dataset of synthetic images, unless it exists.

    Args:
        folder: ``<folder>-<version>-<seed>`` is made, whole or not at all.
        seed: another seed draws others.
        images: number of images by class; None: 82, of which some are there twice.

    Returns:
        The folder, in BUSI's layout.

    Raises:
        DataError: it cannot be written.
    """
    return write_synthetic(folder, (VERSION, seed), lambda draft: _write_all(draft, seed, images or IMAGES))


def draw_ultrasound(
    label: str, seed: int, tumors: int = 1, shape: tuple[int, int] = (120, 160)
) -> tuple[npt.NDArray[np.uint8], list[Mask]]:
    """Draw a synthetic image.

    Args:
        label: benign, malignant or normal.
        seed: decides about everything else.
        tumors: how many; a normal image has none.
        shape: rows and columns.

    Returns:
        (H, W) uint8, and the tumors' masks (H, W) bool.
    """
    random = np.random.default_rng([seed, ("benign", "malignant", "normal").index(label)])
    rows, columns = np.indices(shape, dtype=np.float64)
    depth = rows / shape[0]
    echo = 105 + 35 * np.sin(2 * np.pi * (depth * random.uniform(2, 4) + random.uniform(0, 1)) + 3 * columns / shape[1])
    echo *= np.exp(-0.7 * depth)  # what lies deeper is darker
    masks: list[Mask] = []
    for number in range(0 if label == "normal" else tumors):
        place = random.uniform(0.35, 0.65), (number + random.uniform(0.35, 0.65)) / tumors
        size = random.uniform(0.11, 0.19) * shape[0]
        mask = _outline(label, random, rows - place[0] * shape[0], columns - place[1] * shape[1], size)
        echo = np.where(mask, echo * random.uniform(0.15, 0.3), echo)
        if label == "malignant":  # shadow below
            below = (np.cumsum(mask, axis=0) > 0) & ~mask
            echo = np.where(below, echo * 0.55, echo)
        masks.append(mask)
    speckle = random.rayleigh(0.8, shape)
    speckle = (speckle + np.roll(speckle, 1, 1) + np.roll(speckle, -1, 1)) / 3  # wider than tall, as across a beam
    return np.clip(echo * speckle + 6, 6, 245).astype(np.uint8), masks


def _outline(label: str, random: np.random.Generator, y: Array, x: Array, size: float) -> Mask:
    """Return a tumor around the origin."""
    angle = np.arctan2(y, x)
    if label == "benign":
        waves = 0.05 * np.cos(2 * angle + random.uniform(0, 6))
        tall = random.uniform(0.55, 0.75)
    else:
        spikes = int(random.integers(7, 12))
        waves = 0.24 * np.cos(spikes * angle + random.uniform(0, 6)) + 0.12 * np.cos(3 * angle + random.uniform(0, 6))
        tall = random.uniform(1.2, 1.5)
    return np.asarray(np.hypot(x, y / tall) < size * (1 + waves))


def _write_all(folder: Path, seed: int, images: Mapping[str, int]) -> None:
    from PIL import Image

    for label, count in images.items():
        (folder / label).mkdir()
        for number in range(1, count + 1):
            tumors = 2 if label == "benign" and number % _SECOND_TUMOR == 0 else 1
            shape = _SIZES[number % len(_SIZES)]
            gray, masks = draw_ultrasound(label, seed * 100_000 + number, tumors, shape)
            name = folder / label / f"{label} ({number})"
            Image.fromarray(gray).save(f"{name}.png")
            if number % _AGAIN == 0:
                again = np.clip(gray * 1.06 + 2, 0, 255).astype(np.uint8)
                Image.fromarray(again).save(folder / label / f"{label} ({count + number // _AGAIN}).png")
            if number % _WITHOUT_MASK == 0:
                continue
            for tumor, mask in enumerate(masks):
                write_mask_file(mask, Path(f"{name}_mask{f'_{tumor}' if tumor else ''}.png"))
            if label == "normal":
                write_mask_file(np.zeros(shape, np.bool_), Path(f"{name}_mask.png"))
