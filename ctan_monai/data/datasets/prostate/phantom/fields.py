"""Smooth random fields: they bend the anatomy and give tissue its texture."""

from __future__ import annotations

import numpy as np

from ctan_monai.data.datasets.prostate.phantom.shapes import Floats


def smooth_field(
    random: np.random.Generator, axes_mm: tuple[Floats, Floats, Floats], knots_mm: tuple[float, float, float]
) -> Floats:
    """Draw a field of standard deviation about 1 that changes over about twice ``knots_mm``: random cubic B-splines.

    The weights sit on a fixed lattice, so the field at a place depends on the generator and on the first place of
    each axis, not on the voxel size.

    Args:
        random: the only source of randomness.
        axes_mm: coordinates along the three axes, (K,), (R,), (C,), ascending.
        knots_mm: distance of the lattice's points along each axis.

    Returns:
        (K, R, C) float32.
    """
    bases = [_basis(axis, knot_mm) for axis, knot_mm in zip(axes_mm, knots_mm, strict=True)]
    weights = random.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
    field = np.tensordot(bases[2], weights, (1, 2))  # (C, k, r)
    field = np.tensordot(bases[1], field, (1, 2))  # (R, C, k)
    field = np.tensordot(bases[0], field, (1, 2))  # (K, R, C)
    per_axis = 151 / 315  # variance of such a sum of unit weights, averaged over a cell
    found: Floats = field / np.float32(per_axis**1.5)
    return found


def _basis(axis_mm: Floats, knot_mm: float) -> Floats:
    """Return the weight (N, M) that each of M lattice points has at N places: a row has four, that sum to 1."""
    place = (axis_mm - axis_mm[0]) / knot_mm
    cell = np.floor(place).astype(int)
    t = place - cell
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    basis = np.zeros((len(axis_mm), int(cell.max()) + 4), np.float32)
    for offset in range(4):
        basis[np.arange(len(axis_mm)), cell + offset] = weights[:, offset]
    return basis
