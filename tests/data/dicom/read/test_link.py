"""What belongs together is found by UID, and what is ambiguous or incomplete is said."""

import copy
import itertools

import pytest
from dicom_phantoms import Patient, _item, save_all
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from ctan_monai.data.dicom.read.link import link
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.data.dicom.read.scan import scan
from ctan_monai.data.dicom.read.select import select
from ctan_monai.errors import DataError

SMALL = {"rows": 8, "columns": 9, "slices": 3, "structures": {}}


@pytest.fixture
def linked(tmp_path):
    """Write objects and link them."""
    count = itertools.count()

    def run(*objects, **options):
        flat = [each for found in objects for each in (found if isinstance(found, list) else [found])]
        folder = tmp_path / str(next(count))
        save_all(flat, folder)
        return link(scan(folder, progress=False).objects, **options)

    return run


def parts(patient):
    return [*patient.ct(), patient.rtstruct(), patient.rtplan(), patient.rtdose()]


def reissued(dataset, **attributes):
    """Give an object a UID of its own."""
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def test_two_patients_in_one_folder_are_told_apart(linked):
    one, other = Patient(patient_id="1", **SMALL), Patient(patient_id="2", **SMALL)
    found, unlinked = linked(parts(one), parts(other))
    assert not unlinked
    assert {each.identity: len(each.ct) for each in found} == {"1": 3, "2": 3}
    for each, patient in zip(sorted(found, key=lambda each: each.identity), (one, other), strict=True):
        study = select(each, DicomOptions())
        assert study.structure_set.sop_uid == patient.struct_uid
        assert [group.plan.sop_uid for group in study.plan_doses] == [patient.plan_uid]
        assert [dose.sop_uid for group in study.plan_doses for dose in group.doses] == [patient.dose_uid]


def test_of_two_cts_of_one_patient_the_structure_set_says_which_it_is(linked):
    patient = Patient(**SMALL)
    other = Patient(patient_id=patient.patient_id, study_uid=patient.study_uid, frame_uid=patient.frame_uid, **SMALL)
    found, _ = linked(parts(patient), other.ct())
    chosen = {each.ct[0].series_uid: each for each in found}
    assert select(chosen[patient.series_uid], DicomOptions()).structure_set.sop_uid == patient.struct_uid
    with pytest.raises(DataError, match="no structure set refers to this CT series"):
        select(chosen[other.series_uid], DicomOptions())


def test_a_structure_set_that_names_images_but_no_series_is_linked_by_them(linked):
    patient = Patient(**SMALL)
    structure_set = patient.rtstruct()
    study = structure_set.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    study.RTReferencedSeriesSequence[0].SeriesInstanceUID = generate_uid()
    found, unlinked = linked(patient.ct(), structure_set)
    assert not unlinked
    assert found[0].structure_sets[0].header.sop_uid == patient.struct_uid


def test_a_structure_set_that_names_nothing_is_linked_by_an_only_ct_of_its_frame(linked):
    patient = Patient(**SMALL)
    structure_set = patient.rtstruct()
    del structure_set.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence
    found, unlinked = linked(patient.ct(), structure_set)
    assert not unlinked
    assert len(found[0].structure_sets) == 1


def test_a_structure_set_that_names_nothing_and_fits_two_cts_is_not_guessed(linked):
    patient = Patient(**SMALL)
    other = Patient(patient_id=patient.patient_id, frame_uid=patient.frame_uid, **SMALL)
    structure_set = patient.rtstruct()
    del structure_set.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence
    _, unlinked = linked(patient.ct(), other.ct(), structure_set)
    assert [each.reason for each in unlinked] == ["it refers to 2 CT series in the folder, expected one."]


def test_a_structure_set_of_images_that_are_not_there_is_left_out(linked):
    patient, absent = Patient(**SMALL), Patient(**SMALL)
    _, unlinked = linked(patient.ct(), absent.rtstruct())
    assert "not among the CT series in the folder" in unlinked[0].reason


def test_without_its_plan_a_dose_is_linked_by_an_only_ct_of_its_frame(linked):
    patient = Patient(**SMALL)
    found, unlinked = linked(patient.ct(), patient.rtstruct(), patient.rtdose())
    assert not unlinked
    (group,) = found[0].structure_sets[0].plan_doses
    assert group.plan is None
    assert group.doses[0].sop_uid == patient.dose_uid


def test_a_dose_that_belongs_nowhere_and_one_that_could_belong_to_two_are_left_out(linked):
    patient, absent = Patient(**SMALL), Patient(**SMALL)
    _, unlinked = linked(patient.ct(), patient.rtstruct(), absent.rtdose())
    assert "neither its plan nor a CT of its frame" in unlinked[0].reason

    other = reissued(patient.rtstruct())
    _, unlinked = linked(patient.ct(), patient.rtstruct(), other, patient.rtdose())
    assert "2 could be its" in unlinked[0].reason


def test_of_two_structure_sets_that_of_the_dose_is_taken(linked):
    patient = Patient(**SMALL)
    found, _ = linked(parts(patient), reissued(patient.rtstruct()))
    study = select(found[0], DicomOptions())
    assert study.structure_set.sop_uid == patient.struct_uid
    assert study.notes == ("of 2 structure sets the one of the planned dose was taken",)


def test_two_structure_sets_without_a_dose_are_ambiguous_unless_the_newest_is_asked_for(linked):
    patient = Patient(**SMALL)
    newer = reissued(patient.rtstruct(), StructureSetDate="20250101")
    found, _ = linked(patient.ct(), patient.rtstruct(), newer)
    with pytest.raises(DataError, match="2 structure sets were drawn on this CT series, and none of them has a dose"):
        select(found[0], DicomOptions(need=("structures",)))
    study = select(found[0], DicomOptions(need=("structures",), ambiguous="newest"))
    assert study.structure_set.sop_uid == newer.SOPInstanceUID
    newer.StructureSetDate = "20240101"
    found, _ = linked(patient.ct(), patient.rtstruct(), newer)
    with pytest.raises(DataError, match="2 structure sets"):  # none is the newest
        select(found[0], DicomOptions(need=("structures",), ambiguous="newest"))


def test_of_several_structure_sets_the_approved_or_the_one_of_a_label_is_taken_if_it_is_one(linked):
    patient = Patient(**SMALL)
    first = patient.rtstruct()
    first.StructureSetLabel, first.ApprovalStatus = "Final RS", "APPROVED"
    draft = reissued(patient.rtstruct(), StructureSetLabel="draft", ApprovalStatus="UNAPPROVED")
    found, _ = linked(patient.ct(), first, draft, patient.rtplan(), patient.rtdose())
    for rule, uid in (("/dra.*/", draft.SOPInstanceUID), ("/final rs/", patient.struct_uid)):
        study = select(found[0], DicomOptions(ambiguous=rule))
        assert study.structure_set.sop_uid == uid
        assert study.plan_doses[0].doses[0].sop_uid == patient.dose_uid
        assert study.notes[0] == f"of 2 structure sets the one was taken that --ambiguous {rule} asks for"
    assert study.notes[1:] == ()
    with pytest.raises(DataError, match=r"0 of 2 structure sets .* have a label that matches, as --ambiguous /RS/"):
        select(found[0], DicomOptions(ambiguous="/RS/"))
    found, _ = linked(patient.ct(), first, draft)
    need = {"need": ("structures",), "ambiguous": "approved"}
    assert select(found[0], DicomOptions(**need)).structure_set.sop_uid == patient.struct_uid
    draft.ApprovalStatus = "APPROVED"
    found, _ = linked(patient.ct(), first, draft)
    with pytest.raises(DataError, match="2 of 2 structure sets on this CT series are approved"):
        select(found[0], DicomOptions(**need))


def test_what_is_missing_is_refused_unless_it_is_not_needed(linked):
    patient = Patient(**SMALL)
    found, _ = linked(patient.ct(), patient.rtstruct())
    with pytest.raises(DataError, match="no dose belongs to this CT series"):
        select(found[0], DicomOptions())
    assert select(found[0], DicomOptions(need=("structures",))).plan_doses == ()

    lone = Patient(patient_id="3", **SMALL)
    found, _ = linked(lone.ct(), lone.rtdose())
    with pytest.raises(DataError, match="no structure set"):
        select(found[0], DicomOptions())
    study = select(found[0], DicomOptions(need=("dose",)))
    assert study.structure_set is None
    assert study.plan_doses[0].doses[0].sop_uid == lone.dose_uid


def test_a_copy_of_a_file_is_passed_over_and_a_contradiction_is_not(linked):
    patient = Patient(**SMALL)
    objects = parts(patient)
    found, unlinked = linked(objects, copy.deepcopy(objects[3]))
    assert not unlinked
    assert len(found[0].structure_sets) == 1

    changed = copy.deepcopy(objects[3])
    changed.StructureSetLabel = "other"
    found, unlinked = linked(objects, changed)
    assert "two files with its UID have different contents" in unlinked[0].reason
    assert found[0].structure_sets == ()


def test_scouts_are_no_slices_and_other_modalities_stay_out(linked):
    patient = Patient(**SMALL)
    scout, mr = patient.ct()[:2]
    reissued(scout, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    reissued(mr, SOPClassUID="1.2.840.10008.5.1.4.1.1.4", Modality="MR")
    enhanced = reissued(patient.ct()[2], SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1")
    found, unlinked = linked(parts(patient), scout, mr, enhanced)
    assert len(found[0].ct) == 3
    assert ["enhanced (multi-frame) CT" in each.reason for each in unlinked] == [True]


def test_a_patient_without_ct_is_listed(linked):
    images = Patient(**SMALL).ct()
    for image in images:
        image.SOPClassUID, image.Modality = "1.2.840.10008.5.1.4.1.1.4", "MR"
    found, unlinked = linked(images)
    assert not found
    assert unlinked[0].reason == "its patient has no CT, only 3 mr."


def test_patients_with_equal_or_no_ids_can_be_told_apart_by_study(linked):
    one, other = Patient(patient_id="ANON", **SMALL), Patient(patient_id="ANON", **SMALL)
    found, _ = linked(parts(one), parts(other), patient_by="study")
    assert len({each.identity for each in found}) == 2
    none, either = Patient(patient_id="", **SMALL), Patient(patient_id="", **SMALL)
    found, _ = linked(parts(none), parts(either))
    assert {each.identity for each in found} == {f"study {none.study_uid}", f"study {either.study_uid}"}


# ---- the reason is true, and the remedy leads on


def strays_by_kind(unlinked):
    return {each.header.kind: (each.reason, each.remedy) for each in unlinked}


def without_references(structure_set, frames=True):
    """Take ReferencedFrameOfReferenceSequence out, which is optional; and the structures' frames if asked for."""
    del structure_set.ReferencedFrameOfReferenceSequence
    for each in structure_set.StructureSetROISequence:
        each.ReferencedFrameOfReferenceUID = each.ReferencedFrameOfReferenceUID if frames else ""
    return structure_set


def naming(structure_set, uids):
    """Let the contours name images."""
    for drawn in structure_set.ROIContourSequence:
        for contour, uid in zip(drawn.ContourSequence, uids, strict=False):
            contour.ContourImageSequence = Sequence([_item(ReferencedSOPInstanceUID=uid)])
    return structure_set


DRAWN = {"rows": 8, "columns": 9, "slices": 3}


def test_contours_that_name_images_link_a_structure_set_without_optional_references(linked):
    patient = Patient(**DRAWN)
    other = Patient(patient_id=patient.patient_id, frame_uid=patient.frame_uid, **SMALL)
    structure_set = naming(without_references(patient.rtstruct(), frames=False), patient.ct_uids)
    del structure_set.FrameOfReferenceUID
    found, unlinked = linked(patient.ct(), other.ct(), structure_set)
    assert not unlinked
    sets = {each.ct[0].series_uid: len(each.structure_sets) for each in found}
    assert sets == {patient.series_uid: 1, other.series_uid: 0}


def test_the_structures_frame_of_reference_links_where_nothing_else_does(linked):
    patient = Patient(**DRAWN)
    found, unlinked = linked(patient.ct(), without_references(patient.rtstruct()))
    assert not unlinked
    assert len(found[0].structure_sets) == 1


def test_the_same_series_under_two_frames_of_reference_keeps_the_images_of_both(linked):
    patient = Patient(**SMALL)
    structure_set = patient.rtstruct()
    first = structure_set.ReferencedFrameOfReferenceSequence[0]
    second = copy.deepcopy(first)
    second.FrameOfReferenceUID = generate_uid()
    for item, numbers in ((first, (0, 1)), (second, (2,))):
        series = item.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
        series.ContourImageSequence = Sequence([series.ContourImageSequence[number] for number in numbers])
    structure_set.ReferencedFrameOfReferenceSequence.append(second)
    found, _ = linked(patient.ct(), structure_set)
    (header,) = (each.header for each in found[0].structure_sets)
    assert header.images == {patient.series_uid: frozenset(patient.ct_uids)}
    assert {len(images) for images in header.frame_images.values()} == {1, 2}


def test_a_structure_set_that_names_nothing_says_which_attributes_are_absent(linked):
    patient = Patient(**DRAWN)
    structure_set = without_references(patient.rtstruct(), frames=False)
    del structure_set.FrameOfReferenceUID
    _, unlinked = linked(patient.ct(), structure_set)
    assert "ReferencedFrameOfReferenceSequence, ContourImageSequence and" in strays_by_kind(unlinked)["RTSTRUCT"][0]


@pytest.mark.parametrize("patient_id", ["", "0MRN"])
def test_another_patient_id_is_named_and_the_way_out_works(linked, patient_id):
    patient = Patient(**SMALL)
    others = [patient.rtstruct(), patient.rtplan(), patient.rtdose()]
    for each in others:
        each.PatientID = patient_id
    found, unlinked = linked(patient.ct(), others)
    with pytest.raises(DataError, match="refers to this CT series; one under another PatientID") as caught:
        select(found[0], DicomOptions())
    assert "--patient-by study" in caught.value.remedy
    for kind in ("RTSTRUCT", "RTDOSE"):
        reason, remedy = strays_by_kind(unlinked)[kind]
        assert "in the folder, under another PatientID" in reason
        assert remedy == "Pass --patient-by study, or correct the PatientID."
    found, unlinked = linked(patient.ct(), others, patient_by="study")
    assert not unlinked
    assert select(found[0], DicomOptions()).structure_set.sop_uid == patient.struct_uid


def test_a_slice_that_calls_itself_a_localizer_is_listed_if_a_structure_set_refers_to_it(linked):
    patient = Patient(**SMALL)
    images = patient.ct()
    images[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    _, unlinked = linked(images, patient.rtstruct())
    (found,) = [each for each in unlinked if each.header.sop_uid == images[0].SOPInstanceUID]
    assert "ImageType says LOCALIZER" in found.reason
    assert "ImageType" in found.remedy
    images[0].SOPInstanceUID = generate_uid()  # a scout of which no structure set knows
    _, unlinked = linked(images, patient.rtstruct())
    assert images[0].SOPInstanceUID not in [each.header.sop_uid for each in unlinked]


def test_another_study_is_named_where_patients_are_told_apart_by_it(linked):
    patient = Patient(**SMALL)
    structure_set = patient.rtstruct()
    structure_set.StudyInstanceUID = generate_uid()
    _, unlinked = linked(patient.ct(), structure_set, patient_by="study")
    reason, remedy = strays_by_kind(unlinked)["RTSTRUCT"]
    assert reason == "the images it refers to are in the folder, under another StudyInstanceUID."
    assert remedy == "Pass --patient-by id."


def test_a_plan_under_another_patient_id_than_its_dose_is_listed(linked):
    patient = Patient(**SMALL)
    plan = patient.rtplan()
    plan.PatientID = "0MRN"
    _, unlinked = linked(patient.ct(), patient.rtstruct(), plan, patient.rtdose())
    reasons = [each.reason for each in unlinked if each.header.kind == "RTPLAN"]
    assert "a dose under another PatientID refers to it." in reasons


def test_a_ct_of_single_image_series_is_one_finding(linked):
    patient = Patient(rows=8, columns=9, slices=6, structures={})
    images = patient.ct()
    for image in images:
        image.SeriesInstanceUID = generate_uid()
    found, unlinked = linked(images, patient.rtstruct(), patient.rtplan(), patient.rtdose())
    assert not found
    said = strays_by_kind(unlinked)
    assert said["CT"][0] == "6 CT series of one image each: every image has a SeriesInstanceUID of its own."
    assert said["RTSTRUCT"][0] == "it refers to 6 images that are 6 CT series of one image each."
    assert said["RTDOSE"][0] == "its structure set is in the folder, but belongs to no CT series."
    assert len(unlinked) == 3


def test_images_that_are_no_ct_and_uids_that_were_replaced_are_told_apart(linked):
    patient = Patient(**SMALL)
    images = patient.ct()
    for image in images:
        image.SOPClassUID, image.Modality = "1.2.840.10008.5.1.4.1.1.4", "MR"
    _, unlinked = linked(images, patient.rtstruct())
    assert strays_by_kind(unlinked)["RTSTRUCT"][0] == "the images it refers to are no CT series (3 mr)."

    anew = Patient(frame_uid=patient.frame_uid, **SMALL)
    _, unlinked = linked(anew.ct(), patient.rtstruct())
    reason, remedy = strays_by_kind(unlinked)["RTSTRUCT"]
    assert "not among the CT series in the folder; a CT of its frame of reference is." in reason
    assert "other UIDs" in remedy


def test_everything_that_is_left_out_has_a_remedy(linked):
    patient, absent = Patient(**SMALL), Patient(**SMALL)
    changed = copy.deepcopy(patient.rtstruct())
    changed.StructureSetLabel = "other"
    enhanced = reissued(patient.ct()[2], SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1")
    lone = reissued(Patient(patient_id="7", **SMALL).rtplan())
    _, unlinked = linked(patient.ct(), patient.rtstruct(), changed, absent.rtstruct(), absent.rtdose(), enhanced, lone)
    assert len(unlinked) == 5
    assert all(each.remedy for each in unlinked)
