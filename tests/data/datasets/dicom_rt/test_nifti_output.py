"""Prepared patients as NIfTI: every structure has a file of its own, whatever it is called."""

import json

import nibabel as nib
import numpy as np
from dicom_phantoms import BLADDER, FEMUR_L, FEMUR_R, RECTUM, Patient, dose_at, hu_at

from ctan_monai.data.datasets.dicom_rt.manifest import verify_prepared
from ctan_monai.data.datasets.dicom_rt.prepare import prepare_dicom

SMALL = {"rows": 24, "columns": 30, "slices": 8, "spacing_mm": 6.0, "pixel_mm": (4.0, 4.2)}


def run(folder, out):
    return prepare_dicom(folder, out, kind="nifti", workers=1, progress=False)


def test_nifti_has_every_structure_under_its_own_name_on_the_cts_grid(tmp_path, dice):
    names = {"Rectum": [RECTUM], "my bladder/2": [BLADDER], "a b": [FEMUR_L], "A_B": [FEMUR_R], "dose": [BLADDER]}
    patient = Patient(position="HFP", **SMALL, structures=names)
    patient.write(tmp_path / "in")
    result = run(tmp_path / "in", tmp_path / "out")
    place = tmp_path / "out" / result.accepted[0].case
    found = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    expected = {"ct", "dose", "Rectum", "my_bladder_2", "a_b", "A_B_2", "dose_2", "known/dose"}
    assert found == {f"{name}.nii.gz" for name in expected} | {"case.json"}

    ct = nib.load(place / "ct.nii.gz")
    assert ct.shape == (patient.rows, patient.columns, patient.slices)
    points = patient.points(ct.shape, ct.affine)
    assert np.abs(np.asarray(ct.dataobj) - hu_at(points)).max() <= 1
    known = np.asarray(nib.load(place / "known" / "dose.nii.gz").dataobj) > 0
    dose = np.asarray(nib.load(place / "dose.nii.gz").dataobj)
    np.testing.assert_allclose(dose[known], dose_at(points)[known], atol=1e-4)
    for name, shape in (("Rectum", RECTUM), ("my_bladder_2", BLADDER), ("A_B_2", FEMUR_R)):
        image = nib.load(place / f"{name}.nii.gz")
        mask = np.asarray(image.dataobj)
        assert set(np.unique(mask)) == {0, 1}
        np.testing.assert_allclose(image.affine, ct.affine)
        assert dice(mask > 0, shape.inside(points)) >= 0.999
    record = json.loads((place / "case.json").read_text())
    assert record["meta"]["structures"]["my_bladder_2"] == "my bladder/2"


HOSTILE = (
    "dose region",
    "Dose_Region",
    "CT",
    "dose.",
    "known",
    "known/dose",
    "case",
    "case.json",
    "con",
    "LPT1.x",
    "a" * 63 + ".b",
    "a" * 63 + "/c",
    "same",
    "same",
    "SAME_2",
    "",
    "..",
    "ROI 17",
)


def test_names_that_the_output_uses_itself_or_that_become_alike_keep_a_file_each(tmp_path):
    """Each structure is a box of its own size on a slice of its own; the boxes tell the files apart."""
    patient = Patient(**SMALL)
    down, right = patient.column * patient.pixel_mm[0], patient.row * patient.pixel_mm[1]
    contours, expected = {}, set()
    for number in range(len(HOSTILE)):
        at, size = number % patient.slices, 4 + number
        index = np.array([[0, 0], [size, 0], [size, size + 2], [0, size + 2]]) + 1.5
        contours[f"s{number}"] = [(at, patient.corner(at) + index[:, :1] * down + index[:, 1:] * right)]
        expected.add((at, size * (size + 2)))
    structure_set = patient.rtstruct(contours)
    for entry, name in zip(structure_set.StructureSetROISequence, HOSTILE, strict=True):
        entry.ROIName = name
    patient.write(tmp_path / "in", rtstruct=structure_set)
    result = run(tmp_path / "in", tmp_path / "out")
    place = tmp_path / "out" / result.accepted[0].case
    listed = json.loads((place / "case.json").read_text())["meta"]["structures"]
    assert len({name.lower() for name in listed}) == len(HOSTILE)
    assert not {name.lower() for name in listed} & {"ct", "dose", "known", "case", "dose_region"}
    assert not {name.split(".")[0].lower() for name in listed} & {"con", "lpt1"}  # no files on Windows
    found = set()
    for name in listed:
        mask = np.asarray(nib.load(place / f"{name}.nii.gz").dataobj) > 0
        (slices,) = np.nonzero(mask.any(axis=(0, 1)))
        found.add((int(slices[0]), int(mask.sum())))
    assert found == expected
    assert verify_prepared(tmp_path / "out", progress=False) == (1, [])


def test_a_structure_that_is_called_otherwise_now_leaves_no_old_file(tmp_path):
    patient = Patient(**SMALL)
    patient.write(tmp_path / "in")
    run(tmp_path / "in", tmp_path / "out")
    structure_set = patient.rtstruct()
    structure_set.StructureSetROISequence[0].ROIName = "Enddarm"
    patient.write(tmp_path / "in", rtstruct=structure_set)
    place = tmp_path / "out" / run(tmp_path / "in", tmp_path / "out").accepted[0].case
    assert (place / "Enddarm.nii.gz").is_file()
    assert not (place / "Rectum.nii.gz").exists()


def test_nifti_is_not_written_twice_but_mended(tmp_path):
    Patient(**SMALL).write(tmp_path / "in")
    first = run(tmp_path / "in", tmp_path / "out")
    place = tmp_path / "out" / first.accepted[0].case
    stamp = (place / "ct.nii.gz").stat().st_mtime_ns
    assert run(tmp_path / "in", tmp_path / "out").rows == first.rows
    assert (place / "ct.nii.gz").stat().st_mtime_ns == stamp
    (place / "Rectum.nii.gz").write_bytes(b"")
    assert verify_prepared(tmp_path / "out", progress=False)[1] == [
        f"{place.name}/Rectum.nii.gz has changed since it was written"
    ]
    run(tmp_path / "in", tmp_path / "out")
    assert verify_prepared(tmp_path / "out", progress=False) == (1, [])
