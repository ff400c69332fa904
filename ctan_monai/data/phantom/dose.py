"""Synthetic doses: conformal to the PTV, sparing rectum and bladder, with a low-dose bath.

No physics is claimed beyond what makes the dose depend on the anatomy: the depth of each ray, the shape of the target
and where the organs at risk lie.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from ctan_monai.data.phantom.grid import Block, PhantomGrid
from ctan_monai.data.phantom.organs import Surfaces, signed_distance
from ctan_monai.data.phantom.shapes import Floats, smooth_field

FIELDS = 9
_ATTENUATION_PER_MM = 0.0042  # 6 MV in water at depth, a little less than 0.005 for the scatter that it carries
_BUILD_UP_MM, _SKIN_DOSE = 5.0, 0.45
_MARGIN_MM, _PENUMBRA_MM = 5.0, 4.0  # aperture beyond the target; standard deviation of its edge
_BIN_MM = 2.0
_SPARING = 0.30  # how far fluence is lowered where a ray crosses an organ at risk as well as the target
_EVEN = 0.85  # how far fields are weighted to bring the same to the target: 1 all the same, 0 by depth
Mask = npt.NDArray[np.bool_]
Axes = tuple[Floats, Floats, Floats]
_EDGE_MM, _EDGE_WIDTH_MM = 1.9, 2.0  # where the target's dose gives way to the fields', beyond the PTV
_HOT, _UNEVEN = 0.022, 0.006  # hotter center, random unevenness, as parts of the prescription
_SPARED, _SPARED_MM = 0.22, 9.0  # how far an organ's dose is lowered, and over which distance from the PTV
_SCATTER, _SCATTER_MM = 0.045, 40.0


def beam_dose(
    body: Mask, target: Mask, spared: Mask, axes_mm: tuple[Floats, Floats, Floats], fields: int = FIELDS
) -> Floats:
    """Return the sum of fields in arbitrary units.

    Args:
        body: (k, r, c) inside the skin.
        target: (k, r, c) what the apertures follow.
        spared: (k, r, c) organs at risk outside the target.
        axes_mm: z, y, x.
        fields: number of fields, the first from the front, spread evenly.

    Returns:
        (k, r, c) float32, 0 outside the body.
    """
    total = np.zeros(body.shape, np.float32)
    for angle in np.arange(fields) * (2 * np.pi / fields):
        total += _field(body, target, spared, axes_mm, float(angle))
    found: Floats = np.where(body, total, np.float32(0))
    return found


def _field(body: Mask, target: Mask, spared: Mask, axes_mm: tuple[Floats, Floats, Floats], angle: float) -> Floats:
    """Return the dose of one field; angle 0 comes from the front, a quarter turn from the patient's left."""
    z, y, x = axes_mm
    across = (x * np.cos(angle) + y[:, None] * np.sin(angle)).astype(np.float32)  # (r, c) along the leaves
    deep = (y[:, None] * np.cos(angle) - x * np.sin(angle)).astype(np.float32)  # (r, c) away from the source
    place = (across - across.min()) / np.float32(_BIN_MM)
    first = place.astype(np.intp)
    share = place - first
    bins = int(first.max()) + 2
    skin = np.full((len(z), bins), np.inf, np.float32)  # (k, bins) depth coordinate where the ray enters
    crosses = {name: np.zeros((len(z), bins), np.float32) for name in ("target", "spared")}
    for k in range(len(z)):
        np.minimum.at(skin[k], first[body[k]], deep[body[k]])
        crosses["target"][k] = np.bincount(first[target[k]], minlength=bins)[:bins]
        crosses["spared"][k] = np.bincount(first[spared[k]], minlength=bins)[:bins]
    fluence = _fluence(crosses["target"], crosses["spared"], float(z[1] - z[0]))
    skin = np.minimum(skin, np.roll(skin, 1, axis=1))
    skin[~np.isfinite(skin)] = 0
    low, high = first.ravel(), (first + 1).ravel()
    lit = fluence[:, low] * (1 - share.ravel()) + fluence[:, high] * share.ravel()  # (k, r * c)
    depth = np.maximum(deep.ravel() - skin[:, low], 0)
    dose = lit * np.exp(-_ATTENUATION_PER_MM * depth) * (1 - (1 - _SKIN_DOSE) * np.exp(-depth / _BUILD_UP_MM))
    found: Floats = dose.reshape(body.shape).astype(np.float32)
    found /= float(found[target].mean()) ** _EVEN
    return found


def _fluence(target: Floats, spared: Floats, slice_mm: float) -> Floats:
    """Return (k, bins): open over the target and a margin, lower behind or before an organ at risk, soft edges."""
    voxel_mm = (slice_mm, _BIN_MM)
    hit = gaussian_filter((target > 0).astype(np.float32), [_MARGIN_MM / s for s in voxel_mm])
    aperture = (hit > 0.16).astype(np.float32)
    burden = spared / np.maximum(target + spared, 1)
    burden = gaussian_filter(burden.astype(np.float32), [3.0 / s for s in voxel_mm])
    found: Floats = gaussian_filter(aperture * (1 - _SPARING * burden), [_PENUMBRA_MM / s for s in voxel_mm])
    return found


def plan_dose(
    surfaces: Surfaces,
    grid: PhantomGrid,
    axes_mm: Axes,
    dose_mm: float,
    prescription_gy: float,
    random: np.random.Generator,
    spared: Sequence[str] = ("Rectum", "Bladder"),
) -> tuple[Floats, Axes]:
    """Compute a plan's dose.

    Args:
        surfaces: distances of External, PTV and the spared organs on parts of the CT's grid.
        grid: the CT's grid.
        axes_mm: the CT's z, y, x.
        dose_mm: in-plane voxel size of the dose; slices are the CT's.
        prescription_gy: median dose in the PTV (ICRU 83).
        random: the only source of randomness.
        spared: organs at risk.

    Returns:
        (k, r, c) float32 Gy and its z, y, x in mm. The grid holds the body but for the CT's first and last slice,
        as planning systems' grids are smaller than the CT.
    """
    to_mm = _dose_axes(surfaces["External"], axes_mm, dose_mm)
    inside = {name: _resampled(surfaces[name], axes_mm, to_mm) for name in ("External", "PTV", *spared)}
    body, target = inside["External"] > 0.5, inside["PTV"] > 0.5
    spacing_mm = (grid.slice_mm, dose_mm, dose_mm)
    outside_mm = signed_distance(target, spacing_mm)
    organs = np.maximum.reduce([inside[name] for name in spared])
    bath = beam_dose(body, target, (organs > 0.5) & ~target, to_mm)
    bath /= bath[target].mean()
    near = gaussian_filter(organs, [3.0 / s for s in spacing_mm])
    bath *= 1 - near * np.float32(_SPARED) * (1 - np.exp(-np.maximum(outside_mm, 0) / _SPARED_MM))
    even = 1 + _HOT * (1 - np.exp(np.minimum(outside_mm, 0) / 7)) + _UNEVEN * smooth_field(random, to_mm, (12.0,) * 3)
    share = expit((_EDGE_MM - outside_mm) / _EDGE_WIDTH_MM)
    relative = share * even + (1 - share) * np.minimum(bath, 0.93)
    relative += _SCATTER * np.exp(-np.maximum(outside_mm, 0) / _SCATTER_MM) * (1 - share)
    relative = gaussian_filter(relative.astype(np.float32), [1.5 / s for s in spacing_mm]) * body
    relative *= prescription_gy / np.median(relative[target])
    return relative.astype(np.float32), to_mm


def _dose_axes(outline: tuple[Block, Floats], axes_mm: Axes, dose_mm: float) -> Axes:
    """Return z, y, x of a grid around the body, one slice shorter than the CT at both ends."""
    block, distance = outline
    found = [axes_mm[0][1:-1]]
    for axis in (1, 2):
        others = tuple(a for a in range(3) if a != axis)
        held = np.flatnonzero((distance < 0).any(axis=others)) + block[axis].start
        low, high = axes_mm[axis][held[0]] - dose_mm, axes_mm[axis][held[-1]] + dose_mm
        found.append((low + dose_mm * np.arange(int((high - low) / dose_mm) + 2)).astype(np.float32))
    return found[0], found[1], found[2]


def _resampled(surface: tuple[Block, Floats], axes_mm: Axes, to_mm: Axes) -> Floats:
    """Return (k, r, c): how much of each voxel of the dose is inside, 0 to 1, linear between the CT's voxels."""
    block, distance = surface
    found: Floats = np.clip(0.5 - distance / 2, 0, 1)
    for axis in range(3):
        weights = _linear(axes_mm[axis][block[axis]], to_mm[axis])  # (to, from)
        found = np.moveaxis(np.tensordot(weights, found, (1, axis)), 0, axis)
    return found


def _linear(from_mm: Floats, to_mm: Floats) -> Floats:
    """Return the (to, from) weights of linear interpolation, 0 outside."""
    place = (to_mm - from_mm[0]) / (from_mm[1] - from_mm[0])
    weights: Floats = np.clip(1 - np.abs(place[:, None] - np.arange(len(from_mm))), 0, 1).astype(np.float32)
    return weights
