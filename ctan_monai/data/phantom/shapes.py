"""Signed distances to simple bodies, of which the phantom's organs consist.

A distance is negative inside, in mm, exact for capsules and close to the surface for the others, which is where it
decides the partial volume of a voxel. Coordinates are LPS mm: x to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]  # float32 unless said otherwise
Number = Floats | np.floating[Any] | float
Point = Sequence[float]
_TINY = np.float32(1e-6)


class Coordinates(NamedTuple):
    """Coordinates of voxels, x, y, z in mm, each (K, R, C) or broadcast to it; their distances to simple bodies."""

    x: Floats
    y: Floats
    z: Floats

    def sphere(self, center: Point, radius_mm: float) -> Floats:
        """Compute the signed distance to a sphere."""
        found: Floats = np.sqrt(
            (self.x - _f(center[0])) ** 2 + (self.y - _f(center[1])) ** 2 + (self.z - _f(center[2])) ** 2
        ) - _f(radius_mm)
        return found

    def ellipsoid(self, center: Point, radii_mm: Point) -> Floats:
        """Approximate the signed distance to an ellipsoid along the patient's axes.

        Source: first-order approximation k0 (k0 - 1) / k1 with k0 = |p / r| and k1 = |p / r^2|.
        """
        scaled = [(a - _f(c)) / _f(r) for a, c, r in zip(self, center, radii_mm, strict=True)]
        k0 = np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2)
        k1 = np.sqrt(sum((s / _f(r)) ** 2 for s, r in zip(scaled, radii_mm, strict=True)))
        found: Floats = k0 * (k0 - 1) / np.maximum(k1, _TINY)
        return found

    def ellipse(self, x_mm: Number, y_mm: Number, rx_mm: Number, ry_mm: Number, power: float = 2.0) -> Floats:
        """Approximate the in-plane signed distance to a (super)ellipse that varies over slices.

        Args:
            x_mm: center per voxel or slice, broadcast.
            y_mm: center.
            rx_mm: half width.
            ry_mm: half depth.
            power: 2 for an ellipse, more for a shape with corners.
        """
        dx, dy = self.x - x_mm, self.y - y_mm
        if power == 2.0:
            level = np.sqrt((dx / rx_mm) ** 2 + (dy / ry_mm) ** 2)
        else:
            exponent = _f(power)
            level = (np.abs(dx / rx_mm) ** exponent + np.abs(dy / ry_mm) ** exponent) ** _f(1 / power)
        radial: Floats = np.hypot(dx, dy) * (level - 1) / np.maximum(level, _f(0.05))
        return radial

    def capsule(self, start: Point, end: Point, radius_mm: float, end_radius_mm: float | None = None) -> Floats:
        """Compute the signed distance to a capsule, which may taper from start to end."""
        axis = np.subtract(end, start)
        length2 = float(axis @ axis)
        ax, ay, az = (_f(v) for v in axis)
        px, py, pz = (a - _f(s) for a, s in zip(self, start, strict=True))
        t = np.clip((px * ax + py * ay + pz * az) / _f(length2), 0, 1)
        radius = radius_mm if end_radius_mm is None else _f(radius_mm) + t * _f(end_radius_mm - radius_mm)
        found: Floats = np.sqrt((px - t * ax) ** 2 + (py - t * ay) ** 2 + (pz - t * az) ** 2) - radius
        return found

    def blade(self, start: tuple[Floats, Floats], end: tuple[Floats, Floats], radius_mm: Number) -> Floats:
        """Compute the in-plane signed distance to a thick line segment whose ends (x, y) vary over slices."""
        ax, ay = end[0] - start[0], end[1] - start[1]
        px, py = self.x - start[0], self.y - start[1]
        t = np.clip((px * ax + py * ay) / (ax**2 + ay**2), 0, 1)
        found: Floats = np.hypot(px - t * ax, py - t * ay) - radius_mm
        return found


def join(first: Floats, second: Floats, blend_mm: float) -> Floats:
    """Compute the smooth union of two bodies.

    Source: polynomial smooth minimum, min(a, b) - h^2 k / 4 with h = max(k - |a - b|, 0) / k.
    """
    h = np.maximum(_f(blend_mm) - np.abs(first - second), 0) / _f(blend_mm)
    found: Floats = np.minimum(first, second) - h * h * _f(blend_mm / 4)
    return found


def along(z_mm: Floats, knots: Sequence[tuple[float, float]]) -> Floats:
    """Interpolate a quantity smoothly between given heights.

    Args:
        z_mm: heights, any shape.
        knots: (height in mm, value), heights ascending; beyond the ends the end's value.
    """
    heights, values = zip(*knots, strict=True)
    table_mm = np.arange(heights[0] - 10, heights[-1] + 11, 1.0)
    fine = np.interp(table_mm, heights, values)
    kernel = np.hanning(19)
    fine = np.convolve(np.pad(fine, 9, mode="edge"), kernel / kernel.sum(), mode="valid")
    return np.interp(z_mm, table_mm, fine).astype(np.float32)


def _f(value: float) -> np.float32:
    return np.float32(value)


def smooth_field(
    random: np.random.Generator, axes_mm: tuple[Floats, Floats, Floats], knots_mm: tuple[float, float, float]
) -> Floats:
    """Draw a smooth random field of standard deviation about 1 from cubic B-splines with knots every ``knots_mm``.

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
    """Return the B-spline weights (N, M) of M lattice points at N positions; four in a row, which sum to 1."""
    place = (axis_mm - axis_mm[0]) / knot_mm
    cell = np.floor(place).astype(int)
    t = place - cell
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    basis = np.zeros((len(axis_mm), int(cell.max()) + 4), np.float32)
    for offset in range(4):
        basis[np.arange(len(axis_mm)), cell + offset] = weights[:, offset]
    return basis
