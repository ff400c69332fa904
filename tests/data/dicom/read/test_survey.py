"""What an export holds, counted, against patients that are known by formula."""

import pytest
from dicom_phantoms import Patient

from ctan_monai.data.dicom.read.survey import survey
from ctan_monai.errors import DataError

SMALL = {"rows": 24, "columns": 30, "slices": 8, "spacing_mm": 6.0, "pixel_mm": (4.0, 4.2)}


def test_an_export_is_counted(tmp_path):
    for number, gy in enumerate((60.0, 78.0, 60.0)):
        patient = Patient(patient_id=f"MRN-{number}", prescription_gy=gy, **SMALL)
        patient.write(tmp_path / f"Doe{number}", **({"rtdose": None} if number == 2 else {}))
    found = survey(tmp_path, progress=False)
    assert found.objects == {"CT": 24, "RTDOSE": 2, "RTPLAN": 3, "RTSTRUCT": 3}
    assert found.patients == 3
    assert found.prescriptions == {"60": 1, "78": 1}  # a plan without its dose is not used
    assert found.prescription_gy == 78
    assert found.grids == {"24 x 30 x 8 of 4 x 4.2 x 6 mm": 3}
    assert {"Rectum", "Bladder"} <= set(found.common())
    assert found.mapping == {}, "all names are in the table"
    assert "MRN" not in str(found)
    assert "Doe" not in str(found)


def test_a_folder_without_a_ct_is_refused(tmp_path):
    Patient(**SMALL).write(tmp_path / "p", ct=[])
    with pytest.raises(DataError, match="there is no CT series; found 1 RTDOSE, 1 RTPLAN, 1 RTSTRUCT"):
        survey(tmp_path, progress=False)
