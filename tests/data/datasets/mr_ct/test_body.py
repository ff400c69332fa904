import numpy as np
import pytest

from ctan_monai.data.datasets.mr_ct.body import body_of_ct, body_of_mr
from ctan_monai.data.datasets.mr_ct.reader import PairReader

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


def test_bodies_of_the_synthetic_patients_are_those_that_were_drawn(synthetic):
    case = PairReader()(synthetic / "synthetic_002")
    in_mr = PairReader().read_mr(synthetic / "synthetic_002" / "T2.nii.gz", "a").masks["ct_region"]
    region = case.masks["ct_region"]
    assert 2 * (in_mr & region).sum() / (in_mr.sum() + region.sum()) > 0.95
    assert region[case.masks["Bladder"]].all()
