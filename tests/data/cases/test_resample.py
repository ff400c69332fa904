"""What is resampled to another grid lies where it lay, and is what interpolation by hand gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from ctan_monai.data.cases.resample import Resample

SHAPE = (7, 6, 5)
HERE = np.diag([3.0, 2.0, 2.5, 1.0])
# axes exchanged, one flipped, turned by 10 degrees about z and sheared: what a CT of a tilted gantry in HFDR may be
TURN = np.array([[np.cos(0.17), -np.sin(0.17), 0, 0], [np.sin(0.17), np.cos(0.17), 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
THERE = TURN @ np.array([[0, -0.9, 0.2, 14], [1.1, 0, 0, 1], [0, 0, 2.5, 0.6], [0, 0, 0, 1.0]])
THERE_SHAPE = (9, 14, 4)


def test_a_half_way_voxel_is_the_mean_of_its_neighbors():
    values = np.arange(4.0).reshape(4, 1, 1) ** 2
    finer = np.diag([0.5, 1.0, 1.0, 1.0])
    found = Resample(np.eye(4), finer, (7, 1, 1)).linear(values)
    assert found[:, 0, 0].tolist() == [0, 0.5, 1, 2.5, 4, 6.5, 9]


def test_the_outermost_voxels_count_for_one_more_voxel_and_then_there_is_nothing():
    found = Resample(np.eye(4), np.array([[1, 0, 0, -2.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), (6, 1, 1))
    assert found.linear(np.array([5.0, 6.0]).reshape(2, 1, 1))[:, 0, 0].tolist() == [0, 5, 5, 6, 6, 0]


def test_another_interpolator_gives_the_same_whatever_the_axes():
    values = np.random.default_rng(1).random(SHAPE)
    found = Resample(HERE, THERE, THERE_SHAPE).linear(values)
    index = np.moveaxis(np.indices(THERE_SHAPE), 0, -1) @ THERE[:3, :3].T + THERE[:3, 3]
    index = np.moveaxis(index / np.diag(HERE)[:3], -1, 0)
    expected = map_coordinates(values, index, order=1, mode="nearest")
    inside = np.all([(at >= 0) & (at <= size - 1) for at, size in zip(index, SHAPE, strict=True)], axis=0)
    assert inside.sum() > 100
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.6))
def test_only_a_part_is_computed_but_nothing_is_missed(seed, share):
    random = np.random.default_rng(seed)
    probability = random.random(SHAPE) * (random.random(SHAPE) < share)
    way = Resample(HERE, THERE, THERE_SHAPE)
    np.testing.assert_array_equal(way.mask(probability), way.linear(probability) >= 0.5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_of_labels_that_exclude_each_other_the_most_probable_wins(seed, labels):
    logits = np.random.default_rng(seed).normal(size=(labels + 1, *SHAPE)) * 2
    probability = np.exp(logits) / np.exp(logits).sum(0)
    way = Resample(HERE, THERE, THERE_SHAPE)
    found = way.most_probable(probability[0], list(probability[1:]))
    expected = np.argmax([way.linear(each) for each in probability], axis=0)
    for number, mask in enumerate(found, start=1):
        np.testing.assert_array_equal(mask, expected == number)


def test_nothing_stays_nothing():
    way = Resample(HERE, THERE, THERE_SHAPE)
    assert not way.mask(np.zeros(SHAPE)).any()
    assert not way.mask(np.full(SHAPE, 0.49)).any()
    assert not any(mask.any() for mask in way.most_probable(np.ones(SHAPE), [np.zeros(SHAPE)] * 2))
    assert way.most_probable(np.ones(SHAPE), []) == []


@pytest.mark.parametrize("away_mm", [500.0, -500.0])
def test_grids_that_do_not_meet_give_nothing(away_mm):
    far = HERE.copy()
    far[0, 3] = away_mm
    assert not Resample(HERE, far, SHAPE).mask(np.ones(SHAPE)).any()
