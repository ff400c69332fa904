"""The tools that the phantom is drawn with, against what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ctan_monai.data.phantom.dose import beam_dose
from ctan_monai.data.phantom.shapes import Coordinates, along, join, smooth_field

AXES = tuple(np.arange(-30.0, 31.0, 2.0, dtype=np.float32) for _ in range(3))


def at(*points):
    x, y, z = np.array(points, np.float32).T
    return Coordinates(x, y, z)


def test_distances_are_what_a_ruler_says():
    assert at((3, 4, 0), (0, 0, 0)).sphere((0, 0, 0), 2).tolist() == pytest.approx([3, -2])
    stick = at((0, 5, 0), (0, 0, 14), (3, 0, 5)).capsule((0, 0, 0), (0, 0, 10), 1.0)
    assert stick.tolist() == pytest.approx([4, 3, 2])
    cone = at((5, 0, 0), (5, 0, 10)).capsule((0, 0, 0), (0, 0, 10), 1.0, 3.0)
    assert cone.tolist() == pytest.approx([4, 2])
    flat = at((0, 3, 0), (7, 0, 0)).blade((np.float32(0), np.float32(0)), (np.float32(5), np.float32(0)), 1.0)
    assert flat.tolist() == pytest.approx([2, 1])


def test_ellipsoids_end_at_their_half_axes():
    tips = at((4, 0, 0), (0, 3, 0), (0, 0, 2))
    assert tips.ellipsoid((0, 0, 0), (4, 3, 2)).tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert at((6, 0, 0)).ellipsoid((0, 0, 0), (4, 3, 2))[0] == pytest.approx(2 * 1.5 / 1.5, rel=0.6)
    corner = at((4 * 0.5**0.25, 3 * 0.5**0.25, 9))
    assert corner.ellipse(0, 0, 4, 3, power=4.0)[0] == pytest.approx(0, abs=1e-5)


def test_joined_bodies_hold_both():
    first, second = np.array([2.0, -1, 5]), np.array([2.0, 5, -3])
    joined = join(first, second, 1.0)
    assert (joined <= np.minimum(first, second)).all()
    assert joined.tolist() == pytest.approx([2 - 0.25, -1, -3])


def test_quantities_along_the_body_are_held_beyond_their_ends_and_smooth_between():
    knots = [(-50, 10.0), (50, 30.0)]
    assert along(np.array([-500, 0, 500], np.float32), knots).tolist() == pytest.approx([10, 20, 30])
    fine = along(np.linspace(-80, 80, 400, dtype=np.float32), knots)
    assert (np.diff(fine) >= -1e-5).all()


def test_fields_have_about_unit_variance_and_no_jumps():
    field = smooth_field(np.random.default_rng(0), AXES, (4.0, 4.0, 4.0))
    assert field.std() == pytest.approx(1, rel=0.1)
    assert abs(field.mean()) < 0.15
    smooth = smooth_field(np.random.default_rng(0), AXES, (30.0, 30.0, 30.0))
    assert np.abs(np.diff(smooth, axis=0)).max() < 0.4


def test_a_field_does_not_depend_on_the_voxel_size():
    fine = tuple(np.arange(-30.0, 30.5, 1.0, dtype=np.float32) for _ in range(3))
    coarse_field = smooth_field(np.random.default_rng(3), AXES, (9.0, 9.0, 9.0))
    fine_field = smooth_field(np.random.default_rng(3), fine, (9.0, 9.0, 9.0))
    assert fine_field[::2, ::2, ::2] == pytest.approx(coarse_field, abs=1e-4)


def test_one_field_from_the_front_shades_what_lies_deeper_and_beside():
    z, y, x = np.meshgrid(*AXES, indexing="ij")
    body, target = np.hypot(x, y) < 28, np.sqrt(x**2 + y**2 + z**2) < 8
    dose = beam_dose(body, target, np.zeros_like(body), AXES, fields=1)
    middle = len(AXES[0]) // 2
    ray = dose[middle, :, middle][body[middle, :, middle]]
    assert 5 <= ray.argmax() <= 9  # 10 to 18 mm: the build-up of 6 MV
    assert ray[0] < 0.6 * ray.max()
    assert (np.diff(ray[10:]) < 0).all()
    assert ray[-1] / ray[-2] == pytest.approx(np.exp(-0.0042 * 2), rel=0.002)
    assert dose[middle, middle, 2] < 0.02 * dose[middle, middle, middle]
    assert dose[2].max() < 0.05 * dose.max()
    assert not dose[~body].any()


def test_fields_all_around_are_the_same_from_every_side():
    z, y, x = np.meshgrid(*AXES, indexing="ij")
    body, target = np.hypot(x, y) < 28, np.sqrt(x**2 + y**2 + z**2) < 8
    dose = beam_dose(body, target, np.zeros_like(body), AXES, fields=4)
    turned = np.rot90(dose, axes=(1, 2))
    assert np.abs(turned - dose).max() < 0.05 * dose.max()


def test_a_field_brings_less_through_an_organ_at_risk():
    z, y, x = np.meshgrid(*AXES, indexing="ij")
    body, target = np.hypot(x, y) < 28, np.sqrt(x**2 + y**2 + z**2) < 8
    organ = (x > 1) & (x < 12) & (y > 9) & (y < 25) & (np.abs(z) < 12)
    free = beam_dose(body, target, np.zeros_like(body), AXES, fields=1)
    sparing = beam_dose(body, target, organ, AXES, fields=1)
    ratio = sparing[body] / free[body]
    x, lit = x[body], free[body] > 0.5 * free[target].mean()
    assert ratio[lit & (x > 3)].mean() < 0.95 * ratio[lit & (x < -3)].mean()
