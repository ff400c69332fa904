import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from ctan_monai.data.datasets.stoic.chest_scan import read_scan, scan_name
from ctan_monai.errors import DataError

RANDOM = np.random.default_rng(0)
ARRAY = RANDOM.integers(-1000, 500, (40, 34, 6)).astype(np.int16)


@pytest.mark.parametrize("compress", [True, False])
def test_voxels_and_places_are_those_that_simpleitk_reads(write_mha, compress):
    path = write_mha(ARRAY, spacing_mm=(2.0, 1.5, 4.0), compress=compress)
    scan = read_scan(path)
    assert np.array_equal(scan.hu, ARRAY)
    image = sitk.ReadImage(str(path))
    for index in ((0, 0, 0), (39, 3, 5), (7, 33, 2)):
        row, column, at = index
        left, back, head = image.TransformIndexToPhysicalPoint((column, row, at))
        assert scan.affine_ras @ [*index, 1] == pytest.approx([-left, -back, head, 1])
        assert scan.hu[index] == image[column, row, at]
    assert scan.spacing_mm == pytest.approx((2.0, 1.5, 4.0))


def test_a_ct_that_was_stored_the_other_way_round_gives_the_same_slices(write_mha):
    upside_down = write_mha(ARRAY[::-1, :, ::-1], direction=(1, 0, 0, 0, -1, 0, 0, 0, -1), name="a.mha")
    straight = write_mha(ARRAY, name="b.mha")
    assert np.array_equal(read_scan(upside_down).hu, ARRAY)
    assert read_scan(upside_down).sha256 == read_scan(straight).sha256


def test_nifti_and_metaimage_of_one_ct_agree(write_mha, tmp_path):
    path = write_mha(ARRAY)
    sitk.WriteImage(sitk.ReadImage(str(path)), str(tmp_path / "7.nii.gz"))
    one, other = read_scan(path), read_scan(tmp_path / "7.nii.gz")
    assert np.array_equal(one.hu, other.hu)
    assert one.affine_ras == pytest.approx(other.affine_ras, abs=1e-4)
    assert one.sha256 == other.sha256


def test_the_same_voxels_have_one_digest_however_they_are_packed(write_mha):
    packed, plain = (read_scan(write_mha(ARRAY, compress=yes, name=f"{yes}.mha")) for yes in (True, False))
    changed = ARRAY.copy()
    changed[20, 10, 3] += 1
    assert packed.sha256 == plain.sha256
    assert read_scan(write_mha(changed)).sha256 != plain.sha256


def test_fractions_are_rounded_and_padding_is_air(write_mha):
    array = ARRAY.astype(np.float32) + 0.25
    array[0, 0] = -3024
    array[1, 1] = 30000
    hu = read_scan(write_mha(array)).hu
    assert (hu[0, 0] == -1024).all()
    assert (hu[1, 1] == 3071).all()
    assert np.array_equal(hu[2:], ARRAY[2:])


def test_age_and_sex_are_in_the_header(write_mha):
    about = read_scan(write_mha(ARRAY, PatientAge="045Y", PatientSex="F")).about
    assert (about["PatientAge"], about["PatientSex"]) == ("045Y", "F")


def test_every_damaged_byte_of_a_compressed_ct_is_noticed(write_mha):
    path = write_mha(ARRAY)
    good = path.read_bytes()
    start = good.index(b"LOCAL\n") + 6
    for place in RANDOM.integers(start, len(good), 40):
        damaged = bytearray(good)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"7\.mha \(case 7\): it cannot be read as a MetaImage volume"):
            read_scan(path)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_ct_that_was_cut_short_is_refused(write_mha, compress, share):
    path = write_mha(ARRAY, compress=compress)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match="Copy or download this file again"):
        read_scan(path)


def test_a_stream_that_holds_another_number_of_voxels_is_refused(write_mha):
    path = write_mha(ARRAY)
    for size in (b"DimSize = 34 40 7", b"DimSize = 34 40 5"):
        path.write_bytes(write_mha(ARRAY).read_bytes().replace(b"DimSize = 34 40 6", size))
        with pytest.raises(DataError, match="bytes of voxels"):
            read_scan(path)


def with_nan(array):
    changed = array.astype(np.float32)
    changed[3, 3, 3] = np.nan
    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_nan, "some voxels are NaN"),
        (lambda array: array + 1024, "Store it in HU"),
        (lambda array: np.full_like(array, -500), "its values run from -500 to -500"),
        (lambda array: array[:20], r"its shape is \(34, 20, 6\)"),
        (lambda array: array[..., :2], "Give a CT of the whole chest"),
    ],
)
def test_what_is_no_ct_of_a_chest_is_refused(write_mha, change, message):
    with pytest.raises(DataError, match=message):
        read_scan(write_mha(np.ascontiguousarray(change(ARRAY))))


def test_a_missing_file_a_text_an_image_and_an_odd_voxel_size_are_refused(write_mha, tmp_path):
    with pytest.raises(DataError, match=r"none\.mha"):
        read_scan(tmp_path / "none.mha")
    (tmp_path / "text.mha").write_text("hello\nworld\n")
    with pytest.raises(DataError, match="no header of a MetaImage"):
        read_scan(tmp_path / "text.mha")
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY[..., 0]), str(tmp_path / "flat.mha"))
    with pytest.raises(DataError, match="expected three axes"):
        read_scan(tmp_path / "flat.mha")
    with pytest.raises(DataError, match=r"expected 0\.1 to 30 mm"):
        read_scan(write_mha(ARRAY, spacing_mm=(0.002, 0.002, 0.005)))
    nib.save(nib.Nifti1Image(np.zeros((40, 40, 6, 2), np.int16), np.eye(4)), tmp_path / "four.nii.gz")
    with pytest.raises(DataError, match="four"):
        read_scan(tmp_path / "four.nii.gz")


def test_names_become_fit_for_file_names():
    assert scan_name("/data/8622.mha") == "8622"
    assert scan_name("a b.nii.gz") == "a_b"
    assert scan_name("a.b.nii") == "a.b"
