"""NIfTI whose header says two things, or whose name says another than its content."""

import gzip
import logging
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from tabular_data import full_case, ramp, volume_layout, write_csv

from ctan_monai.data.datasets.tabular.checks import check_table
from ctan_monai.data.datasets.tabular.datalist import tabular_datalist
from ctan_monai.data.formats.ct_source import keep_nifti_source, read_source
from ctan_monai.data.formats.nifti import load_nifti, nifti_grid, read_nifti_case, write_nifti
from ctan_monai.errors import DataError

HU = (np.arange(120).reshape(6, 5, 4) * 9 - 400).astype(np.int16)
RAS = np.array([[0.7, 0, 0, -100], [0, 0.7, 0, 40], [0, 0, 3.0, 5], [0, 0, 0, 1]])
MIRRORED = np.diag([-1.0, 1, 1, 1]) @ RAS
TILT = RAS @ np.array([[1, 0, 0, 0], [0, 1, 1.6, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # a gantry's


def image_with(sform, qform, codes=(1, 1), values=HU):
    """Return an image whose two forms are given."""
    image = nib.Nifti1Image(values, sform)
    image.set_sform(sform, code=codes[0])
    image.set_qform(qform, code=codes[1])
    return image


def notes_of(path):
    notes = []
    load_nifti(path, "p", notes=notes)
    return notes


# ---- sform and qform


@pytest.mark.parametrize(
    ("qform", "told"),
    [
        (MIRRORED, "put voxels up to 200.0 mm apart, one of them mirrored"),
        (RAS + np.array([[0, 0, 0, 2], [0] * 4, [0] * 4, [0] * 4]), "up to 2.0 mm apart; the sform is followed"),
        (TILT, "mm apart"),
    ],
    ids=["mirrored", "moved", "tilted"],
)
@pytest.mark.promise(4, "a NIfTI whose sform and qform put its voxels at different places is told, file by file")
def test_forms_that_disagree_are_told_and_the_sform_followed(tmp_path, caplog, qform, told):
    path = tmp_path / "p.nii.gz"
    nib.save(image_with(RAS, qform), path)
    (note,) = notes_of(path)
    assert told in note
    with caplog.at_level(logging.WARNING):
        case = read_nifti_case(path)
    assert f"{path}: its sform (code 1) and its qform (code 1)" in caplog.text
    np.testing.assert_allclose(case.affine_ras, RAS, atol=1e-6)


def test_rounding_and_one_form_alone_are_no_disagreement(tmp_path):
    path = tmp_path / "p.nii.gz"
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    oblique = np.eye(4)
    oblique[:3] = np.c_[turn @ np.diag([0.9765625, 0.9765625, 2.5]), [-250, 31.25, 900]]
    rounded = oblique.copy()
    rounded[:3, :3] = turn @ np.diag([0.977, 0.977, 2.5])
    for forms in ((oblique, oblique), (oblique, rounded)):
        nib.save(image_with(*forms), path)
        assert notes_of(path) == []
    for codes in ((1, 0), (0, 1), (2, 0)):
        nib.save(image_with(RAS, RAS if codes[1] else MIRRORED, codes), path)
        assert notes_of(path) == []
        np.testing.assert_allclose(load_nifti(path, "p")[1], RAS, atol=1e-6)
    nib.save(image_with(RAS, RAS, (0, 0)), path)
    assert "left and right may be exchanged" in notes_of(path)[0]


def test_a_table_of_such_files_is_told_by_verify_and_at_each_training(tmp_path, caplog):
    rows = []
    for number in range(4):
        row = full_case(tmp_path, f"p{number}", split=["train", "validation"][number % 2])
        nib.save(image_with(RAS, RAS, values=ramp() + number), tmp_path / row["image"])
        for name in (row["tumour"], row["dose"]):
            nib.save(image_with(RAS, RAS, values=np.asarray(nib.load(tmp_path / name).dataobj)), tmp_path / name)
        rows.append(row)
    nib.save(image_with(RAS, MIRRORED, values=ramp()), tmp_path / "p0_ct.nii.gz")
    layout = volume_layout()
    table = write_csv(tmp_path / "cases.csv", rows)
    found = check_table(table, None, layout, progress=False)
    (note,) = [problem.what for problem in found.problems if "qform" in problem.what]
    assert note.startswith("p0_ct.nii.gz: its sform (code 1)")
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            tabular_datalist(table, tmp_path / "cache", layout.tasks, layout.image_channels, workers=0, progress=False)
        assert caplog.text.count("p0_ct.nii.gz: its sform") == 1


@pytest.mark.parametrize("affine_ras", [RAS, MIRRORED, RAS[[1, 2, 0, 3]]])
def test_what_is_written_lies_at_one_place_for_all_readers(tmp_path, affine_ras):
    write_nifti(HU, affine_ras, tmp_path / "a.nii.gz")
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.header["sform_code"] == image.header["qform_code"] == 1
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
    read = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    for index in ((0, 0, 0), (5, 4, 3)):
        lps = read.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(np.array(lps) * [-1, -1, 1], (affine_ras @ [*index, 1])[:3], atol=1e-3)


def test_a_sheared_grid_is_written_with_its_sform_alone(tmp_path):
    write_nifti(HU, TILT, tmp_path / "a.nii.gz")
    image = nib.load(tmp_path / "a.nii.gz")
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 0)
    np.testing.assert_allclose(image.affine, TILT, atol=1e-5)
    assert notes_of(tmp_path / "a.nii.gz") == []


# ---- sizes of voxels


@pytest.mark.parametrize("step", [0.0, -0.7, np.nan])
def test_a_size_of_0_is_refused_where_it_counts(tmp_path, step):
    for codes, refused in (((0, 1), True), ((0, 0), True), ((1, 0), False)):
        nib.save(image_with(RAS, RAS, codes), tmp_path / "p.nii")
        content = bytearray((tmp_path / "p.nii").read_bytes())
        content[80:84] = struct.pack("<f", step)  # pixdim[1]
        (tmp_path / "p.nii").write_bytes(content)
        if refused:
            with pytest.raises(DataError, match=rf"its voxels measure {step:g} x 0.7 x 3 mm"):
                load_nifti(tmp_path / "p.nii", "p")
        else:
            np.testing.assert_allclose(load_nifti(tmp_path / "p.nii", "p")[1], RAS, atol=1e-6)


# ---- axes of length 1


@pytest.mark.parametrize("extra", [(1,), (1, 1)])
def test_axes_of_length_1_behind_the_third_are_none(tmp_path, extra):
    nib.save(nib.Nifti1Image(HU.reshape(*HU.shape, *extra), RAS), tmp_path / "p.nii.gz")
    values, affine_ras = load_nifti(tmp_path / "p.nii.gz", "p")
    np.testing.assert_array_equal(values, HU)
    np.testing.assert_allclose(affine_ras, RAS, atol=1e-6)
    assert nifti_grid(tmp_path / "p.nii.gz")[0] == HU.shape
    both = np.stack([HU, HU[::-1]], -1)
    nib.save(nib.Nifti1Image(both[:, :, :, None], RAS), tmp_path / "c.nii.gz")  # as ITK writes vectors
    np.testing.assert_array_equal(load_nifti(tmp_path / "c.nii.gz", "c", channels=2)[0], both)
    with pytest.raises(DataError, match=r"its shape is \(6, 5, 4, 1, 2\)"):
        load_nifti(tmp_path / "c.nii.gz", "c")


# ---- names and contents


@pytest.mark.parametrize("name", ["P1_CT.NII.GZ", "p1.Nii", "packed.nii", "plain.nii.gz"])
def test_the_content_counts_and_not_the_case_of_the_name_or_its_gz(tmp_path, name):
    nib.save(image_with(RAS, RAS), tmp_path / "a.nii")
    plain = (tmp_path / "a.nii").read_bytes()
    packed = name.startswith("packed") or name.endswith("GZ")
    (tmp_path / name).write_bytes(gzip.compress(plain) if packed else plain)
    case = read_nifti_case(tmp_path / name)
    assert case.case == name[: name.lower().index(".nii")]
    np.testing.assert_array_equal(case.volumes["ct"], HU)
    keep_nifti_source(tmp_path / name, "a", tmp_path / "a.case", "x")
    source = read_source(tmp_path / "a.case")
    assert source.shape == HU.shape
    np.testing.assert_allclose(source.affine_ras, RAS, atol=1e-6)


def test_a_big_endian_file_of_version_2_is_read(tmp_path):
    header = nib.Nifti2Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(nib.Nifti2Image(HU, RAS, header), tmp_path / "p.nii.gz")
    assert gzip.decompress((tmp_path / "p.nii.gz").read_bytes())[:4] == struct.pack(">i", 540)
    np.testing.assert_array_equal(load_nifti(tmp_path / "p.nii.gz", "p")[0], HU)


def test_half_of_a_pair_and_analyze_are_refused(tmp_path):
    nib.save(nib.Nifti1Pair(HU, RAS), tmp_path / "pair.hdr")
    nib.save(nib.Spm2AnalyzeImage(HU, RAS), tmp_path / "analyze.hdr")
    for name in ("pair", "analyze"):
        (tmp_path / f"{name}.hdr").rename(tmp_path / f"{name}.nii")
        with pytest.raises(DataError, match=r"that of Analyze, or of a pair of \.hdr and \.img"):
            load_nifti(tmp_path / f"{name}.nii", name)
