"""A structure set's masks: names, sides, and what is left out with a reason."""

import copy

import numpy as np
import pytest
from dicom_phantoms import (
    BLADDER,
    FEMUR_L,
    FEMUR_R,
    GAS,
    POSITIONS,
    PROSTATE,
    RECTUM,
    STRUCTURES,
    Ellipsoid,
    Patient,
    _item,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from ctan_monai.errors import DataError

BLADDER_CORE = Ellipsoid(BLADDER.center, (9, 9, 8))
SMALL = {"rows": 40, "columns": 60, "slices": 12, "spacing_mm": 4.0, "pixel_mm": (2.5, 2.0)}


def test_structures_get_standard_names_and_absent_ones_are_missing(read):
    patient = Patient(**SMALL, structures={"harnblase": [BLADDER], "RECTUM": [RECTUM], "helper 3": [PROSTATE]})
    case = read(patient)
    assert set(case.masks) == {"Bladder", "Rectum", "dose_region"}
    assert case.meta["structures"] == {"Bladder": "harnblase", "Rectum": "RECTUM"}
    assert case.meta["unknown_structures"] == ["helper 3"]


def test_only_structures_that_were_asked_for_are_kept(read):
    assert set(read(Patient(**SMALL), structures=("Bladder", "Urethra")).masks) == {"Bladder", "dose_region"}


def test_a_structure_without_contours_or_smaller_than_a_voxel_is_missing_and_said(read):
    tiny = Ellipsoid((0.1, 0.2, 0.3), (0.1, 0.1, 5))
    patient = Patient(**SMALL, structures={"Rectum": [RECTUM], "Bladder": [], "Prostate": [tiny]})
    case = read(patient)
    assert set(case.masks) == {"Rectum", "dose_region"}
    assert "Bladder: it has no contours" in case.meta["notes"]
    assert "Prostate: left out: no voxel's center lies inside it" in case.meta["notes"]


def test_points_and_open_contours_are_passed_over(read):
    patient = Patient(**SMALL)
    structure_set = patient.rtstruct()
    drawn = structure_set.ROIContourSequence
    drawn[0].ContourSequence[0].ContourGeometricType = "POINT"
    drawn[1].ContourSequence[0].ContourData = drawn[1].ContourSequence[0].ContourData[:6]
    case = read(patient, {"rtstruct": structure_set})
    assert "Rectum: 1 items of type POINT passed over" in case.meta["notes"]
    assert "Bladder: 1 items of type fewer than three points passed over" in case.meta["notes"]


@pytest.mark.filterwarnings("ignore:.*VR CS")
@pytest.mark.parametrize("kind", ["closed_planar", "", "INTERPOLATED_PLANAR", " Closed_Planar "])
def test_closed_contours_are_filled_however_their_type_is_written(read, kind):
    patient = Patient(**SMALL)
    structure_set = patient.rtstruct()
    for item in structure_set.ROIContourSequence[0].ContourSequence:
        item.ContourGeometricType = kind
    expected = read(Patient(**SMALL)).masks["Rectum"]
    np.testing.assert_array_equal(read(patient, {"rtstruct": structure_set}).masks["Rectum"], expected)


def test_all_items_that_belong_to_one_structure_are_joined(read):
    patient = Patient(**SMALL)
    structure_set = patient.rtstruct()
    drawn = structure_set.ROIContourSequence
    rest = Dataset()
    rest.ReferencedROINumber = drawn[0].ReferencedROINumber
    rest.ContourSequence = drawn[0].ContourSequence[5:]
    drawn[0].ContourSequence = drawn[0].ContourSequence[:5]
    drawn.append(rest)
    empty = Dataset()
    empty.ReferencedROINumber = drawn[1].ReferencedROINumber
    drawn.append(empty)  # the last one has nothing
    found, expected = read(patient, {"rtstruct": structure_set}), read(Patient(**SMALL))
    for name in ("Rectum", "Bladder"):
        np.testing.assert_array_equal(found.masks[name], expected.masks[name])


def test_contours_whose_structure_has_no_entry_are_named(read):
    patient = Patient(**SMALL)
    structure_set = patient.rtstruct()
    del structure_set.StructureSetROISequence[1]
    case = read(patient, {"rtstruct": structure_set})
    assert "Bladder" not in case.masks
    assert case.meta["unknown_structures"] == ["ROI 2"]


@pytest.mark.parametrize("rounds", [1.3, 2, 3])
@pytest.mark.parametrize("closed", [False, True])
def test_a_contour_that_runs_round_more_than_once_is_filled(read, rounds, closed):
    patient = Patient(**SMALL)
    contours = {name: patient.outlines(shapes) for name, shapes in STRUCTURES.items()}
    once = [(at, np.concatenate([each, each[:1]]) if closed else each) for at, each in contours["Rectum"]]
    contours["Rectum"] = [(at, np.tile(each, (4, 1))[: int(rounds * len(each))]) for at, each in once]
    case = read(patient, {"rtstruct": patient.rtstruct(contours)})
    np.testing.assert_array_equal(case.masks["Rectum"], read(Patient(**SMALL)).masks["Rectum"])


def test_the_union_is_for_contours_of_the_plain_type_only(read):
    """One structure set with both: overlapping parts that --holes or unites, and a ring of CLOSEDPLANAR_XOR."""
    patient = Patient(**SMALL, structures={"Rectum": [RECTUM, GAS], "Bladder": [BLADDER, BLADDER_CORE]})
    structure_set = patient.rtstruct()
    for item in structure_set.ROIContourSequence[0].ContourSequence:
        item.ContourGeometricType = "CLOSEDPLANAR_XOR"
    united, holes = read(patient, {"rtstruct": structure_set}, holes="or"), read(patient, {"rtstruct": structure_set})
    np.testing.assert_array_equal(united.masks["Rectum"], holes.masks["Rectum"])
    assert united.masks["Bladder"].sum() > holes.masks["Bladder"].sum()


def test_two_names_for_one_structure_leave_it_out(read):
    case = read(Patient(**SMALL, structures={"ctv1": [PROSTATE], "CTVp": [PROSTATE], "Bladder": [BLADDER]}))
    assert "CTV" not in case.masks
    assert "CTV left out: ctv1 and CTVp could both be it" in case.meta["notes"]


def test_a_contour_across_slices_leaves_its_structure_out_with_the_reason(read):
    patient = Patient(**SMALL)
    contours = {name: patient.outlines(shapes) for name, shapes in STRUCTURES.items()}
    at, outline = contours["Bladder"][3]
    contours["Bladder"][3] = (at, outline + np.array([0, 0, 1]) * np.linspace(0, 9, len(outline))[:, None])
    case = read(patient, {"rtstruct": patient.rtstruct(contours)})
    assert "Bladder" not in case.masks
    assert "Rectum" in case.masks
    assert any("Bladder: left out: a contour of Bladder is not parallel" in note for note in case.meta["notes"])


@pytest.mark.promise(4, "left and right organs that are exchanged are refused, checked against the affine")
@pytest.mark.parametrize("position", POSITIONS)
def test_left_on_the_right_is_refused_however_the_patient_lay(read, position):
    swapped = {"Femur_R": [FEMUR_L], "Femur_L": [FEMUR_R], "Bladder": [BLADDER]}
    patient = Patient(**SMALL, position=position, structures=swapped)
    with pytest.raises(DataError, match="Femur_R and Femur_L lie on the other side than their names say"):
        read(patient)


def test_left_on_the_right_is_dropped_on_request(read):
    case = read(Patient(**SMALL, structures={"Femur_L": [FEMUR_R], "Bladder": [BLADDER]}), sides="drop")
    assert set(case.masks) == {"Bladder", "dose_region"}
    assert "Femur_L left out: it lies on the other side than its name says" in case.meta["notes"]


def test_a_single_femur_is_compared_with_the_middle(read):
    assert "Femur_R" in read(Patient(**SMALL, structures={"Femur_R": [FEMUR_R], "Rectum": [RECTUM]})).masks
    assert "Femur_R" in read(Patient(**SMALL, structures={"Femur_R": [FEMUR_L]})).masks  # nothing to compare it with
    with pytest.raises(DataError, match="Femur_R lie on the other side"):
        read(Patient(**SMALL, structures={"Femur_R": [FEMUR_L], "Rectum": [RECTUM]}))


def test_names_that_nobody_understands_are_refused_and_listed(read):
    with pytest.raises(DataError, match=r"none of the 2 structures with contours .* understood \(a1, b2\)"):
        read(Patient(**SMALL, structures={"a1": [RECTUM], "b2": [BLADDER]}))
    with pytest.raises(DataError, match=r"no mask could be made .*Bladder: it has no contours"):
        read(Patient(**SMALL, structures={"Bladder": []}))


def of_frame(structure_set, frame_uid, images, first=0):
    """Say that a structure was drawn in another frame of reference, on certain images."""
    structure_set.StructureSetROISequence[first].ReferencedFrameOfReferenceUID = frame_uid
    for contour, uid in zip(structure_set.ROIContourSequence[first].ContourSequence, images, strict=False):
        contour.ContourImageSequence = Sequence([_item(ReferencedSOPInstanceUID=uid)])
    return structure_set


OTHER = "Rectum: left out: it has another frame of reference than the CT"


@pytest.mark.promise(4, "contours of another frame of reference are not put on the CT")
@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("names_images", [False, True])
def test_a_structure_drawn_on_another_image_is_left_out_even_with_repair(read, repair, names_images):
    patient = Patient(**SMALL)
    images = [generate_uid() for _ in range(40)] if names_images else []
    case = read(patient, {"rtstruct": of_frame(patient.rtstruct(), generate_uid(), images)}, repair=repair)
    assert set(case.masks) == {"Bladder", "Femur_L", "Femur_R", "CTV", "dose_region"}
    assert f"{OTHER}, and its references do not lead to the CT" in case.meta["notes"]


def test_repair_accepts_a_structure_whose_contours_name_the_cts_images_and_says_so(read):
    patient = Patient(**SMALL)
    structure_set = of_frame(patient.rtstruct(), generate_uid(), patient.ct_uids * 4)
    case = read(patient, {"rtstruct": structure_set})
    assert "Rectum" not in case.masks
    assert f"{OTHER}; --repair accepts it, as its references lead to the CT" in case.meta["notes"]
    case = read(patient, {"rtstruct": structure_set}, repair=True)
    np.testing.assert_array_equal(case.masks["Rectum"], read(patient).masks["Rectum"])
    accepted = "Rectum: accepted by its references although it has another frame of reference than the CT"
    assert accepted in case.meta["notes"]


def test_repair_accepts_a_structure_whose_frame_leads_to_the_cts_images(read):
    """Its contours name none, but the structure set lists the CT's images under the frame that it names."""
    patient = Patient(**SMALL)
    structure_set = of_frame(patient.rtstruct(), generate_uid(), [])
    uid = structure_set.StructureSetROISequence[0].ReferencedFrameOfReferenceUID
    other = copy.deepcopy(structure_set.ReferencedFrameOfReferenceSequence[0])
    other.FrameOfReferenceUID = uid
    structure_set.ReferencedFrameOfReferenceSequence.append(other)
    assert "Rectum" not in read(patient, {"rtstruct": structure_set}).masks
    assert "Rectum" in read(patient, {"rtstruct": structure_set}, repair=True).masks


def test_a_structure_set_of_nothing_but_another_frame_is_refused(read):
    patient = Patient(**SMALL, structures={"Rectum": [RECTUM]})
    structure_set = of_frame(patient.rtstruct(), generate_uid(), [])
    with pytest.raises(DataError, match="Rectum: left out: it has another frame of reference") as caught:
        read(patient, {"rtstruct": structure_set}, repair=True)
    assert caught.value.remedy == "Give the CT it was drawn on, or take it out."


def test_contours_of_no_frame_that_name_another_series_are_left_out(read):
    patient = Patient(**SMALL)
    case = read(patient, {"rtstruct": of_frame(patient.rtstruct(), "", [generate_uid()] * 40)})
    assert "Rectum" not in case.masks
    assert "Rectum: left out: it names images of another series, and its references do not" in str(case.meta["notes"])


def broken(change):
    def make(patient):
        structure_set = patient.rtstruct()
        change(structure_set)
        return structure_set

    return make


BROKEN = {
    "two structures of one number": (
        broken(lambda each: setattr(each.StructureSetROISequence[1], "ROINumber", 1)),
        "the same number",
    ),
    "coordinates that are no triples": (
        broken(lambda each: setattr(each.ROIContourSequence[0].ContourSequence[0], "ContourData", [1.0] * 10)),
        "a contour of Rectum has 10 coordinates",
    ),
    "no structures": (
        broken(lambda each: delattr(each, "StructureSetROISequence")),
        "the structure set cannot be read",
    ),
}


@pytest.mark.promise(4, "broken structure sets are refused")
@pytest.mark.parametrize(("make", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_structure_set_is_refused(read, make, reason):
    patient = Patient(**SMALL)
    with pytest.raises(DataError, match=reason):
        read(patient, {"rtstruct": make(patient)})
