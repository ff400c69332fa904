from __future__ import annotations

import pydicom
from dicom_validity import errors_of

from ctan_monai.data.dicom.write import Prescription, write_rtplan


def test_it_holds_the_prescription_and_cannot_be_delivered(reference, origin, fixed, tmp_path):
    path, uid = write_rtplan(Prescription(78, 39), "1.2.3", reference, tmp_path / "p.dcm", origin, **fixed)
    made = pydicom.dcmread(path)
    assert made.SOPInstanceUID == uid
    assert float(made.DoseReferenceSequence[0].TargetPrescriptionDose) == 78
    (group,) = made.FractionGroupSequence
    assert (group.NumberOfFractionsPlanned, group.NumberOfBeams) == (39, 0)
    assert made.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID == "1.2.3"
    assert (made.ApprovalStatus, made.PlanIntent, made.RTPlanLabel) == ("UNAPPROVED", "RESEARCH", "PREDICTED")
    assert "78 Gy in 39 fractions" in made.RTPlanDescription
    assert made.FrameOfReferenceUID == reference.first.FrameOfReferenceUID


def test_dciodvfy_finds_no_error(reference, origin, fixed, tmp_path):
    path, _ = write_rtplan(Prescription(), "1.2.3", reference, tmp_path / "p.dcm", origin, **fixed)
    assert errors_of(path) == []


def test_what_is_not_known_is_not_made_up(reference, origin, fixed, tmp_path):
    path, _ = write_rtplan(None, None, reference, tmp_path / "p.dcm", origin, **fixed)
    made = pydicom.dcmread(path)
    assert "DoseReferenceSequence" not in made
    assert made.FractionGroupSequence[0].NumberOfFractionsPlanned is None
    assert "ReferencedStructureSetSequence" not in made
    assert made.RTPlanGeometry == "TREATMENT_DEVICE"  # the standard's word for: there is no structure set
    assert errors_of(path) == []


def test_a_prescription_without_fractions_states_the_dose_alone(reference, origin, fixed, tmp_path):
    path, _ = write_rtplan(Prescription(74, None), "1.2.3", reference, tmp_path / "p.dcm", origin, **fixed)
    made = pydicom.dcmread(path)
    assert float(made.DoseReferenceSequence[0].TargetPrescriptionDose) == 74
    assert made.FractionGroupSequence[0].NumberOfFractionsPlanned is None
    assert "74 Gy. No beams" in made.RTPlanDescription
    assert errors_of(path) == []
