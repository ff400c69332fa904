import numpy as np
import pytest

from ctan_monai.data.datasets.stoic.chest_case import ChestReader
from ctan_monai.data.datasets.stoic.crop import Window, resample, resample_mask, window_around
from ctan_monai.data.datasets.stoic.overview import read_overview
from ctan_monai.errors import ConfigError


def ramp(shape, factors=(3, 2, 5)):
    """A CT whose value is a linear function of the index, so that interpolation is known."""
    index = np.indices(shape)
    return sum(factor * axis for factor, axis in zip(factors, index, strict=True)).astype(np.int16)


def test_linear_values_stay_where_they_are_by_the_affine():
    hu = ramp((90, 80, 70))
    window = Window((10, 8, 12), (70, 72, 60), (24, 16, 20))
    small = resample(hu, window)
    assert small.shape == window.shape
    for index in ((3, 3, 3), (12, 8, 10), (20, 12, 16)):  # inside: the filter ends at the window's edge
        place = window.affine() @ [*index, 1]
        assert small[index] == pytest.approx(np.dot(place[:3], (3, 2, 5)), abs=1.01)


def test_a_window_of_the_ct_s_own_size_is_the_ct():
    hu = ramp((20, 30, 10))
    window = Window((2, 3, 1), (18, 29, 9), (16, 26, 8))
    assert np.array_equal(resample(hu, window), hu[2:18, 3:29, 1:9])
    assert np.array_equal(window.affine()[:3, 3], [2, 3, 1])


def test_shrinking_averages_so_that_noise_goes_down():
    hu = np.random.default_rng(0).normal(0, 100, (96, 96, 64)).astype(np.int16)
    small = resample(hu, Window((0, 0, 0), (96, 96, 64), (24, 24, 16)))
    assert abs(float(small.mean())) < 3
    assert small.std() < 25  # a single voxel in 64 would have 100; a mean of 64 has 12.5


def test_beyond_the_ct_there_is_air():
    small = resample(np.zeros((20, 20, 4), np.int16), Window((-10, 0, 0), (20, 20, 4), (30, 20, 4)))
    assert (small[:10] == -1024).all()
    assert (small[10:] == 0).all()


def test_many_slices_are_the_same_as_in_one_piece():
    hu = ramp((40, 40, 100))
    whole = resample(hu, Window((0, 0, 0), (40, 40, 100), (32, 32, 100)))
    parts = [resample(hu[..., k : k + 1], Window((0, 0, 0), (40, 40, 1), (32, 32, 1))) for k in (0, 31, 32, 99)]
    for part, k in zip(parts, (0, 31, 32, 99), strict=True):
        assert np.array_equal(part[..., 0], whole[..., k])


def test_pixels_are_square_the_box_is_inside_and_thin_slices_become_thick():
    window = window_around(((30, 90), (40, 140), (5, 105)), (2.0, 2.0, 1.0), (64, 128), 4.0)
    height_mm, width_mm = ((window.stop[axis] - window.start[axis]) * 2.0 for axis in (0, 1))
    assert height_mm / 64 == pytest.approx(width_mm / 128, rel=0.02)
    assert window.start[0] <= 30
    assert window.stop[0] >= 90
    assert (window.start[1], window.stop[1]) == (30, 150)  # 120 mm high, so 240 mm wide
    assert (window.start[2], window.stop[2], window.shape[2]) == (5, 105, 25)


def test_slices_are_never_made_up():
    box = ((30, 90), (40, 140), (5, 25))
    assert window_around(box, (2.0, 2.0, 8.0), (64, 96), 4.0).shape[2] == 20
    assert window_around(box, (2.0, 2.0, 1.0), (64, 96), None).shape[2] == 20


def test_a_case_of_ellipsoids_lies_where_they_are(ellipsoids, write_mha):
    chest = ellipsoids()
    path = write_mha(chest.hu, chest.spacing_mm)
    case = ChestReader([96, 128], 6.0)(path)
    assert case.shape[:2] == (96, 128)
    assert case.spacing_mm[0] == pytest.approx(case.spacing_mm[1], rel=0.02)
    index = np.stack(np.nonzero(case.masks["lungs"]))
    places = case.affine_ras[:3, :3] @ index + case.affine_ras[:3, 3:]
    origin = np.array([-10.0, 20.0, -300.0]) - np.array([0.75, 1.0, 2.0])  # LPS, the corner of the first voxel
    left, back, head = -places[0] - origin[0], -places[1] - origin[1], places[2] - origin[2]
    for axis, found in ((0, back), (1, left), (2, head)):
        low, high = chest.box_mm()[axis]
        assert (found.min(), found.max()) == pytest.approx((low, high), abs=9 if axis == 2 else 5)
    inside = case.volumes["ct"][case.masks["lungs"]]
    assert np.median(inside) == pytest.approx(-820, abs=2)
    assert case.meta["cut_to"] == "lungs"
    assert case.meta["full_shape"] == list(chest.shape)


def test_a_mask_follows_the_nearest_coarse_voxel():
    mask = np.zeros((10, 10, 5), bool)
    mask[2:5, 3:6, 1:3] = True  # voxels 6 to 15, 9 to 18, 1 to 3 of the CT
    fine = resample_mask(mask, (3, 3, 1), Window((0, 0, 0), (30, 30, 5), (30, 30, 5)))
    expected = np.zeros((30, 30, 5), bool)
    expected[6:15, 9:18, 1:3] = True
    assert np.array_equal(fine, expected)
    assert not resample_mask(mask, (3, 3, 1), Window((-30, 0, 0), (0, 30, 5), (30, 30, 5))).any()


def test_the_overview_shows_the_whole_ct_and_the_box(ellipsoids, write_mha):
    chest = ellipsoids()
    case = ChestReader([96, 128], 6.0)(write_mha(chest.hu, chest.spacing_mm))
    planes = read_overview(case.meta)
    assert planes["axial"].sides_mm == pytest.approx((240, 300), abs=4)
    assert planes["coronal"].sides_mm == pytest.approx((240, 300), abs=4)
    top, bottom, left, right = planes["axial"].box_mm
    low, high = chest.box_mm()[1]
    assert (left, right) == pytest.approx((low - 10, high + 10), abs=6)
    assert top < 58
    assert bottom > 179
    above, below, *_ = planes["coronal"].box_mm
    assert (240 - below, 240 - above) == pytest.approx(chest.box_mm()[2], abs=14)
    axial = case.meta["overview"]["axial"]
    before = {"grey" if key == "gray" else key: value for key, value in axial.items()}
    assert (read_overview({"overview": {"axial": before}})["axial"].gray == planes["axial"].gray).all()
    assert read_overview({"overview": {"axial": {"gray": "?", "shape": [2, 2]}}}) == {}


@pytest.mark.parametrize(
    ("size", "slice_mm", "setting"),
    [(96, 3.0, "image_size"), ([96], 3.0, "image_size"), ([8, 96], 3.0, "image_size"), ([96, 96], 0, "slice_mm")],
)
def test_sizes_that_are_none_are_refused(size, slice_mm, setting):
    with pytest.raises(ConfigError, match=setting):
        ChestReader(size, slice_mm)
