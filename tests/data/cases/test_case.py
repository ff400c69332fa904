from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ctan_monai.data.cases.case import Case, check_case_id
from ctan_monai.errors import DataError

CT = np.zeros((4, 5, 6), np.int16)
MASK = np.zeros((4, 5, 6), bool)


@pytest.mark.parametrize("case", ["pt_1", "TCGA-02.a", "x" * 64])
def test_an_id_of_letters_digits_and_few_signs_passes(case):
    assert check_case_id(case) == case


@pytest.mark.promise(6, "an id that could leave its folder is refused")
@pytest.mark.parametrize("case", ["", ".", "..", "../pt_1", "a/b", "a b", "pt\n", "x" * 65, "ä", 7, "pt_1\x00"])
def test_an_id_that_could_leave_its_folder_is_refused(case):
    with pytest.raises(DataError, match="case id"):
        check_case_id(case)


def test_spacing_is_the_length_of_the_affines_columns():
    # Column 0 is (3, 4, 0): 5 mm. A rotation does not change it.
    affine_ras = np.array([[3.0, -4, 0, 9], [4, 3, 0, 9], [0, 0, 2, 9], [0, 0, 0, 1]])
    assert Case("a", {"ct": CT}, {}, affine_ras).spacing_mm == pytest.approx((5, 5, 2))
    assert Case("a", {"photo": CT[..., 0]}, {}, affine_ras).spacing_mm == pytest.approx((5, 5))


def test_a_case_copies_its_mappings_and_cannot_be_reassigned():
    masks = {"a": MASK}
    case = Case("a", {"ct": CT}, masks, np.eye(4))
    masks["b"] = MASK
    assert list(case.masks) == ["a"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        case.case = "b"


def test_numpy_numbers_become_plain_ones():
    case = Case("a", {"ct": CT}, {}, np.eye(4), {"k": np.int64(3), "f": np.array([0.5, 1]), "t": (1, 2)})
    assert case.values == {"k": 3, "f": [0.5, 1.0], "t": [1, 2]}
    assert type(case.values["k"]) is int


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"volumes": {}, "masks": {}}, "at least one array"),
        ({"masks": {"ct": MASK}}, "same name"),
        ({"masks": {"a": MASK[:3]}}, "shapes"),
        ({"masks": {"a": MASK.astype(np.uint8)}}, "uint8"),
        ({"volumes": {"ct": MASK}}, "bool"),
        ({"volumes": {"ct": CT.astype(complex)}}, "complex"),
        ({"volumes": {"ct": CT.tolist()}}, "list"),
        ({"volumes": {"ct": np.zeros((2, 0, 2))}, "masks": {}}, "non-empty"),
        ({"volumes": {"ct": np.zeros((2, 2, 2, 2))}, "masks": {}}, "three axes"),
        ({"affine_ras": np.eye(3)}, "affine_ras"),
        ({"affine_ras": "RAS"}, "affine_ras"),
        ({"affine_ras": np.diag([1.0, 1, 0, 1])}, "inverted"),
        ({"affine_ras": np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])}, "inverted"),
        ({"affine_ras": np.full((4, 4), np.nan)}, "finite"),
        ({"affine_ras": np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]])}, "last row"),
        ({"values": {"severe": float("nan")}}, "severe"),
        ({"values": {"severe": "yes"}}, "severe"),
        ({"values": {"severe": []}}, "severe"),
    ],
)
@pytest.mark.promise(4, "images, masks and doses on grids that disagree, or an affine that cannot be, are refused")
def test_what_does_not_fit_together_is_refused(changes, message):
    fields = {"volumes": {"ct": CT}, "masks": {"a": MASK}, "affine_ras": np.eye(4)}
    with pytest.raises(DataError, match=message):
        Case("pt_1", **{**fields, **changes})
