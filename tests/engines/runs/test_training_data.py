"""A prediction says what its network was trained on."""

import hashlib

import pydicom
import pytest
from dicom_phantoms import Patient
from known_anatomy import predict, write_ct

from ctan_monai.engines.runs.data_record import write_data_record
from ctan_monai.engines.runs.training_data import trained_on


def record(folder, **changes):
    """Write the record of a run."""
    known = {"synthetic": False, "prescriptions_gy": {"60": 20}, "normalized_to_gy": None, "cases": {"train": 14}}
    write_data_record(folder, {**known, **changes})
    return folder


@pytest.mark.parametrize(
    ("changes", "text", "prescription_gy"),
    [
        ({}, "Trained on 14 patients; prescription 60 Gy.", 60),
        ({"synthetic": True}, "Trained on 14 SYNTHETIC phantoms, no patients; prescription 60 Gy.", 60),
        ({"prescriptions_gy": {"36.25": 3}}, "Trained on 14 patients; prescription 36.25 Gy.", 36.25),
        (
            {"prescriptions_gy": {"60": 12, "74": 7, "unknown": 1}},
            "Trained on 14 patients; MIXED prescriptions: 60 Gy (12), 74 Gy (7), not known (1).",
            None,
        ),
        ({"prescriptions_gy": {"unknown": 20}}, "Trained on 14 patients; prescriptions not known.", None),
        (
            {"prescriptions_gy": {"60": 12, "74": 8}, "normalized_to_gy": 70},
            "Trained on 14 patients; every prescription was scaled to 70 Gy.",
            70,
        ),
        ({"prescriptions_gy": {"60": 19, "unknown": 1}}, "MIXED prescriptions: 60 Gy (19), not known (1).", None),
    ],
)
def test_data_and_prescriptions_are_said(tmp_path, changes, text, prescription_gy):
    found = trained_on(record(tmp_path, **changes))
    assert text in found.text
    assert found.prescription_gy == prescription_gy


def test_where_no_dose_was_learned_nothing_is_said_of_prescriptions(tmp_path):
    write_data_record(tmp_path, {"synthetic": False, "cases": {"train": 14}})
    assert trained_on(tmp_path).text == "Trained on 14 patients."


def test_the_weights_are_told_by_their_digest(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"weights")
    assert hashlib.sha256(b"weights").hexdigest()[:12] in trained_on(record(tmp_path)).text


@pytest.mark.parametrize("run_dir", [None, "empty"])
def test_without_a_record_that_is_said(tmp_path, run_dir):
    found = trained_on(None if run_dir is None else tmp_path)
    assert found.text == "It was not recorded what the network was trained on."
    assert (found.prescription_gy, found.synthetic) == (None, None)


@pytest.mark.parametrize(("doses", "stated"), [({"60": 20}, 60), ({"60": 10, "74": 10}, None)])
def test_objects_carry_it_and_the_plan_states_a_prescription_only_if_there_was_one(tmp_path, doses, stated):
    write_ct(Patient(), tmp_path / "in")
    run_dir = record(tmp_path / "run", prescriptions_gy=doses, synthetic=True)
    out = predict(tmp_path / "in", tmp_path, formats=["rtstruct", "rtdose"], run_dir=run_dir)
    (folder,) = [path for path in out.iterdir() if path.is_dir()]
    plan, structures, dose = (pydicom.dcmread(folder / name) for name in ("RP.dcm", "RS.dcm", "RD.dcm"))
    for text in (plan.RTPlanDescription, structures.StructureSetDescription, dose.ImageComments):
        assert "Trained on 14 SYNTHETIC phantoms" in text
        assert "not for clinical use" in text
    known = [float(each.TargetPrescriptionDose) for each in plan.get("DoseReferenceSequence", [])]
    assert known == ([stated] if stated else [])
    assert ("74 Gy (10)" in plan.RTPlanDescription) == (stated is None)
