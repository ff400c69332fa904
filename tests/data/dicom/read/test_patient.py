"""CT, structure set and doses become a case only if they belong together."""

import numpy as np
import pytest
from dicom_phantoms import Patient, dose_at
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.errors import ConfigError, DataError

SMALL = {"rows": 30, "columns": 40, "slices": 10, "spacing_mm": 5.0, "pixel_mm": (3.2, 3.0)}


@pytest.fixture
def patient():
    return Patient(**SMALL)


def reissued(dataset, **attributes):
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def of_beams(dose, *numbers):
    """Say which beams a dose is of."""
    from dicom_phantoms import _item

    beams = [_item(ReferencedBeamNumber=number) for number in numbers]
    group = _item(ReferencedFractionGroupNumber=1, ReferencedBeamSequence=beams)
    dose.ReferencedRTPlanSequence[0].ReferencedFractionGroupSequence = Sequence([group])
    return reissued(dose, DoseSummationType="BEAM")


def test_a_case_tells_what_it_is_made_of(read, patient):
    meta = read(patient).meta
    assert meta["prescription_gy"] == 60.0
    assert meta["prescription_source"] == "TargetPrescriptionDose"
    assert meta["fractions"] == 20
    assert meta["dose"] == "PLAN"
    assert meta["source"] == "DICOM"
    assert meta["synthetic"] is False
    assert meta["notes"] == []


def test_nothing_of_a_case_names_the_patient(read, patient):
    case = read(patient)
    told = repr((case.case, case.meta, case.values))
    for secret in (patient.patient_id, "Doe", patient.study_uid, patient.series_uid, patient.frame_uid):
        assert secret not in told


def test_without_a_dose_the_dose_is_known_nowhere(read, patient):
    case = read(patient, {"rtdose": None}, need=("structures",))
    assert set(case.volumes) == {"ct"}
    assert not case.masks["dose_region"].any()
    assert "dose" not in case.meta


def test_a_structure_that_is_required_and_not_contoured_is_named(read, patient):
    assert "Rectum" in read(patient, {}, required=("Rectum",)).masks
    with pytest.raises(DataError, match="Heart has no contours there, and is required"):
        read(patient, {}, required=("Rectum", "Heart"))


def test_a_ct_alone_is_a_case_if_nothing_else_is_needed(read, patient):
    case = read(patient, {"rtdose": None, "rtplan": None, "rtstruct": None}, need=())
    assert (set(case.volumes), set(case.masks)) == ({"ct"}, {"dose_region"})


# ---- frames of reference and missing images


@pytest.mark.promise(4, "a structure set of another frame of reference is refused")
def test_a_structure_set_of_another_frame_is_refused_or_accepted_by_its_references(read, patient):
    structure_set = patient.rtstruct()
    structure_set.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = generate_uid()
    with pytest.raises(DataError, match="the structure set has another frame of reference than the CT"):
        read(patient, {"rtstruct": structure_set})
    notes = read(patient, {"rtstruct": structure_set}, repair=True).meta["notes"]
    assert notes == ["accepted by its references although the structure set has another frame of reference than the CT"]


@pytest.mark.promise(4, "a dose of another frame of reference is refused")
def test_a_dose_of_another_frame_is_refused_or_accepted_by_its_references(read, patient):
    dose = patient.rtdose()
    dose.FrameOfReferenceUID = generate_uid()
    with pytest.raises(DataError, match="the dose has another frame of reference than the CT"):
        read(patient, {"rtdose": dose})
    case = read(patient, {"rtdose": dose}, repair=True)
    assert case.meta["notes"] == [
        "accepted by its references although the dose has another frame of reference than the CT"
    ]


@pytest.mark.promise(4, "slices missing at the ends of a CT are noticed by the structure set")
def test_images_that_the_structure_set_names_but_are_not_there_are_missed_at_the_ends_too(read, patient):
    with pytest.raises(DataError, match="2 of the 10 images that the structure set refers to are missing"):
        read(patient, {"ct": patient.ct()[:-2]})
    case = read(patient, {"ct": patient.ct()[:-2]}, repair=True)
    assert case.shape[2] == 8
    assert any("images that the structure set refers to are missing" in note for note in case.meta["notes"])


@pytest.mark.promise(4, "a dose that lies beside the CT is refused")
def test_a_dose_beside_the_ct_is_refused(read, patient):
    dose = patient.rtdose()
    dose.ImagePositionPatient = [9000.0, 0.0, 0.0]
    with pytest.raises(DataError, match="the dose grid lies outside the CT"):
        read(patient, {"rtdose": dose})


# ---- several doses


def test_the_plans_dose_is_preferred_to_its_beams(read, patient):
    beam = of_beams(patient.rtdose(values=lambda points: dose_at(points) / 2), 1)
    case = read(patient, {"rtdose": [beam, patient.rtdose()]})
    assert case.meta["dose"] == "PLAN"
    assert case.meta["notes"] == ["1 other doses of the plan were not used"]
    whole = read(patient).volumes["dose"]
    np.testing.assert_array_equal(case.volumes["dose"], whole)


def test_beams_are_added(read, patient):
    one = of_beams(patient.rtdose(values=lambda points: 0.25 * dose_at(points)), 1)
    other = of_beams(patient.rtdose(values=lambda points: 0.75 * dose_at(points), size=(13, 44, 54)), 2)
    case = read(patient, {"rtdose": [one, other]})
    assert case.meta["notes"] == ["dose added up from 2 beams"]
    known = case.masks["dose_region"]
    points = patient.points(case.shape, case.affine_ras)
    np.testing.assert_allclose(case.volumes["dose"][known], dose_at(points)[known], atol=1e-4)


@pytest.mark.parametrize(
    ("beams", "plan", "reason"),
    [
        ([(1,)], True, "the plan has 2 beams, the doses of 1 are missing"),
        ([(1,), (1,)], True, "of the same beam"),
        ([(1,), ()], True, "or one names no beam"),
        ([(1,), (2,)], False, "no plan says how many it has"),
    ],
)
def test_beams_that_do_not_make_a_plan_are_refused(read, patient, beams, plan, reason):
    doses = [of_beams(patient.rtdose(), *numbers) for numbers in beams]
    objects = {"rtdose": doses} if plan else {"rtdose": doses, "rtplan": None}
    with pytest.raises(DataError, match=reason):
        read(patient, objects)


def test_doses_of_a_fraction_or_two_of_a_plan_are_refused(read, patient):
    with pytest.raises(DataError, match="the doses are of type FRACTION, none of a plan"):
        read(patient, {"rtdose": patient.rtdose(summation="FRACTION")})
    with pytest.raises(DataError, match="there are 2 doses of type PLAN for one plan"):
        read(patient, {"rtdose": [patient.rtdose(), reissued(patient.rtdose())]})


def boost(patient, share=0.2):
    plan = reissued(patient.rtplan())
    plan.DoseReferenceSequence[0].TargetPrescriptionDose = patient.prescription_gy * share
    dose = reissued(patient.rtdose(values=lambda points: share * dose_at(points)))
    dose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID = plan.SOPInstanceUID
    return plan, dose


def test_a_boost_is_refused_or_added_on_request(read, patient):
    plan, dose = boost(patient)
    objects = {"rtplan": [patient.rtplan(), plan], "rtdose": [patient.rtdose(), dose]}
    with pytest.raises(DataError, match="2 plans have doses for this structure set, perhaps a boost"):
        read(patient, objects)
    case = read(patient, objects, boost="sum")
    assert case.meta["prescription_gy"] == pytest.approx(72.0)
    assert case.meta["fractions"] == 40
    assert case.meta["dose"] == "PLAN + PLAN"
    known = case.masks["dose_region"]
    points = patient.points(case.shape, case.affine_ras)
    np.testing.assert_allclose(case.volumes["dose"][known], 1.2 * dose_at(points)[known], atol=2e-4)


def test_a_dose_of_both_plans_stands_for_them(read, patient):
    plan, dose = boost(patient)
    both = reissued(patient.rtdose(values=lambda points: 1.2 * dose_at(points)), DoseSummationType="MULTI_PLAN")
    both.ReferencedRTPlanSequence = Sequence([*both.ReferencedRTPlanSequence, *dose.ReferencedRTPlanSequence])
    case = read(patient, {"rtplan": [patient.rtplan(), plan], "rtdose": [patient.rtdose(), dose, both]})
    assert case.meta["dose"] == "MULTI_PLAN"
    assert case.meta["dose_max_gy"] > 1.1 * read(patient).meta["dose_max_gy"]


# ---- prescription


def test_a_prescription_that_is_given_wins(read, patient):
    meta = read(patient, prescription_gy=62.0).meta
    assert (meta["prescription_gy"], meta["prescription_source"]) == (62.0, "given")


def test_without_a_plan_the_prescription_is_unknown(read, patient):
    case = read(patient, {"rtplan": None})
    assert case.meta["prescription_gy"] is None
    assert "the prescription is unknown: no RTPLAN in the folder states it" in case.meta["notes"]
    assert "the dose was linked by its frame of reference only" in case.meta["notes"][0]


def test_without_a_target_the_beams_tell_the_prescription(read, patient):
    plan = patient.rtplan()
    del plan.DoseReferenceSequence
    meta = read(patient, {"rtplan": plan}).meta
    assert (meta["prescription_gy"], meta["prescription_source"]) == (60.0, "BeamDose")  # 20 x 3 Gy


def test_of_several_targets_the_highest_counts_and_the_others_are_said(read, patient):
    from dicom_phantoms import _item

    plan = patient.rtplan()
    for dose, structure_type in ((47.0, "VOLUME"), (70.0, "POINT")):
        plan.DoseReferenceSequence.append(
            _item(
                DoseReferenceNumber=9,
                DoseReferenceStructureType=structure_type,
                DoseReferenceType="TARGET",
                TargetPrescriptionDose=dose,
            )
        )
    meta = read(patient, {"rtplan": plan}).meta
    assert meta["prescription_gy"] == 60.0  # the point's 70 Gy does not count beside volumes
    assert meta["notes"] == ["several targets are prescribed: (60.0, 47.0) Gy"]


def test_doses_are_normalized_to_a_common_prescription(read, patient):
    plain, case = read(patient), read(patient, normalize_to_gy=78.0)
    np.testing.assert_allclose(case.volumes["dose"], plain.volumes["dose"] * 1.3, rtol=1e-6)
    assert case.meta["dose_normalized_to_gy"] == 78.0
    assert case.meta["dose_factor"] == pytest.approx(1.3)
    assert case.meta["prescription_gy"] == 60.0
    with pytest.raises(DataError, match="cannot be normalized, as the prescription is unknown"):
        read(patient, {"rtplan": None}, normalize_to_gy=78.0)


@pytest.mark.promise(4, "a dose far above its prescription is refused")
def test_a_dose_far_from_the_prescription_is_refused_above_and_remarked_below(read, patient):
    with pytest.raises(DataError, match="with a prescription of 6 Gy; one of the two may be in cGy"):
        read(patient, prescription_gy=6.0)
    notes = read(patient, prescription_gy=600.0).meta["notes"]
    assert "is it the dose of one fraction?" in notes[0]


def test_a_relative_dose_is_converted_through_the_plan_or_what_is_given(read, patient):
    dose = patient.rtdose(values=lambda points: dose_at(points) / 60)
    dose.DoseUnits = "RELATIVE"
    case = read(patient, {"rtdose": dose})
    np.testing.assert_allclose(case.volumes["dose"], read(patient).volumes["dose"], atol=1e-3)
    with pytest.raises(DataError, match="relative units"):
        read(patient, {"rtdose": dose, "rtplan": None})
    assert read(patient, {"rtdose": dose, "rtplan": None}, prescription_gy=60.0).meta["dose_max_gy"] > 50


def test_the_level_in_a_targets_name_is_the_prescription_if_names_are_asked(read, patient):
    structures = patient.rtstruct()
    for roi in structures.StructureSetROISequence:
        roi.ROIName = roi.ROIName.replace("CTV", "CTV_6200")
    meta = read(patient, {"rtstruct": structures}, prescription_gy="names", names={"CTV": ["/CTV.*/"]}).meta
    assert (meta["prescription_gy"], meta["prescription_source"]) == (62.0, "names of targets")
    assert "the RTPLANs prescribe 60 Gy" in meta["notes"]
    with pytest.raises(DataError, match="no target's name states a dose level"):
        read(patient, prescription_gy="names")


def test_slices_can_be_cropped_to_the_body_and_nothing_else_changes(read, patient):
    slices = patient.ct()
    for each in slices:
        stored = each.pixel_array.copy()
        stored[:, [*range(8), *range(33, 40)]] = (-1000 - each.RescaleIntercept) / each.RescaleSlope
        each.PixelData = stored.tobytes()
    whole, cropped = read(patient, {"ct": slices}), read(patient, {"ct": slices}, body_margin_mm=7.0)
    assert whole.shape[1] - cropped.shape[1] == 15 - 2 * 3  # of 3 mm each
    start = np.rint(np.linalg.inv(whole.affine_ras) @ cropped.affine_ras[:, 3]).astype(int)[:3]
    part = tuple(slice(at, at + size) for at, size in zip(start, cropped.shape, strict=True))
    for name, mask in whole.masks.items():
        assert np.array_equal(mask[part], cropped.masks[name]), name
    assert np.array_equal(whole.volumes["dose"][part], cropped.volumes["dose"])


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("boost", "add"),
        ("sides", "swap"),
        ("ambiguous", "oldest"),
        ("ambiguous", "/(/"),
        ("prescription_gy", "targets"),
        ("body_margin_mm", 0),
        ("need", ["ct"]),
        ("prescription_gy", -1),
        ("pixel_mm", 0),
        ("axcodes", "LPX"),
        ("axcodes", "LRS"),
        ("holes", "and"),
    ],
)
def test_unknown_settings_are_refused(setting, value):
    with pytest.raises(ConfigError, match=setting):
        DicomOptions(**{setting: value})
