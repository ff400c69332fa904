from pathlib import Path

import numpy as np
import pytest

from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.prescription import prescribed_gy
from ctan_monai.errors import DataError

FILE = Path("pt_1.case")


def case(masks, **meta):
    """Make a case of six voxels in a row; masks are the voxels that they hold."""
    row = {name: np.isin(np.arange(6), inside).reshape(6, 1, 1) for name, inside in masks.items()}
    return Case("pt_1", {"ct": np.zeros((6, 1, 1), np.int16)}, row, np.eye(4), meta=meta)


@pytest.mark.parametrize(
    ("masks", "meta", "expected"),
    [
        ({"PTV": [1, 2], "CTV": [0, 1]}, {"prescription_gy": 60.0}, [0, 60, 60, 0, 0, 0]),
        ({"PTV_5600": [0, 1, 2], "PTV_7000": [2, 3]}, {}, [56, 56, 70, 70, 0, 0]),
        ({"PTV_7000": [2, 3], "PTV_5600": [0, 1, 2], "PTV": [5]}, {"prescription_gy": 60}, [56, 56, 70, 70, 0, 60]),
        ({"PTV_50.4Gy": [0], "PTV_2000x3": [1], "PTV_3mm": [2]}, {"prescription_gy": 66.0}, [50.4, 60, 66, 0, 0, 0]),
        ({"PTV": [0]}, {"prescription_gy": 60.0, "dose_normalized_to_gy": 78.0}, [78, 0, 0, 0, 0, 0]),
        ({"PTV": [0]}, {"dose_normalized_to_gy": 78.0}, [78, 0, 0, 0, 0, 0]),
        (
            {"PTV_5600": [0], "PTV_7000": [1]},
            {"prescription_gy": 70.0, "dose_normalized_to_gy": 35.0},
            [28, 35, 0, 0, 0, 0],
        ),
    ],
)
def test_a_voxel_has_the_highest_level_of_the_targets_that_hold_it(masks, meta, expected):
    found = prescribed_gy(case(masks, **meta), FILE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-6)


def test_without_target_or_level_nothing_is_guessed():
    with pytest.raises(DataError, match=r"has no PTV; it has \['CTV'\]"):
        prescribed_gy(case({"CTV": [0]}, prescription_gy=60.0), FILE)
    with pytest.raises(DataError, match=r"not known of PTV.*--prescription_gy"):
        prescribed_gy(case({"PTV": [0]}), FILE)
