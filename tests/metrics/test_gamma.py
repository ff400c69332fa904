"""Gamma against cases that are known by hand, and against every pair of points of a small grid."""

import dataclasses
import logging
import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ctan_monai.errors import ConfigError, DataError
from ctan_monai.metrics.gamma import Gamma, gamma_plane, pass_rates

pytest.importorskip("pymedphys", reason="gamma needs pymedphys")

SPACING_MM = (2.5, 2.0, 3.0)
SHAPE = (16, 18, 12)
FLAT = np.full(SHAPE, 60.0)
ALL = Gamma(max_points=None)
ONLY_3 = dataclasses.replace(ALL, criteria=((3, 3),))


def rates(reference, evaluated, region=None, options=ALL):
    spacing_mm = SPACING_MM[: reference.ndim]
    return [round(rate.percent, 6) for rate in pass_rates(reference, evaluated, spacing_mm, region, options)]


def rough(seed, shape=(40, 44), height_gy=60):
    """A dose of hills and valleys (2D, where a search is short)."""
    hills = gaussian_filter(np.random.default_rng(seed).random(shape), 1.2)
    return height_gy * hills / hills.max()


def test_equal_doses_pass_everywhere():
    dose = rough(1)
    assert rates(dose, dose) == [100, 100]


@pytest.mark.parametrize(("percent", "passing"), [(1.9, [100, 100]), (2.9, [100, 0]), (3.1, [0, 0]), (-2.9, [100, 0])])
def test_a_flat_dose_that_is_off_by_a_little_more_than_the_criterion_fails(percent, passing):
    assert rates(FLAT, FLAT * (1 + percent / 100)) == passing


def test_the_dose_criterion_is_a_share_of_the_highest_dose_not_of_the_voxels():
    """In a voxel of 20 Gy, 1.7 Gy too much is 8.5 %, but 2.8 % of the highest dose."""
    steps = np.where(np.arange(SHAPE[0])[:, None, None] < 8, 20.0, 60.0) + np.zeros(SHAPE)
    assert rates(steps, steps + 1.7, options=ONLY_3) == [100]


@pytest.mark.parametrize(("shift_mm", "passing"), [(1.9, [100, 100]), (2.9, [100, 0]), (3.1, [0, 0])])
def test_a_steep_gradient_that_is_shifted_fails_beyond_the_distance(shift_mm, passing):
    """Along a line the dose rises from 0 to 60 Gy in 9 mm: 3 % of it are 0.27 mm, so shifts of up to 3.01 mm pass."""
    place_mm = np.arange(0, 40.01, 0.5)
    planned, shifted = (60 * np.clip((place_mm - start) / 9, 0, 1) for start in (15, 15 + shift_mm))
    slope = (place_mm > 19) & (place_mm < 20)  # far from both ends of the slope
    one_line = dataclasses.replace(ALL, cutoff_percent=0, steps=60)
    highest = np.zeros_like(slope)
    highest[-1] = True  # counts for the normalization, and passes
    found = pass_rates(planned, shifted, (0.5,), slope | highest, one_line)
    assert [rate.normalization_gy for rate in found] == [60, 60]
    assert [rate.percent for rate in found] == [100 if passed else 50 for passed in passing]


@pytest.mark.parametrize(("shift_mm", "passes"), [(3.4, True), (3.9, False)])
def test_in_three_dimensions_a_gradient_bridges_what_dose_and_distance_allow_together(shift_mm, passes):
    """Gamma of a ramp of g Gy/mm that is shifted by s is s / sqrt(D2 + (d/g)2): here d/g = 2 mm, so s may be 3.6 mm."""
    ramp = np.arange(24) * 3.0 / 69 * 66.7 + np.zeros((12, 12, 24))  # 3 % of the highest dose are 2 mm of it
    shifted = ramp - shift_mm * 66.7 / 69
    examined = np.zeros(ramp.shape, bool)
    examined[5:7, 5:7, 11:13] = True
    examined[5, 5, 23] = True  # the highest dose; near the edge the search finds less
    (found,) = pass_rates(ramp, shifted, SPACING_MM, examined, dataclasses.replace(ONLY_3, cutoff_percent=0))
    assert found.normalization_gy == pytest.approx(66.7)
    assert found.percent >= 100 * 8 / 9 if passes else found.percent <= 100 / 9


def brute_force(reference, evaluated, dose_percent, distance_mm, fine=12):
    """Compare with the evaluated dose on a grid of its own that is as fine as one likes (2D)."""
    from scipy.interpolate import RegularGridInterpolator

    axes = [np.arange(n) * s for n, s in zip(reference.shape, SPACING_MM[:2], strict=True)]
    dense_axes = [np.linspace(axis[0], axis[-1], (len(axis) - 1) * fine + 1) for axis in axes]
    dense = np.stack(np.meshgrid(*dense_axes, indexing="ij"), -1)
    doses = RegularGridInterpolator(axes, evaluated)(dense)
    tolerance = dose_percent / 100 * reference.max()
    gamma = np.empty(reference.shape)
    for place in np.ndindex(*reference.shape):
        here = np.array([axis[index] for axis, index in zip(axes, place, strict=True)])
        distance2 = ((dense - here) ** 2).sum(-1) / distance_mm**2
        gamma[place] = np.sqrt((((doses - reference[place]) / tolerance) ** 2 + distance2).min())
    return gamma


@pytest.mark.parametrize("criterion", [(3.0, 3.0), (2.0, 2.0)])
def test_pass_or_fail_is_that_of_comparing_every_pair_of_points(criterion):
    reference = rough(2, (14, 16))
    evaluated = reference + gaussian_filter(np.random.default_rng(3).normal(size=reference.shape), 1.0) * 8
    expected = brute_force(reference, evaluated, *criterion)
    options = Gamma([criterion], cutoff_percent=0, max_points=None)
    (found,) = pass_rates(reference, evaluated, SPACING_MM[:2], None, options)
    surely, perhaps = (100 * np.mean(expected <= 1 + more) for more in (-0.04, 0.01))  # both search in steps
    assert 20 < surely < perhaps + 1e-9 < 99, "the case would show nothing"
    assert surely <= found.percent <= perhaps


def test_a_plane_holds_gamma_itself():
    reference = np.repeat(rough(4, (14, 16))[..., None], 5, axis=2)
    evaluated = reference + 1.5
    found = gamma_plane(reference, evaluated, SPACING_MM, axis=2, index=2, options=Gamma(cutoff_percent=0))
    expected = np.minimum(brute_force(reference[..., 0], evaluated[..., 0], 3.0, 3.0), 2)
    assert found.shape == (14, 16, 1)
    more = found[..., 0] - expected  # a search in steps may miss the best place, and finds no better one
    assert more.min() > -0.02
    assert more.max() < 0.2
    assert more.mean() < 0.06


def test_cold_and_unknown_voxels_are_not_examined():
    dose = np.zeros(SHAPE)
    dose[4:8] = 60.0
    dose[8:10] = 5.9  # under 10 %
    far_off = dose.copy()
    far_off[8:] += 20
    (rate,) = pass_rates(dose[:8], far_off[:8], SPACING_MM, None, ONLY_3)
    assert (rate.percent, rate.points, rate.eligible) == (100.0, 4 * 18 * 12, 4 * 18 * 12)
    known = np.ones(SHAPE, bool)
    known[:, :9] = False
    (rate,) = pass_rates(dose, dose, SPACING_MM, known, ONLY_3)
    assert rate.points == 4 * 9 * 12


def test_a_draw_of_voxels_is_repeated_counted_and_near_the_rate_of_all():
    reference = np.full((160, 160), 60.0)
    evaluated = reference + gaussian_filter(np.random.default_rng(6).normal(size=reference.shape), 1) * 10
    (full,) = pass_rates(reference, evaluated, SPACING_MM[:2], None, ONLY_3)
    some = dataclasses.replace(ONLY_3, max_points=2000)
    state = np.random.get_state()[1].tolist()
    (part,) = pass_rates(reference, evaluated, SPACING_MM[:2], None, some)
    assert np.random.get_state()[1].tolist() == state, "nobody else's random numbers change"
    assert pass_rates(reference, evaluated, SPACING_MM[:2], None, some) == [part]
    assert (part.points, part.eligible, full.interval) == (2000, 160 * 160, 0.0)
    assert 0.5 < part.interval < 2.2
    assert abs(part.percent - full.percent) < 2 * part.interval


def test_a_large_dose_is_examined_on_a_coarser_lattice(monkeypatch):
    monkeypatch.setattr("ctan_monai.metrics.gamma._LATTICE_VOXELS", 500)
    (rate,) = pass_rates(FLAT, FLAT * 1.029, SPACING_MM, None, ONLY_3)
    assert rate.percent == 100
    assert rate.points == 8 * 9 * 6, "every second voxel along each axis"
    assert rate.eligible == FLAT.size


def test_voxels_that_are_beyond_reach_are_found_without_a_search_and_others_are_not(monkeypatch):
    """The shortcut changes no answer: with it switched off, pymedphys says the same."""
    reference, evaluated = rough(7), rough(8)
    quick = rates(reference, evaluated)
    monkeypatch.setattr("ctan_monai.metrics.gamma._beyond", lambda wanted, *_: np.zeros(wanted.shape, bool))
    assert rates(reference, evaluated) == quick
    assert 1 < quick[1] < 99


def test_nothing_is_said_on_the_loggers_of_others(caplog, capsys):
    root = logging.getLogger()
    handlers, filters = list(root.handlers), list(root.filters)
    with caplog.at_level(logging.DEBUG):
        pass_rates(FLAT, FLAT * 1.01, SPACING_MM, None, ONLY_3)
    assert caplog.records == []
    assert "Logging error" not in capsys.readouterr().err
    assert (root.handlers, root.filters) == (handlers, filters)


def test_doses_that_cannot_be_compared_are_refused():
    with pytest.raises(DataError, match="shapes"):
        pass_rates(FLAT, FLAT[1:], SPACING_MM)
    with pytest.raises(DataError, match="not finite"):
        pass_rates(FLAT, FLAT * np.nan, SPACING_MM)
    with pytest.raises(DataError, match="no planned dose"):
        pass_rates(FLAT * 0, FLAT, SPACING_MM)


@pytest.mark.parametrize(
    "wrong", [{"criteria": ()}, {"criteria": ((0, 3),)}, {"max_points": 0}, {"cutoff_percent": 100}, {"steps": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError, match="gamma"):
        Gamma(**wrong)


def test_without_pymedphys_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymedphys", None)
    with pytest.raises(ConfigError, match=r"pip install -e \"\.\[gamma\]\""):
        pass_rates(FLAT, FLAT, SPACING_MM)
