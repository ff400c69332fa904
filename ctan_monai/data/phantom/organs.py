"""Prostate, seminal vesicles, bladder and rectum; CTV and PTV grown from them as a protocol says."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from ctan_monai.data.phantom.anatomy import Anatomy
from ctan_monai.data.phantom.grid import Block, Canvas, PhantomGrid
from ctan_monai.data.phantom.shapes import Coordinates, Floats, along, join, smooth_field

Surfaces = dict[str, tuple[Block, Floats]]
_WALL_HU, _URINE_HU, _STOOL_HU, _GAS_HU, _GLAND_HU, _GOLD_HU = 40.0, 6.0, 28.0, -900.0, 44.0, 3000.0
_RECTUM_LOW_MM, _RECTUM_HIGH_MM = -34.0, 72.0  # anorectal junction, rectosigmoid flexure
VESICLE_MM = 10.0  # length of the seminal vesicles that belongs to the CTV
MARGIN_MM, POSTERIOR_MARGIN_MM = 7.0, 5.0  # CTV to PTV, tighter towards the rectum


def draw_organs(canvas: Canvas, anatomy: Anatomy, random: np.random.Generator) -> Surfaces:
    """Paint the organs of the lesser pelvis, later ones over earlier ones.

    Returns:
        For Rectum, Bladder, SeminalVes and Prostate the part of the grid and, there, the distance in mm, negative
        inside. No two organs overlap.
    """
    _draw_levator(canvas)
    rectum = _draw_rectum(canvas, anatomy, random)
    block = canvas.block((-95, -110, -60), (95, 80, 260))
    at = canvas.at(block)
    gland = _prostate(at, anatomy)
    vesicles = np.maximum(_vesicles(at, anatomy), 0.8 - gland)
    urine = np.maximum(np.maximum(_bladder(at, anatomy), 1.0 - gland), 1.0 - vesicles)
    lumen = np.full(canvas.grid.shape, 50, np.float32)
    lumen[rectum[0]] = rectum[1]
    rectum_here = lumen[block]
    vesicles = np.maximum(vesicles, 0.8 - rectum_here)
    urine = np.maximum(urine, 0.8 - rectum_here)
    gland = np.maximum(gland, 0.8 - rectum_here)
    texture = smooth_field(random, canvas.axes_of(block), (5.0, 5.0, 5.0))
    canvas.paint(vesicles, 30 + 8 * texture, block, t2=0.85)
    canvas.paint(urine, _WALL_HU, block)
    canvas.paint(urine + 3.0, _URINE_HU, block, t2=1.0)
    canvas.paint(gland, _GLAND_HU + 6 * texture, block, t2=0.55)
    for place in anatomy.fiducials:
        part = canvas.around(place, 4)
        canvas.paint(canvas.at(part).sphere(place, 1.3), _GOLD_HU, part, t2=0.0)
    return {
        "Rectum": rectum,
        "Bladder": (block, urine),
        "SeminalVes": (block, vesicles),
        "Prostate": (block, gland),
    }


def _prostate(at: Coordinates, anatomy: Anatomy) -> Floats:
    """Return a chestnut: wide at the base, narrow at the apex, flat towards the rectum."""
    rx, ry, rz = anatomy.prostate_mm
    base = at.ellipsoid((0, 0, 0.10 * rz), (rx, ry, 0.88 * rz))
    apex = at.ellipsoid((0, 1, -0.45 * rz), (0.62 * rx, 0.74 * ry, 0.55 * rz))
    found: Floats = np.maximum(join(base, apex, 6), at.y - 0.86 * ry)
    return found


def _bladder(at: Coordinates, anatomy: Anatomy) -> Floats:
    """Return an ellipsoid with a neck that reaches down to the prostate, and a base that leaves room for vesicles."""
    center, radii = anatomy.bladder_center_mm, anatomy.bladder_mm
    neck = at.ellipsoid((0.4 * center[0], -2, anatomy.prostate_top_mm + 5), (0.42 * radii[0], 0.45 * radii[1], 12))
    _, y, z = _vesicle_root(anatomy)
    base = np.float32(0.62) * (at.y - np.float32(y - 7)) - np.float32(0.78) * (at.z - np.float32(z + 6))
    return -join(-join(at.ellipsoid(center, radii), neck, 14), -base, 8)


def _vesicle_root(anatomy: Anatomy) -> tuple[float, float, float]:
    """Return where both vesicles enter the prostate, at the back of its base."""
    return 0.0, 0.62 * anatomy.prostate_mm[1], 0.78 * anatomy.prostate_mm[2]


def _vesicles(at: Coordinates, anatomy: Anatomy) -> Floats:
    """Return a bow tie behind the bladder's base."""
    root = _vesicle_root(anatomy)
    tips = [(side * anatomy.vesicle_mm, root[1] + 7.0, root[2] + 13.0) for side in (-1, 1)]
    lobes = [at.capsule(root, tip, 7.5, 6.0) for tip in tips]
    return join(lobes[0], lobes[1], 3)


def _rectum_axis(at: Coordinates, anatomy: Anatomy) -> tuple[Floats, Floats, Floats]:
    """Return center (x, y) and radius per slice: behind the prostate, then along the sacrum's hollow."""
    heights = (-34, -5, 22, 48, 78)
    radius = along(at.z, [(-60, 9.0), (-46, 9.5), *zip(heights, anatomy.rectum_mm, strict=True)])
    x = along(at.z, [(-60, 0.0), *zip(heights, anatomy.rectum_x_mm, strict=True)])
    behind = 0.86 * anatomy.prostate_mm[1] + 1.0 + 0.94 * radius  # touches the prostate but for a thin layer of fat
    free = along(at.z, [(-60, 44), (-34, 40), (0, 38), (25, 46), (50, 52), (78, 44), (100, 20)])
    share = along(at.z, [(-34, 0.2), (-18, 1.0), (12, 1.0), (34, 0.0)])
    return x, share * behind + (1 - share) * free, radius


def _draw_rectum(canvas: Canvas, anatomy: Anatomy, random: np.random.Generator) -> tuple[Block, Floats]:
    block = canvas.block((-60, -10, -75), (60, 95, 90))
    at = canvas.at(block)
    x, y, radius = _rectum_axis(at, anatomy)
    tube = at.ellipse(x, y, radius * np.float32(1.12), radius * np.float32(0.94))
    stool = smooth_field(random, canvas.axes_of(block), (6.0, 6.0, 6.0))
    tube = np.maximum(tube, np.maximum(-66 - at.z, at.z - 86))
    canvas.paint(tube, _WALL_HU, block)
    inner = np.maximum(tube + 3.0, _RECTUM_LOW_MM - at.z)
    canvas.paint(inner, _STOOL_HU + 16 * stool, block)
    if anatomy.gas:  # gas rises to the front of a patient who lies on the back
        level = y - radius * np.float32(0.9 - 1.8 * anatomy.gas) + 4 * stool
        canvas.paint(np.maximum(inner, 0.8 * (at.y - level)), _GAS_HU, block)
    canvas.paint(np.maximum(inner, 6 * (2.1 - stool)), -700.0, block)  # bubbles in the stool
    height_mm = canvas.axes_of(block)[0][:, None, None]  # a contour ends at a slice, not askew
    return block, np.maximum(tube, np.maximum(_RECTUM_LOW_MM - height_mm, height_mm - _RECTUM_HIGH_MM))


def _draw_levator(canvas: Canvas) -> None:
    """Paint the funnel of the pelvic floor, from the side walls down to the anal canal, and the sphincter."""
    block = canvas.block((-65, -40, -70), (65, 85, 20))
    at = canvas.at(block)
    rx = along(at.z, [(-66, 13), (-45, 15), (-25, 22), (-5, 31), (12, 46)])
    ry = along(at.z, [(-66, 13), (-45, 15), (-25, 28), (-5, 38), (12, 44)])
    y = along(at.z, [(-66, 44), (-40, 42), (-20, 30), (0, 24)])
    funnel = np.abs(at.ellipse(np.float32(0), y, rx, ry)) - 2.2
    anterior = np.float32(-0.25) * (at.y + 24)  # open in front, where the symphysis is
    canvas.paint(np.maximum(np.maximum(funnel, anterior), at.z - 8), 45.0, block)
    canvas.paint(at.ellipsoid((0, 16, -44), (9, 10, 13)), 48.0, block)  # bulb of the penis


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
