import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ctan_monai.data.cases.file_grid import Grid, native_grid_of, resample_to
from ctan_monai.data.datasets.mr_ct.reader import PairReader, without_bias_field
from ctan_monai.errors import DataError

REAL = Path(__file__).parents[5] / "shared" / "data" / "mr_ct"


def edited_header(path, **fields):
    image = nib.load(path)
    for name, value in fields.items():
        image.header[name] = value
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), path)


def test_mr_ct_and_masks_come_as_they_were_stored_on_axial_slices(drawn):
    case = PairReader()(drawn.pair())
    assert (case.case, set(case.volumes), set(case.masks)) == ("P1", {"mr", "ct"}, {"Femur_L", "ct_region"})
    assert nib.aff2axcodes(case.affine_ras) == ("P", "L", "S")
    stored, grid = np.rint(drawn.ct).astype(np.int16), Grid(case.shape, case.affine_ras)
    assert np.array_equal(resample_to(case.volumes["ct"], grid, Grid(stored.shape, drawn.affine)), stored)
    own = native_grid_of(case.meta)
    assert np.array_equal(resample_to(case.volumes["mr"], grid, own), np.rint(drawn.mr).astype(np.int16))
    assert np.array_equal(resample_to(case.masks["Femur_L"].astype(np.uint8), grid, own) > 0, drawn.bone)
    assert case.masks["ct_region"].sum() == (16 * 12 - 4 * 3) * 6  # an opening rounds corners
    assert case.meta["notes"] == []


def test_the_brightness_is_taken_inside_the_body(drawn):
    low, high = PairReader()(drawn.pair()).meta["percentiles"]["mr"]
    assert 15 < low < 45
    assert 400 < high < 425


def test_a_ct_that_covers_more_is_cut_to_the_mr_exactly_and_that_is_said(drawn):
    drawn.pair()
    wide = np.pad(np.rint(drawn.ct).astype(np.int16), ((5, 3), (2, 7), (4, 1)), constant_values=-1000)
    affine = drawn.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ (5, 2, 4.001)  # headers round: a thousandth of a voxel
    drawn.write("ct", wide, affine)
    case = PairReader()(drawn.folder)
    there = resample_to(case.volumes["ct"], Grid(case.shape, case.affine_ras), Grid(drawn.ct.shape, drawn.affine))
    assert np.abs(there - np.rint(drawn.ct)).max() <= 2  # a thousandth of the step from air to bone, rounded
    (note,) = case.meta["notes"]
    assert note.startswith("ct.nii.gz, (32, 29, 11) voxels of 2 x 2 x 3 mm, is resampled to the MR's grid")


def test_where_the_ct_does_not_reach_nothing_counts(drawn):
    drawn.pair()
    drawn.write("ct", np.rint(drawn.ct[6:]).astype(np.int16), drawn.affine @ shifted(6, 0, 0))
    case = PairReader()(drawn.folder)
    left = case.volumes["ct"] == -1024  # x is the second axis of P, L, S
    assert left[:, :6].all()
    assert not left[:, 6:].any()
    assert not case.masks["ct_region"][:, :6].any()


def shifted(*voxels):
    affine = np.eye(4)
    affine[:3, 3] = voxels
    return affine


def test_a_mask_on_a_third_grid_is_resampled_and_that_is_said(drawn):
    drawn.pair()
    fine = drawn.bone.repeat(2, axis=0).repeat(3, axis=2)
    affine = drawn.affine @ np.diag([1 / 2, 1, 1 / 3, 1])
    affine[:3, 3] -= drawn.affine[:3, :3] @ (1 / 4, 0, 1 / 3)
    drawn.write("masks/femur_left", fine.astype(np.uint8), affine)
    case = PairReader()(drawn.folder)
    there = resample_to(
        case.masks["Femur_L"].astype(np.uint8), Grid(case.shape, case.affine_ras), native_grid_of(case.meta)
    )
    assert np.array_equal(there > 0, drawn.bone)
    assert "femur_left.nii.gz" in case.meta["notes"][0]


def test_pixels_of_a_wanted_size_cover_the_same_box(drawn):
    case = PairReader(pixel_mm=4.0)(drawn.pair())
    assert case.shape == (10, 12, 6)
    assert case.spacing_mm == pytest.approx((4, 4, 3))
    assert case.volumes["ct"][case.masks["ct_region"]].mean() == pytest.approx(drawn.ct[drawn.ct > -500].mean(), abs=60)
    assert native_grid_of(case.meta).shape == (24, 20, 6)


def test_padding_of_scanners_becomes_air(drawn):
    drawn.ct[0, 0] = -2000
    case = PairReader()(drawn.pair())
    assert case.volumes["ct"].min() == -1024
    assert "6 voxels below -1024 HU" in case.meta["notes"][0]


def test_an_mr_alone_has_its_own_body_and_no_ct(drawn):
    folder = drawn.pair()
    case = PairReader().read_mr(folder / "mr.nii.gz", "P1")
    assert (set(case.volumes), set(case.masks)) == ({"mr"}, {"ct_region"})
    with_ct = PairReader()(folder)
    assert (case.masks["ct_region"] == with_ct.masks["ct_region"]).mean() > 0.95
    assert case.meta["percentiles"] == with_ct.meta["percentiles"]


def test_a_bias_field_is_taken_out(synthetic):
    reader = PairReader()
    case = reader(synthetic / "synthetic_001")
    slope = np.linspace(0.6, 1.4, case.shape[1], dtype=np.float32)[None, :, None]
    body, mr = case.masks["ct_region"], case.volumes["mr"].astype(np.float32)
    fat = body & (case.volumes["ct"] < -70) & (case.volumes["ct"] > -130)
    spread = [image[fat].std() / image[fat].mean() for image in (mr * slope, without_bias_field(mr * slope, body))]
    assert spread[1] < 0.8 * spread[0]


# ---- refused by name


def test_an_mr_without_a_ct(drawn):
    (drawn.pair() / "ct.nii.gz").unlink()
    with pytest.raises(DataError, match=r"P1 \(case P1\): there is an MR \(mr.nii.gz\) and no CT") as caught:
        PairReader()(drawn.folder)
    assert "Add ct.nii.gz" in str(caught.value)


def test_a_ct_without_an_mr(drawn):
    (drawn.pair() / "mr.nii.gz").unlink()
    with pytest.raises(DataError, match=r"it has no MR, only \['ct.nii.gz'\]"):
        PairReader()(drawn.folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ct: ct + 1024, r"not in HU, where air is -1000"),
        (lambda ct: ct / 1000 + 1, r"not in HU"),
        (lambda ct: np.where(ct < -500, -1000, ct + 1024), r"half of the body is above 10\d\d"),
        (lambda ct: ct * 0 - 1000 + 400 * (ct > 500), r"there is no body in the CT where the MR is"),
    ],
)
def test_a_ct_in_other_units_or_of_nothing(drawn, change, message):
    drawn.ct = change(drawn.ct)
    with pytest.raises(DataError, match=message):
        PairReader()(drawn.pair())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mr: mr * 0 + 400 + np.random.default_rng(0).normal(0, 2, mr.shape), r"the MR is nearly constant"),
        (lambda mr: mr * 0, r"the MR is nearly constant"),
        (lambda mr: mr - 1000, r"100% of the MR's voxels are below 0.*no CT"),
        (lambda mr: np.where(mr > 900, np.nan, mr) + np.where(np.arange(6) == 3, np.inf, 0), r"are no numbers"),
    ],
)
def test_an_mr_that_shows_nothing_or_is_none(drawn, change, message):
    drawn.folder.mkdir()
    drawn.pair()
    drawn.write("mr", change(drawn.mr).astype(np.float32))
    with pytest.raises(DataError, match=message):
        PairReader()(drawn.folder)


def test_an_mr_without_a_body(drawn):
    drawn.mr[:] = 0
    drawn.mr[::4] = drawn.mr[1::4] = 1000  # lines that are thinner than any body
    with pytest.raises(DataError, match="there is no body in the MR"):
        PairReader()(drawn.pair())


def test_files_in_different_frames(drawn):
    drawn.pair()
    drawn.write("ct", np.rint(drawn.ct).astype(np.int16), drawn.affine @ shifted(300, 0, 0))
    with pytest.raises(DataError, match=r"ct.nii.gz \(case P1\): it covers 0% of the MR's volume"):
        PairReader()(drawn.folder)


def test_a_body_that_is_elsewhere_in_the_ct(drawn):
    drawn.ct = np.roll(drawn.ct, 10, axis=0)
    with pytest.raises(DataError, match=r"\d+% of the body in the MR is tissue in the CT: other patients"):
        PairReader()(drawn.pair())


def test_files_that_name_different_patients(drawn):
    folder = drawn.pair()
    edited_header(folder / "mr.nii.gz", db_name=b"first")
    edited_header(folder / "ct.nii.gz", db_name=b"second")
    with pytest.raises(DataError, match=r"mr.nii.gz and ct.nii.gz say that they are of another patient each") as caught:
        PairReader()(folder)
    assert "second" not in str(caught.value)


@pytest.mark.parametrize(("key", "what"), [("PatientID", "patient"), ("FrameOfReferenceUID", "frame of reference")])
def test_json_of_a_converter_that_names_different_ones(drawn, key, what):
    folder = drawn.pair()
    (folder / "mr.json").write_text(json.dumps({key: "1.2.3"}))
    (folder / "ct.json").write_text(json.dumps({key: "1.2.4"}))
    with pytest.raises(DataError, match=f"another {what} each"):
        PairReader()(folder)
    (folder / "ct.json").write_text(json.dumps({key: "1.2.3"}))
    assert PairReader()(folder).case == "P1"


@pytest.mark.parametrize(
    "labels",
    [{"1": "femur_left", "3": "Bladder", "4": "Rectum"}, {"background": 0, "FemurL": 1, "bladder": 3, "Rectum": 4}],
)
def test_a_label_map_is_a_mask_for_each_name_in_the_json_beside_it(drawn, labels):
    separate = PairReader()(drawn.pair())
    (drawn.folder / "masks" / "femur_left.nii.gz").unlink()
    organs = drawn.bone.astype(np.int16)
    organs[5:8, 5:8, 2] = 3
    drawn.write("organs", organs)
    (drawn.folder / "organs.json").write_text(json.dumps({"labels": labels}))
    case = PairReader()(drawn.folder)
    assert set(case.masks) == {"Femur_L", "Bladder", "Rectum", "ct_region"}
    assert np.array_equal(case.masks["Femur_L"], separate.masks["Femur_L"])
    assert (case.masks["Bladder"].sum(), case.masks["Rectum"].sum()) == (9, 0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"1": "Femur_L"}, r"organs.nii.gz .*: it holds 3, and organs.json names \[1\]"),
        ({"1": "Femur_L", "3": "Femur_L"}, r"organs.json .*does not name the numbers of organs.nii.gz"),
        (["Femur_L"], r"organs.json .*does not name the numbers of organs.nii.gz"),
        ({"a": "b"}, r"organs.json .*does not name the numbers of organs.nii.gz"),
    ],
)
def test_a_label_map_whose_numbers_are_not_named_is_refused(drawn, labels, message):
    drawn.pair()
    organs = drawn.bone.astype(np.int16)
    organs[5:8, 5:8, 2] = 3
    drawn.write("organs", organs)
    (drawn.folder / "organs.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(DataError, match=message):
        PairReader()(drawn.folder)


def test_a_mask_of_many_values(drawn):
    folder = drawn.pair()
    drawn.write("masks/bladder", np.arange(drawn.ct.size).reshape(drawn.ct.shape).astype(np.int16) % 5)
    with pytest.raises(DataError, match=r"bladder.nii.gz \(case P1\): its values are 0, 1, 2, 3, 4; a mask has"):
        PairReader()(folder)


def test_a_lesion_drawn_in_two_places(drawn):
    folder = drawn.pair()
    drawn.write("mr_mask", drawn.bone.astype(np.uint8))
    drawn.write("ct_mask", np.roll(drawn.bone, 5, axis=1).astype(np.uint8))
    with pytest.raises(DataError, match=r"the mask on the MR and that on the CT agree by a Dice of 0.00"):
        PairReader()(folder)
    drawn.write("ct_mask", drawn.bone.astype(np.uint8))
    assert PairReader()(folder).masks["GTV"].sum() == drawn.bone.sum()


# ---- real patients


@pytest.mark.data
@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data")
def test_real_pairs_are_cut_as_their_offset_says():
    for folder in sorted(REAL.glob("STS_*")):
        case = PairReader()(folder)
        ct, mr, mask = (nib.load(folder / f"{name}.nii.gz") for name in ("CT_image", "MR_T1_image", "MR_T1_mask"))
        first = np.round((np.linalg.inv(ct.affine) @ mr.affine)[:3, 3]).astype(int)
        window = tuple(slice(at, at + size) for at, size in zip(first, mr.shape, strict=True))
        grid, own = Grid(case.shape, case.affine_ras), native_grid_of(case.meta)
        apart = resample_to(case.volumes["ct"].astype(np.float32), grid, own) - np.asarray(ct.dataobj)[window]
        assert np.abs(apart).mean() < 1
        assert np.array_equal(resample_to(case.volumes["mr"], grid, own), np.asarray(mr.dataobj))
        assert np.array_equal(resample_to(case.masks["GTV"].astype(np.uint8), grid, own), np.asarray(mask.dataobj))
        assert any("CT_image.nii.gz" in note for note in case.meta["notes"])


def test_bodies_of_the_synthetic_patients_are_those_that_were_drawn(synthetic):
    case = PairReader()(synthetic / "synthetic_002")
    in_mr = PairReader().read_mr(synthetic / "synthetic_002" / "T2.nii.gz", "a").masks["ct_region"]
    region = case.masks["ct_region"]
    assert 2 * (in_mr & region).sum() / (in_mr.sum() + region.sum()) > 0.95
    assert region[case.masks["Bladder"]].all()
