from __future__ import annotations

import hashlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from tabular_data import (
    AFFINE_RAS,
    DOSE,
    SHAPE,
    TUMOUR,
    full_case,
    label_map,
    ramp,
    save_image,
    save_volume,
    volume_layout,
    write_csv,
)

from ctan_monai.data.datasets.tabular.reader import read_case
from ctan_monai.data.datasets.tabular.rows import read_rows
from ctan_monai.data.datasets.tabular.values import NOTES, STATISTICS
from ctan_monai.errors import DataError
from ctan_monai.tasks import Regression, Segmentation

RGB = ("red", "green", "blue")
IMAGE = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)


def read(folder, row, layout=None, **options):
    layout = layout or volume_layout(**options)
    (found,) = read_rows(write_csv(folder / "cases.csv", [row]), None, layout)
    return read_case(found, layout)


def flipped(values, affine_ras=AFFINE_RAS):
    """Store the same patient with the first axis running the other way, and the last two exchanged."""
    change = np.array([[-1.0, 0, 0, SHAPE[0] - 1], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    return values[::-1].swapaxes(1, 2), affine_ras @ change


# ---- volumes


def test_a_volume_case_holds_image_masks_values_and_where_it_lies(tmp_path):
    case = read(tmp_path, full_case(tmp_path, "p1", group="anna"))
    np.testing.assert_array_equal(case.volumes["ct"], ramp())
    assert case.volumes["ct"].dtype == np.int16
    np.testing.assert_array_equal(case.masks["core"], label_map() == 1)
    np.testing.assert_array_equal(case.masks["edema"], label_map() == 2)
    assert case.volumes["dose"].dtype == np.float32
    assert (case.volumes["dose"] == 2.5).all()
    assert case.values == {"grade": 1, "age": 61.5}
    np.testing.assert_allclose(case.affine_ras, AFFINE_RAS)
    assert case.meta["patient_id"] == "anna"
    known = ramp()[ramp() != 0].astype(float)
    assert case.meta[STATISTICS] == {"ct": pytest.approx([known.mean(), known.std()])}


def test_what_is_stored_in_other_directions_is_turned_alike(tmp_path):
    row = full_case(tmp_path, "p1")
    expected = read(tmp_path, row)
    save_volume(tmp_path / "p1_ct.nii.gz", *flipped(ramp()))  # the labels keep their direction
    case = read(tmp_path, row)
    np.testing.assert_array_equal(case.volumes["ct"], expected.volumes["ct"])
    np.testing.assert_allclose(case.affine_ras, expected.affine_ras, atol=1e-6)
    assert read(tmp_path, row, axes="LPS").volumes["ct"][0, 0, 0] == ramp()[-1, -1, 0]


@pytest.mark.parametrize("compress", [False, True])
def test_a_metaimage_lies_where_simpleitk_says(tmp_path, compress):
    image = sitk.GetImageFromArray(ramp().T)
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, 1))
    image.SetOrigin((5, 6, 7))
    sitk.WriteImage(image, str(tmp_path / "a.mha"), compress)
    case = read(tmp_path, {"image": "a.mha", "tumour": ""}, tasks=[TUMOUR])
    for index in ((0, 0, 0), (2, 1, 3)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        here = np.linalg.solve(case.affine_ras, [*(lps * [-1, -1, 1]), 1])[:3]
        assert case.volumes["ct"][tuple(np.rint(here).astype(int))] == ramp()[index]


def test_channels_of_one_file_and_of_several_are_the_same(tmp_path):
    layout = volume_layout([TUMOUR], ("t1", "t2"))
    second = np.flip(ramp()).copy()
    nib.save(nib.Nifti1Image(np.stack([ramp(), second], -1), AFFINE_RAS), tmp_path / "both.nii.gz")
    save_volume(tmp_path / "t1.nii.gz", ramp())
    save_volume(tmp_path / "t2.nii.gz", second)
    one = read(tmp_path, {"image": "both.nii.gz", "tumour": ""}, layout)
    two = read(tmp_path, {"case": "both", "t1": "t1.nii.gz", "t2": "t2.nii.gz", "tumour": ""}, layout)
    for name, expected in (("t1", ramp()), ("t2", second)):
        np.testing.assert_array_equal(one.volumes[name], expected)
        np.testing.assert_array_equal(two.volumes[name], expected)
    assert one.meta["file_sha256"] == two.meta["file_sha256"]  # the same patient, however it is stored


@pytest.mark.parametrize("number", [1, 7, 255])
def test_a_mask_is_what_is_not_0(tmp_path, number):
    mask = np.where(label_map() == 1, number, 0)
    save_volume(tmp_path / "a.nii.gz", ramp())
    save_volume(tmp_path / "m.nii.gz", mask.astype(np.int16))
    case = read(tmp_path, {"image": "a.nii.gz", "core": "m.nii.gz", "edema": ""}, tasks=[TUMOUR])
    np.testing.assert_array_equal(case.masks["core"], label_map() == 1)
    assert "edema" not in case.masks


def test_labels_may_have_other_numbers_in_label_maps(tmp_path):
    row = full_case(tmp_path, "p1")
    save_volume(tmp_path / "p1_tumour.nii.gz", label_map(core=4, edema=1).astype(np.float64))
    case = read(tmp_path, row, label_values={"tumour": {"core": 4, "edema": 1}})
    np.testing.assert_array_equal(case.masks["core"], label_map() == 1)
    with pytest.raises(DataError, match=r"the label map holds 4, expected 0 and 1 core, 2 edema"):
        read(tmp_path, row)


def test_a_region_says_where_a_value_is_known(tmp_path):
    dose = Regression("dose", "Gy", 70.0, region="mask")
    row = full_case(tmp_path, "p1") | {"dose_region": save_volume(tmp_path / "r.nii.gz", label_map() > 0)}
    case = read(tmp_path, row, tasks=[dose])
    np.testing.assert_array_equal(case.masks["dose_region"], label_map() > 0)
    assert read(tmp_path, row | {"dose_region": ""}, tasks=[dose]).masks["dose_region"].all()
    assert not read(tmp_path, row | {"dose_region": "", "dose": ""}, tasks=[dose]).masks["dose_region"].any()
    assert "dose_region" not in read(tmp_path, row).masks  # a task that counts everywhere has none


def test_a_label_on_another_grid_is_refused_and_both_grids_are_told(tmp_path):
    row = full_case(tmp_path, "p1")
    moved = AFFINE_RAS.copy()
    moved[2, 3] += 1.5
    save_volume(tmp_path / "p1_dose.nii.gz", np.zeros(SHAPE, np.float32), moved)
    with pytest.raises(DataError, match=r"\(6, 5, 4\) of 1 x 2 x 3 mm.* lie 1.5 mm apart.*--spacing_mm") as caught:
        read(tmp_path, row)
    assert caught.value.path.name == "p1_dose.nii.gz"
    save_volume(tmp_path / "p1_dose.nii.gz", np.zeros((3, 3, 3), np.float32))
    with pytest.raises(DataError, match=r"its voxels are \(3, 3, 3\)"):
        read(tmp_path, row)


def test_rounding_of_headers_is_no_other_grid(tmp_path):
    row = full_case(tmp_path, "p1")
    nearly = AFFINE_RAS + np.array([[0, 0, 0, 1e-4]] * 3 + [[0] * 4])
    save_volume(tmp_path / "p1_tumour.nii.gz", label_map(), nearly)
    assert read(tmp_path, row).masks["core"].any()


def test_with_a_spacing_everything_is_resampled_by_its_place(tmp_path):
    """A ramp along each axis in mm is linear, so its value at any place is known."""
    shape, affine_ras = (20, 16, 12), np.diag([2.0, 2.0, 2.0, 1.0])
    index = np.indices(shape)
    save_volume(tmp_path / "ct.nii.gz", (2 * index[0] + 200 * index[1]).astype(np.float32), affine_ras)
    dose_affine = np.diag([4.0, 4.0, 4.0, 1.0])
    dose_affine[:3, 3] = 1.0
    place = np.indices((10, 8, 6)) * 4.0 + 1.0
    save_volume(tmp_path / "dose.nii.gz", (place[0] + 10 * place[2]).astype(np.float32), dose_affine)
    row = {"image": "ct.nii.gz", "dose": "dose.nii.gz"}
    case = read(tmp_path, row, tasks=[DOSE], spacing_mm=[3.0, 2.0, 4.0])
    assert case.spacing_mm == pytest.approx((3, 2, 4))
    assert case.shape == (13, 16, 6)
    where = np.einsum("ij,j...->i...", case.affine_ras[:3, :3], np.indices(case.shape))
    where += case.affine_ras[:3, 3].reshape(3, 1, 1, 1)
    inside = np.s_[1:-1, 1:-1, 1:-1]
    np.testing.assert_allclose(case.volumes["ct"][inside], (where[0] + 100 * where[1])[inside], atol=0.3)
    np.testing.assert_allclose(case.volumes["dose"][inside], (where[0] + 10 * where[2])[inside], atol=0.05)


def test_a_label_that_is_shifted_is_resampled_though_the_image_has_the_wanted_spacing(tmp_path):
    values = np.arange(SHAPE[0], dtype=np.float32).reshape(-1, 1, 1) * np.ones(SHAPE, np.float32)
    shifted = AFFINE_RAS.copy()
    shifted[0, 3] -= 2  # voxel i of the image is voxel i + 2 of the dose
    row = full_case(tmp_path, "p1", dose=save_volume(tmp_path / "d.nii.gz", values, shifted))
    case = read(tmp_path, row, spacing_mm=[1.0, 2.0, 3.0])
    np.testing.assert_array_equal(case.volumes["ct"], ramp())
    np.testing.assert_allclose(case.volumes["dose"][:, 2, 2], [2, 3, 4, 5, 0, 0], atol=1e-5)


def test_masks_keep_their_volume_when_they_are_resampled(tmp_path):
    index = np.indices((24, 24, 24)) - 11.5
    ball = (index**2).sum(0) < 8**2
    save_volume(tmp_path / "a.nii.gz", (ball * 100).astype(np.int16), np.eye(4))
    save_volume(tmp_path / "m.nii.gz", ball, np.eye(4))
    row = {"image": "a.nii.gz", "core": "m.nii.gz", "edema": ""}
    case = read(tmp_path, row, tasks=[TUMOUR], spacing_mm=[2.0, 2.0, 1.5])
    volume_mm3 = case.masks["core"].sum() * 2 * 2 * 1.5
    assert volume_mm3 == pytest.approx(ball.sum(), rel=0.05)


def test_a_label_that_does_not_meet_the_image_is_refused_even_then(tmp_path):
    row = full_case(tmp_path, "p1")
    far = AFFINE_RAS.copy()
    far[0, 3] += 1000
    save_volume(tmp_path / "p1_dose.nii.gz", np.zeros(SHAPE, np.float32), far)
    with pytest.raises(DataError, match="they do not meet"):
        read(tmp_path, row, spacing_mm=[2.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("image", np.where(ramp() == ramp()[0, 0, 1], np.nan, 1.0), "1 of 120 voxels are NaN or infinite"),
        ("dose", np.full(SHAPE, np.inf), "120 of 120 voxels are NaN or infinite"),
        ("tumour", label_map(core=3), r"the label map holds 3, expected 0 and 1 core, 2 edema"),
        ("tumour", label_map() * 0.5, r"the label map holds 0.5"),
        ("tumour", -label_map().astype(np.int16), r"the label map holds -"),
    ],
)
def test_values_that_cannot_be_are_refused_with_the_file(tmp_path, column, values, message):
    row = full_case(tmp_path, "p1")
    save_volume(tmp_path / row[column], values)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, row)
    assert caught.value.path.name == row[column]
    assert caught.value.case == "p1"


def test_a_label_map_is_no_mask(tmp_path):
    save_volume(tmp_path / "a.nii.gz", ramp())
    save_volume(tmp_path / "m.nii.gz", label_map())
    with pytest.raises(DataError, match="the mask holds 0, 1, 2, expected 0 and one other value"):
        read(tmp_path, {"image": "a.nii.gz", "core": "m.nii.gz", "edema": ""}, tasks=[TUMOUR])


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha", "a.png", "a.tiff", "a.nrrd"])
def test_a_file_that_is_no_image_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        read(tmp_path, {"image": name, "tumour": ""}, tasks=[TUMOUR])
    assert caught.value.path == tmp_path / name
    assert "\n" not in str(caught.value)


# ---- images


def image_row(folder, **changes):
    mask = np.zeros((40, 50), np.uint8)
    mask[10:30, 5:25] = 255
    return {
        "image": save_image(folder / "p.png", IMAGE),
        "tumour": save_image(folder / "map.png", (mask > 0) + np.uint8(mask[::-1] > 250)),
        "dose": "",
        **changes,
    }


def test_a_color_image_has_three_channels_and_can_be_resized(tmp_path):
    layout = volume_layout([TUMOUR, DOSE], RGB, size=[32, 64])
    np.save(tmp_path / "dose.npy", np.full((40, 50), 12.5))
    case = read(tmp_path, image_row(tmp_path, dose="dose.npy"), layout)
    expected = Image.fromarray(IMAGE).resize((64, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(np.stack([case.volumes[name] for name in RGB], -1), np.array(expected))
    np.testing.assert_allclose(case.volumes["dose"], 12.5)
    assert case.masks["edema"].mean() == pytest.approx(400 / 2000, abs=0.02)
    assert not case.masks["core"].any()
    assert case.meta["full_shape"] == [40, 50]
    assert case.meta["file_sha256"] == hashlib.sha256((tmp_path / "p.png").read_bytes()).hexdigest()


def test_a_gray_image_of_16_bits_keeps_its_values(tmp_path):
    values = np.arange(2000, dtype=np.uint16).reshape(40, 50) * 16
    Image.fromarray(values).save(tmp_path / "x.png")
    layout = volume_layout([Segmentation("lung", ["lung"])], ("gray",))
    case = read(tmp_path, {"image": "x.png", "lung": ""}, layout)
    np.testing.assert_array_equal(case.volumes["gray"], values)
    assert case.masks == {}


@pytest.mark.parametrize("highest", [1, 255])
def test_masks_of_images_are_0_and_1_or_0_and_255(tmp_path, highest):
    mask = (np.indices((40, 50)).sum(0) % 7 == 0) * highest
    save_image(tmp_path / "m.png", mask)
    layout = volume_layout([Segmentation("lesion", ["lesion"])], RGB)
    case = read(tmp_path, {"image": save_image(tmp_path / "p.png", IMAGE), "lesion": "m.png"}, layout)
    np.testing.assert_array_equal(case.masks["lesion"], mask > 0)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("tumour", np.zeros((40, 49)), "it has 40 rows and 49 columns, its image 40 and 50"),
        ("tumour", np.full((40, 50), 3), "the label map holds 3"),
        ("tumour", IMAGE, "it has colors, expected one channel"),
        ("core", np.full((40, 50), 3), "its values run from 3 to 3, expected 0 and 1, or 0 and 255"),
    ],
)
def test_labels_that_do_not_fit_an_image_are_refused(tmp_path, column, values, message):
    row = image_row(tmp_path)
    row = {name: cell for name, cell in row.items() if name != "tumour"} | {"core": "", "edema": ""}
    row = row | {column: save_image(tmp_path / "label.png", values)}
    with pytest.raises(DataError, match=message):
        read(tmp_path, row, volume_layout([TUMOUR, DOSE], RGB))


@pytest.mark.parametrize("values", [np.zeros(3), np.full((40, 50), np.nan), np.zeros((40, 50), object)])
def test_a_numpy_file_that_is_no_map_is_refused(tmp_path, values):
    np.save(tmp_path / "dose.npy", values)
    with pytest.raises(DataError, match=r"it holds|it cannot be read as NumPy"):
        read(tmp_path, image_row(tmp_path, dose="dose.npy"), volume_layout([TUMOUR, DOSE], RGB))


def test_images_and_volumes_are_not_mistaken_for_each_other(tmp_path):
    with pytest.raises(DataError, match="it is an image, but the network takes volumes"):
        read(tmp_path, image_row(tmp_path), volume_layout([TUMOUR, DOSE], spatial_dims=3))
    row = image_row(tmp_path, image=save_volume(tmp_path / "a.nii.gz", ramp()))
    with pytest.raises(DataError, match="it is no image"):
        read(tmp_path, row, volume_layout([TUMOUR, DOSE], RGB))
    with pytest.raises(DataError, match=r"images of the size \[32, 48\] are wanted"):
        read(tmp_path, row, volume_layout([TUMOUR, DOSE], ("gray",), size=[32, 48]))


@pytest.mark.parametrize("channels", [RGB, ("gray",)])
def test_a_mask_beside_a_turned_image_is_told_where_it_could_lie_either_way(tmp_path, channels):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(IMAGE if channels == RGB else IMAGE[..., 0]).save(tmp_path / "a.png", exif=exif)
    mask = np.arange(2000).reshape(40, 50) % 7 == 0
    row = {"case": "p", "image": "a.png", "core": save_image(tmp_path / "m.png", mask), "edema": ""}
    case = read(tmp_path, row, volume_layout([TUMOUR], channels))
    np.testing.assert_array_equal(case.volumes[channels[0]], IMAGE[::-1, ::-1, 0])
    np.testing.assert_array_equal(case.masks["core"], mask)
    assert case.meta[NOTES][0].startswith("a.png is turned as its EXIF orientation 3 says, m.png has none")


@pytest.mark.parametrize("mode", ["P", "L"])
def test_a_gray_image_is_what_it_shows_also_by_a_palette(tmp_path, mode):
    image = Image.fromarray((IMAGE[..., 0] // 64).astype(np.uint8)).convert("P")
    image.putpalette([gray for value in (200, 10, 90, 160) for gray in (value,) * 3])
    expected = np.array(image.convert("L"))
    image.convert(mode).save(tmp_path / "a.png")
    case = read(tmp_path, {"image": "a.png", "tumour": ""}, volume_layout([TUMOUR], ("gray",)))
    np.testing.assert_array_equal(case.volumes["gray"], expected)
