"""The prostate bundle's data: DICOM, what was prepared of it, or synthetic patients that go the way of DICOM."""

import json
import logging
import shutil

import pytest
from dicom_phantoms import Patient

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.datasets.dicom_rt.datalist import data_record, dicom_datalist
from ctan_monai.data.datasets.dicom_rt.source_folder import prepared_folder
from ctan_monai.data.phantom import PhantomGrid
from ctan_monai.errors import ConfigError, DataError

SMALL = {"rows": 24, "columns": 30, "slices": 8, "spacing_mm": 6.0, "pixel_mm": (4.0, 4.2)}
COARSE = PhantomGrid(rows=60, columns=90, slices=12, row_mm=5.0, column_mm=5.0, slice_mm=8.0)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    for number in range(3):
        Patient(patient_id=str(number), **SMALL).write(folder / str(number))
    return folder


@pytest.fixture(scope="module")
def prepared(export, tmp_path_factory):
    return prepared_folder(export, tmp_path_factory.mktemp("cache"), pixel_mm=6.0, workers=1, progress=False)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return prepared_folder(None, cache, 6.0, phantoms=3, phantom_grid=COARSE, workers=1, progress=False)


def test_synthetic_patients_go_the_way_of_dicom_and_say_what_they_are(synthetic):
    assert [
        len(files) for files in (list((synthetic.parent / "dicom").rglob(f"{kind}*.dcm")) for kind in ("CT", "RS"))
    ] == [
        3 * 12,
        3,
    ]
    record = data_record(synthetic)
    assert record["synthetic"] is True
    assert record["prescriptions_gy"] == {"60": 3}
    assert record["normalized_to_gy"] is None
    assert record["cases"] == {"train": 1, "validation": 1, "test": 1}
    (item,) = dicom_datalist(synthetic, "unused")["train"]
    case = read_case_file(item["file"])
    assert {"Rectum", "Bladder", "Femur_L", "Femur_R", "CTV", "PTV", "External", "dose_region"} <= set(case.masks)
    assert case.spacing_mm == pytest.approx((6.0, 6.0, 8.0))
    assert case.meta["synthetic"] is True
    assert 55 < case.volumes["dose"][case.masks["PTV"]].mean() < 63


def test_synthetic_patients_are_made_once_and_are_called_alike_everywhere(synthetic, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        again = prepared_folder(None, synthetic.parent.parent, 6.0, phantoms=3, phantom_grid=COARSE, workers=1)
    assert again == synthetic
    assert "3 phantoms" in caplog.text
    assert "3 patients, 0 to be made" in caplog.text
    shutil.copytree(synthetic.parent / "dicom", tmp_path / synthetic.parent.name / "dicom")
    other = prepared_folder(None, tmp_path, 6.0, phantoms=3, phantom_grid=COARSE, workers=1, progress=False)
    assert other != synthetic
    names = [sorted(path.name for path in folder.glob("cases/*")) for folder in (synthetic, other)]
    assert names[0] == names[1]
    assert len(names[0]) == 3


def test_other_synthetic_patients_get_another_folder(synthetic):
    cache = synthetic.parent.parent
    more = prepared_folder(None, cache, 6.0, phantoms=4, phantom_grid=COARSE, workers=1, progress=False)
    assert more.parent != synthetic.parent


def test_fewer_synthetic_patients_than_splits_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"phantoms: 2 was found\. Remedy: Make at least 3"):
        prepared_folder(None, tmp_path, phantoms=2)


def test_a_split_without_patients_is_refused_with_what_to_do(export, tmp_path):
    made = prepared_folder(export, tmp_path, 6.0, split_fractions=(1.0, 0.0, 0.0), workers=1, progress=False)
    with pytest.raises(DataError) as caught:
        dicom_datalist(made, "unused")
    assert "no patient was found for ['validation']; the splits hold {'train': 3, 'validation': 0, 'test': 0}" in str(
        caught.value
    )
    assert "Add patients (three fill every split), or prepare them with other split fractions" in str(caught.value)


def test_a_folder_of_dicom_is_prepared_with_the_settings(export, prepared):
    assert data_record(prepared)["synthetic"] is False
    (item,) = dicom_datalist(prepared, "unused")["train"]
    assert read_case_file(item["file"]).spacing_mm[:2] == pytest.approx((6.0, 6.0))


def test_a_prepared_folder_is_taken_as_it_is(prepared, tmp_path):
    assert prepared_folder(prepared, tmp_path / "unused", pixel_mm=6.0) == prepared
    assert prepared_folder(prepared, tmp_path / "unused", pixel_mm=None) == prepared
    assert not (tmp_path / "unused").exists()


def test_a_prepared_folder_of_another_pixel_size_is_refused_with_what_to_do(prepared):
    with pytest.raises(ConfigError) as caught:
        prepared_folder(prepared, "unused", pixel_mm=3.0)
    assert "pixels of 6 x 6 mm, expected 3 mm" in str(caught.value)
    assert "--pixel-mm 3, or give --pixel_mm 6" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"normalize_to_gy": 60.0}, "normalize_to_gy"),
        ({"prescription_gy": 60.0}, "prescription_gy"),
        ({"options": {"boost": "sum"}}, "boost"),
        ({"names": {"Rectum": ["rec"]}}, "names"),
    ],
)
def test_settings_that_come_too_late_for_a_prepared_folder_are_refused(prepared, options, named):
    with pytest.raises(ConfigError, match=f"{named}: .* was prepared with"):
        prepared_folder(prepared, "unused", pixel_mm=6.0, **options)


def test_settings_that_it_was_prepared_with_may_be_repeated(export, tmp_path, monkeypatch):
    (tmp_path / "names.yaml").write_text("Rectum: [Rectum, rec]\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    options = {
        "names": "~/names.yaml",
        "normalize_to_gy": 30.0,
        "prescription_gy": 60.0,
        "options": {"need": ["structures"]},
    }
    made = prepared_folder(export, tmp_path / "cache", 6.0, workers=1, progress=False, **options)
    assert prepared_folder(made, "unused", 6.0, **options) == made
    assert data_record(made)["normalized_to_gy"] == 30.0
    assert data_record(made)["prescriptions_gy"] == {"60": 3}


@pytest.mark.parametrize("options", [{"bost": "sum"}, {"pixel_mm": 2.0}, "boost"])
def test_further_settings_that_there_are_not_are_refused(tmp_path, options):
    with pytest.raises(ConfigError, match=r"dicom: .* Give some of \['ambiguous'"):
        prepared_folder(tmp_path, tmp_path / "cache", options=options)


def test_a_folder_without_dicom_is_refused(tmp_path):
    with pytest.raises(DataError):
        prepared_folder(tmp_path / "nothing", tmp_path / "cache", progress=False)


def test_mixed_prescriptions_are_warned_of_whenever_a_bundle_lists_its_cases(prepared, tmp_path, caplog):
    copy = tmp_path / "mixed"
    shutil.copytree(prepared, copy)
    content = json.loads((copy / "datalist.json").read_text())
    (copy / "datalist.json").write_text(json.dumps({**content, "prescriptions_gy": {"60": 2, "78": 1}}))
    dicom_datalist(copy, "unused")
    assert "mixed prescriptions, cases by Gy: {'60': 2, '78': 1}" in caplog.text
