import numpy as np
import pytest

from ctan_monai.data.datasets.stoic.chest_scan import read_scan
from ctan_monai.data.datasets.stoic.crop import find_lungs


def test_the_box_is_that_of_the_ellipsoids_with_its_margin(ellipsoids):
    chest = ellipsoids()
    found = find_lungs(chest.hu, chest.spacing_mm)
    assert found.kind == "lungs"
    assert found.volume_ml == pytest.approx(chest.volume_ml, rel=0.04)
    for axis, ((low, high), (first, stop)) in enumerate(zip(chest.box_mm(), found.box, strict=True)):
        step = chest.spacing_mm[axis]
        if axis < 2:  # 10 mm of margin, to a coarse voxel
            assert first * step == pytest.approx(low - 10, abs=4.5)
            assert stop * step == pytest.approx(high + 10, abs=4.5)
        else:  # slices with a tenth of the largest area: the tips of the ellipsoids are left out
            assert low <= first * step <= low + 12
            assert high - 12 <= stop * step <= high


def test_the_mask_is_the_ellipsoids(ellipsoids):
    chest = ellipsoids()
    found = find_lungs(chest.hu, chest.spacing_mm)
    coarse = chest.lungs[tuple(slice(step // 2, None, step) for step in found.steps)]
    shown = found.lungs.any(axis=(0, 1))
    overlap = 2 * (coarse & found.lungs)[..., shown].sum() / (coarse[..., shown].sum() + found.lungs.sum())
    assert overlap > 0.96


def test_dense_patches_do_not_move_the_box_much(ellipsoids):
    chest = ellipsoids()
    clean = find_lungs(chest.hu, chest.spacing_mm)
    patches = chest.lungs & (np.random.default_rng(0).random(chest.shape) < 0.5)
    patches |= chest.lungs & (np.indices(chest.shape)[0] > 75)  # the lungs' back is full
    chest.hu[patches] = -550
    found = find_lungs(chest.hu, chest.spacing_mm)
    assert found.kind == "lungs"
    assert np.array(found.box) == pytest.approx(np.array(clean.box), abs=4)


def test_neither_the_couch_nor_air_under_an_arm_nor_a_stomach_counts(ellipsoids):
    chest = ellipsoids()
    clean = find_lungs(chest.hu, chest.spacing_mm).box
    y, x, z = np.indices(chest.shape)
    chest.hu[(np.hypot((y - 40) * 2.0, (x - 100) * 1.5) < 22) & (z < 6)] = -995  # a bubble below
    chest.hu[(np.hypot((y - 60) * 2.0, (x - 14) * 1.5) < 9)] = -1000
    assert find_lungs(chest.hu, chest.spacing_mm).box == clean


@pytest.mark.parametrize("spacing_mm", [(0.7, 0.7, 0.8), (3.0, 3.0, 5.0)])
def test_without_lungs_the_body_is_taken(spacing_mm):
    shape = (100, 110, 40)
    y, x, _ = np.indices(shape)
    inside = ((y - 50) / 30) ** 2 + ((x - 55) / 40) ** 2 < 1
    found = find_lungs(np.where(inside, 40, -1000).astype(np.int16), spacing_mm)
    assert (found.kind, found.lungs) == ("body", None)
    (top, bottom), (left, right), depth = found.box
    assert np.array([top, bottom, left, right]) == pytest.approx([20, 80, 15, 95], abs=5)
    assert depth == (0, 40)


def test_without_a_body_everything_is_taken():
    found = find_lungs(np.full((40, 50, 6), -1000, np.int16), (3.0, 3.0, 5.0))
    assert (found.kind, found.box) == ("image", ((0, 40), (0, 50), (0, 6)))


@pytest.mark.data
def test_a_real_chest(real_chest):
    scan = read_scan(real_chest)
    found = find_lungs(scan.hu, scan.spacing_mm)
    assert found.kind == "lungs"
    assert 2000 < found.volume_ml < 4500  # looked at: both lungs, the right one small
    (top, bottom), (left, right), (low, high) = found.box
    assert (bottom - top) * scan.spacing_mm[0] == pytest.approx(195, abs=15)
    assert (right - left) * scan.spacing_mm[1] == pytest.approx(250, abs=15)
    assert (high - low) * scan.spacing_mm[2] == pytest.approx(208, abs=12)
