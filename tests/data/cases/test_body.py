import numpy as np
import pytest

from ctan_monai.data.cases.body import body_of_ct, body_of_mr, crop_to_body
from ctan_monai.data.cases.case import Case

SPACING = (2.0, 2.0, 3.0)


@pytest.fixture
def scan():
    """A body with gas inside, and a couch with a thin cover under it."""
    ct = np.full((40, 40, 4), -1000.0)
    ct[8:28, 10:30] = 40
    ct[14:18, 18:22] = -900
    ct[30, 2:38] = -100
    ct[31:36, 2:38] = -800
    return ct


def test_the_couch_is_no_body_and_gas_inside_is(scan):
    body = body_of_ct(scan, SPACING)
    corners = 4 * 4  # an opening by a disk rounds them
    assert 20 * 20 * 4 - body.sum() <= corners * 3
    assert not body[30:].any()
    assert body[16, 20].all()


def test_an_mr_shows_the_same_body(scan):
    mr = np.where(scan > -250, 300.0, 5.0) + np.random.default_rng(0).random(scan.shape) * 10
    mr[30:] = 5
    assert (body_of_mr(mr, SPACING) == body_of_ct(scan, SPACING)).mean() > 0.97


def test_a_body_that_the_image_cuts_reaches_its_border():
    assert body_of_ct(np.full((20, 20, 3), 40.0), SPACING).all()


def test_air_is_no_body(scan):
    assert body_of_ct(np.full((20, 20, 3), -1000.0), SPACING) is None
    scan[8:28, 10:30] = -1000
    assert body_of_ct(scan, SPACING) is None


def test_a_crop_to_the_body_keeps_every_voxel_where_it_was_with_a_margin_as_far_as_the_image_goes():
    ct = np.full((40, 50, 3), -1000, np.int16)
    ct[10:30, 2:30] = 40
    ct[15, 20, 1] = 300  # a voxel to find again
    affine = np.array([[0, 2.0, 0, 7], [-3.0, 0, 0, 5], [0, 0, 4.0, 1], [0, 0, 0, 1]])
    case = Case("a", {"ct": ct}, {"bone": ct == 300}, affine)
    cropped = crop_to_body(case, 5.0)  # pixels of 3 x 2 mm: 2 and 3 of them
    assert cropped.shape == (20 + 2 * 2, 28 + 2 + 3, 3)
    places = [np.argwhere(each.masks["bone"])[0] for each in (case, cropped)]
    assert [each.volumes["ct"][tuple(at)] for each, at in zip((case, cropped), places, strict=True)] == [300, 300]
    positions = [each.affine_ras @ [*at, 1] for each, at in zip((case, cropped), places, strict=True)]
    assert np.allclose(*positions)
    assert crop_to_body(Case("b", {"ct": np.full_like(ct, -1000)}, {}, affine), 5.0).shape == ct.shape
