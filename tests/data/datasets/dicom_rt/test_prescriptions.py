"""Prescriptions from a table, by patient or folder: they win over RTPLANs, and errors name lines, never patients."""

import json
import logging

import pytest
from dicom_phantoms import Patient

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.datasets.dicom_rt.inference import dicom_inference_list
from ctan_monai.data.datasets.dicom_rt.prescriptions import read_prescriptions
from ctan_monai.data.datasets.dicom_rt.source_folder import prepared_folder
from ctan_monai.errors import ConfigError, DataError

SMALL = {"rows": 24, "columns": 30, "slices": 8, "spacing_mm": 6.0, "pixel_mm": (4.0, 4.2)}


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    for number in range(3):
        Patient(patient_id=f"Doe{number}", **SMALL).write(folder / "clinic" / str(number))
    return folder


def prepared(export, tmp_path, text, name="table.csv"):
    (tmp_path / name).write_text(text)
    given = {"pixel_mm": 6.0, "workers": 1, "progress": False}
    return prepared_folder(export, tmp_path / "cache", prescription_gy=str(tmp_path / name), **given)


@pytest.mark.parametrize(
    "text",
    [
        "patient,prescription_gy\nDoe0,50.4\nDoe2,66\nDoe9,70\n",
        "folder;prescription_gy\nclinic;50.4\nclinic\\2;66\nelse/where;70\n",
    ],
)
def test_a_table_prescribes_by_patient_or_by_folder_the_inner_of_which_counts(export, tmp_path, caplog, text):
    with caplog.at_level(logging.INFO):
        folder = prepared(export, tmp_path, text)
    counts = json.loads((folder / "datalist.json").read_text())["prescriptions_gy"]
    assert counts == ({"50.4": 1, "60": 1, "66": 1} if "patient" in text else {"50.4": 2, "66": 1})
    assert "1 of 3 lines of" in caplog.text
    assert "Doe" not in caplog.text.replace(str(export), "")
    with pytest.raises(ConfigError, match=r"prepared already.*--prescription"):
        prepared(folder, tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient,gy\nDoe0,60\n", "it has the columns patient, gy"),
        ("patient,folder,prescription_gy\nDoe0,a,60\n", "it has the columns"),
        ("patient,prescription_gy\nDoe0,6000\n", "line 2: prescription_gy is '6000', expected Gy"),
        ("patient,prescription_gy\nDoe0,\n", "line 2: prescription_gy is '', expected Gy"),
        ("patient,prescription_gy\nDoe0,60\nDoe0,66\n", "line 3: its patient is that of line 2 too"),
        ("patient,prescription_gy\n,60\n", "line 2: its patient is missing"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_line(tmp_path, text, message):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as found:
        read_prescriptions(path)
    assert "Doe" not in str(found.value)


def test_a_table_of_other_patients_is_refused(export, tmp_path):
    with pytest.raises(DataError, match="none of its 1 lines is of one of the PatientIDs"):
        prepared(export, tmp_path, "patient,prescription_gy\nother,60\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("patient,prescription_gy\nDoe0,50.4\nDoe2,66\n", [50.4, 60.0, 66.0]),
        ("patient,prescription_gy\nwho was trained on,50.4\n", [60.0, 60.0, 60.0]),  # new patients have RTPLANs
    ],
)
def test_inference_with_contours_reads_prescriptions_from_a_table(export, tmp_path, caplog, text, expected):
    (tmp_path / "table.csv").write_text(text)
    contours = {"prescription_gy": str(tmp_path / "table.csv")}
    with caplog.at_level(logging.INFO):
        items = dicom_inference_list(export, tmp_path / "cache", 6.0, contours=contours, workers=1, progress=False)
    assert sorted(read_case_file(item["file"]).meta["prescription_gy"] for item in items) == sorted(expected)
    assert f"{sum(gy != 60 for gy in expected)} of 3 CT series have their prescription from" in caplog.text
    assert "Doe" not in caplog.text.replace(str(export), "")
