"""Area, longest diameter and side, against values worked out by hand."""

import math

import numpy as np
import pytest
from pydicom.dataset import Dataset
from ultrasound_files import region

from ctan_monai.data.dicom.write.image_measures import side_of, size_of

ROWS, COLUMNS = slice(10, 22), slice(20, 51)  # 12 x 31 pixels


def mask(*parts):
    made = np.zeros((60, 80), bool)
    for part in parts or ((ROWS, COLUMNS),):
        made[part] = True
    return made


def header(*regions, **about):
    made = Dataset()
    for name, value in about.items():
        setattr(made, name, value)
    if regions:
        made.SequenceOfUltrasoundRegions = list(regions)
    return made


def scaled(item, down=0.02, across=0.01, units=3):
    """Return a region with these cm for each pixel."""
    item.PhysicalDeltaY, item.PhysicalDeltaX = down, across
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = units
    return item


WHOLE = ((0, 79), (0, 59))


def test_a_rectangle_has_its_sides_product_and_its_diagonal():
    size = size_of(mask(), header(scaled(region(*WHOLE))))
    assert size.area_mm2 == pytest.approx(12 * 0.2 * 31 * 0.1)
    assert size.diameter_mm == pytest.approx(math.hypot(12 * 0.2, 31 * 0.1))


def test_without_regions_pixel_spacing_counts_rows_first():
    assert size_of(mask(), header(PixelSpacing=[0.2, 0.1])) == size_of(mask(), header(scaled(region(*WHOLE))))


def test_a_disk_comes_close_to_its_diameter_and_area():
    rows, columns = np.mgrid[:400, :400] + 0.5
    disk = np.hypot(rows - 200, columns - 200) < 150
    size = size_of(disk, header(PixelSpacing=[0.1, 0.1]))
    assert size.diameter_mm == pytest.approx(30, rel=0.01)
    assert size.area_mm2 == pytest.approx(math.pi * 15**2, rel=0.01)


def test_of_two_parts_the_diameter_is_that_of_the_larger_and_the_area_that_of_both():
    size = size_of(mask((ROWS, COLUMNS), (slice(40, 43), slice(70, 74))), header(PixelSpacing=[1.0, 1.0]))
    assert size.area_mm2 == 12 * 31 + 3 * 4
    assert size.diameter_mm == pytest.approx(math.hypot(12, 31))


@pytest.mark.parametrize(
    "about",
    [
        header(),
        header(scaled(region(*WHOLE), units=1)),  # percent
        header(scaled(region(*WHOLE), down=0.0)),
        header(scaled(region(*WHOLE), down=math.nan)),
        header(scaled(region((0, 30), (0, 59)))),  # ends inside of the mask
        header(scaled(region((0, 30), (0, 59))), scaled(region((31, 79), (0, 59)), down=0.03)),  # do not agree
        header(scaled(region((0, 30), (0, 59))), scaled(region((31, 79), (0, 59)), units=0)),
    ],
)
def test_where_pixels_have_no_one_size_nothing_is_measured(about):
    assert size_of(mask(), about) is None


def test_regions_that_agree_or_that_the_mask_does_not_touch_do_no_harm():
    plain = size_of(mask(), header(scaled(region(*WHOLE))))
    halves = header(scaled(region((0, 30), (0, 59))), scaled(region((31, 79), (0, 59)), down=-0.02))
    assert size_of(mask(), halves) == plain
    aside = header(scaled(region((0, 60), (0, 59))), scaled(region((61, 79), (0, 59)), down=0.5))
    assert size_of(mask(), aside) == plain
    doppler = header(scaled(region(*WHOLE)), scaled(region(*WHOLE, data_type=2), down=0.5))
    assert size_of(mask(), doppler) == plain


def test_an_empty_mask_has_no_size():
    assert size_of(np.zeros((60, 80), bool), header(PixelSpacing=[1.0, 1.0])) is None


def test_the_image_s_side_comes_before_the_series_and_is_left_or_right():
    assert side_of(header(ImageLaterality="L", Laterality="R")) == "L"
    assert side_of(header(Laterality="R")) == "R"
    assert side_of(header(ImageLaterality="B")) is None
    assert side_of(header()) is None
