"""CTV and PTV, grown from the organs as a radiation oncologist's protocol says."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from ctan_monai.data.datasets.prostate.phantom.grid import Block, PhantomGrid
from ctan_monai.data.datasets.prostate.phantom.organs import Surfaces
from ctan_monai.data.datasets.prostate.phantom.shapes import Floats

VESICLE_MM = 10.0  # length of the seminal vesicles that belongs to the CTV
MARGIN_MM, POSTERIOR_MARGIN_MM = 7.0, 5.0  # CTV to PTV, tighter towards the rectum


def targets(organs: Surfaces, grid: PhantomGrid) -> Surfaces:
    """Return CTV and PTV: prostate with the vesicles' base, and that with a margin, tighter at the back.

    Args:
        organs: distances, Prostate and SeminalVes among them, on one part of the grid.
        grid: voxel sizes.

    Returns:
        For CTV and PTV the part of the grid and the distance to the surface, in mm, negative inside.
    """
    block, gland = organs["Prostate"]
    vesicles = organs["SeminalVes"][1]
    near = np.maximum(vesicles, gland - VESICLE_MM)
    ctv = np.minimum(gland, near)
    inside = ctv < 0
    distance, nearest = distance_transform_edt(~inside, grid.spacing_mm, return_indices=True)
    behind_mm = (np.arange(inside.shape[1])[:, None] - nearest[1]) * grid.row_mm
    share = np.clip(behind_mm / np.maximum(distance, 1e-3), 0, 1)  # 1 straight behind the CTV
    margin = MARGIN_MM + (POSTERIOR_MARGIN_MM - MARGIN_MM) * share**2
    outside = signed_distance(inside, grid.spacing_mm)
    return {"CTV": (block, ctv), "PTV": (block, (outside - margin).astype(np.float32))}


def signed_distance(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], spacing_mm: tuple[float, ...]) -> Floats:
    """Return the distance to a mask's surface, half-way between voxels, in mm, negative inside."""
    half_mm = 0.5 * float(np.min(spacing_mm))
    outside = distance_transform_edt(~mask, spacing_mm)
    inside = distance_transform_edt(mask, spacing_mm)
    found: Floats = np.where(mask, half_mm - inside, outside - half_mm).astype(np.float32)
    return found


def whole(surface: tuple[Block, Floats], grid: PhantomGrid) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return (K, R, C) bool: the voxels whose center is inside."""
    mask = np.zeros(grid.shape, bool)
    mask[surface[0]] = surface[1] < 0
    return mask
