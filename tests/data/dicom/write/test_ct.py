"""Synthetic CT series, read back by programs that had no part in writing them."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_validity import errors_but_synthetic

from ctan_monai.data.dicom.read.series import read_ct_series
from ctan_monai.data.dicom.write import CtReference, SeededUids, new_study, new_uid, write_ct_series
from ctan_monai.errors import DataError

SHAPE = (23, 19, 9)  # columns, rows, slices of the CT in the fixtures
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
AFFINES = {  # voxel index -> RAS mm
    "axial": np.array([[-1.1, 0, 0, 31.5], [0, -1.5, 0, -12.25], [0, 0, 2.5, 400], [0, 0, 0, 1.0]]),
    "ras": np.array([[1.1, 0, 0, -31.5], [0, 1.5, 0, 12.25], [0, 0, 2.5, -40], [0, 0, 0, 1.0]]),
    "sagittal": np.array([[0, 0, 2.5, -40], [0.9, 0, 0, 7], [0, -1.2, 0, 3], [0, 0, 0, 1.0]]),
    "oblique": np.array([[1.056, -0.42, 0, 4], [0.308, 1.44, 0, 5], [0, 0, 2.5, 6], [0, 0, 0, 1.0]]),
}


@pytest.fixture(scope="module")
def ct_hu():
    """Values (C, R, K) from air to metal that no rounding or flip leaves as they are."""
    values = np.random.default_rng(0).normal(0, 600, SHAPE).clip(-1000, 3000).astype(np.float32)
    values[0, 0, 0], values[-1, 2, 3] = -1000, 3000
    return values


@pytest.fixture(scope="module", params=AFFINES)
def written(request, ct_hu, origin, tmp_path_factory):
    """The files of a CT whose image was NIfTI, and its affine."""
    study, folder = new_study("P001", new_uid), tmp_path_factory.mktemp("ct")
    files = write_ct_series(ct_hu, AFFINES[request.param], folder, origin, study=study)
    return files, AFFINES[request.param]


def hu_at(ct_hu, affine_ras, points_lps):
    """Return HU at points (3, ...), which have to be voxels' centers."""
    index = np.tensordot(np.linalg.inv(affine_ras)[:3, :3], points_lps * np.array([-1, -1, 1])[:, None], 1)
    index += np.linalg.inv(affine_ras)[:3, 3:]
    np.testing.assert_allclose(index, np.rint(index), atol=1e-3)
    return ct_hu[tuple(np.rint(index).astype(int))]


def check_everywhere(values, place, ct_hu, affine_ras):
    """See that an array (K, R, C) has each voxel's HU at its place, to rounding.

    Args:
        values: HU.
        place: gives LPS of an index (column, row, slice).
        ct_hu: what was written.
        affine_ras: its grid.
    """
    index = np.stack(np.meshgrid(*(np.arange(size) for size in values.T.shape), indexing="ij")).reshape(3, -1)
    points = np.array([place(each) for each in index.T.tolist()]).T
    assert values.size == ct_hu.size
    assert np.abs(values.T.reshape(-1) - hu_at(ct_hu, affine_ras, points)).max() <= 0.5


def test_simpleitk_finds_the_hu_where_they_were(written, ct_hu):
    image = sitk.ReadImage([str(path) for path in written[0]])
    check_everywhere(sitk.GetArrayFromImage(image), image.TransformContinuousIndexToPhysicalPoint, ct_hu, written[1])


def test_itk_finds_the_hu_where_they_were(written, ct_hu):
    import itk

    image = itk.imread([str(path) for path in written[0]])
    check_everywhere(itk.array_from_image(image), image.TransformIndexToPhysicalPoint, ct_hu, written[1])


def test_pydicom_finds_the_hu_where_they_were(written, ct_hu):
    images = [pydicom.dcmread(path) for path in written[0]]
    values = [image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept) for image in images]

    def place(index):
        column, row, number = (int(each) for each in index)
        image = images[number]
        along = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
        row_mm, column_mm = map(float, image.PixelSpacing)
        start = np.array(image.ImagePositionPatient, float)
        return start + column * column_mm * along[0] + row * row_mm * along[1]

    check_everywhere(np.stack(values), place, ct_hu, written[1])


def test_our_reader_of_training_finds_them_too(written, ct_hu):
    series = read_ct_series(reversed(written[0]))
    back = series.hu.transpose(1, 0, 2)  # (C, R, K)
    lps = series.grid.affine_lps[:, [1, 0, 2, 3]]
    check_everywhere(back.T, lambda index: lps[:3, :3] @ index + lps[:3, 3], ct_hu, written[1])
    assert series.notes == ()


def test_planes_run_from_foot_to_head_and_rows_to_the_left(written):
    first, last = (pydicom.dcmread(written[0][index]) for index in (0, -1))
    row, column = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    assert row.argmax() == 0
    assert column.argmax() == 1
    assert first.ImagePositionPatient[2] < last.ImagePositionPatient[2]
    assert [first.InstanceNumber, last.InstanceNumber] == [1, len(written[0])]


def test_dciodvfy_finds_no_error(written, references, ct_hu, origin, tmp_path):
    assert errors_but_synthetic(written[0][0]) == []
    reference = references("HFP")
    files = write_ct_series(ct_hu, reference.affine_ras, tmp_path, origin, source=reference)
    assert errors_but_synthetic(files[4]) == []


def test_each_image_says_what_it_is_and_of_what_it_was_made(write_ct, ct_hu, origin, tmp_path):
    reference = CtReference.read(write_ct("HFS", Modality="MR", SOPClassUID=MR_IMAGE), modality="MR")
    images = [
        pydicom.dcmread(path)
        for path in write_ct_series(ct_hu, reference.affine_ras, tmp_path, origin, source=reference)
    ]
    for made, mr in zip(images, reference.headers, strict=True):
        assert list(made.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert made[0x0008001C].value == "YES"
        assert (made.Modality, made.RescaleType) == ("CT", "HU")
        assert "not for clinical use" in made.SeriesDescription
        assert "Trained on plans" in made.DerivationDescription
        for name in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
            assert made[name].value == mr[name].value
        (source,) = made.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == mr.SOPInstanceUID
        assert source.ReferencedSOPClassUID == MR_IMAGE
        assert made.ImagePositionPatient == mr.ImagePositionPatient
    uids = {image.SOPInstanceUID for image in images} | {mr.SOPInstanceUID for mr in reference.headers}
    assert len(uids) == 2 * len(images)
    (series,) = {image.SeriesInstanceUID for image in images}
    assert series != reference.first.SeriesInstanceUID


def test_planes_that_are_none_of_the_sources_refer_to_all_of_them(references, ct_hu, origin, tmp_path):
    reference = references("HFS")
    for name in ("sagittal", "oblique"):
        files = write_ct_series(ct_hu, AFFINES[name], tmp_path / name, origin, source=reference)
        named = {item.ReferencedSOPInstanceUID for item in pydicom.dcmread(files[0]).SourceImageSequence}
        assert named == {header.SOPInstanceUID for header in reference.headers}


def test_a_value_below_what_scanners_store_is_kept(ct_hu, origin, tmp_path):
    values = ct_hu.copy()
    values[3, 4, 5] = -1500.4
    image = sitk.ReadImage([str(path) for path in write_ct_series(values, AFFINES["axial"], tmp_path, origin)])
    assert sitk.GetArrayFromImage(image)[5, 4, 3] == -1500


@pytest.mark.parametrize(
    ("change", "affine", "message"),
    [
        (lambda values: np.where(values == 3000, np.nan, values), AFFINES["axial"], "1 voxels are NaN or infinite"),
        (lambda values: values * 30, AFFINES["axial"], "do not fit 16 bits"),
        (lambda values: values, AFFINES["axial"] + np.eye(4, k=1) * 0.3, "not perpendicular"),
    ],
)
def test_what_no_ct_can_say_is_refused(ct_hu, origin, tmp_path, change, affine, message):
    with pytest.raises(DataError, match=message):
        write_ct_series(change(ct_hu), affine, tmp_path, origin)
    assert not list(tmp_path.iterdir())


def test_no_file_is_replaced(ct_hu, origin, tmp_path):
    first = write_ct_series(ct_hu, AFFINES["axial"], tmp_path, origin)[0].read_bytes()
    with pytest.raises(DataError, match="exists, and is not replaced"):
        write_ct_series(ct_hu, AFFINES["axial"], tmp_path, origin)
    assert (tmp_path / "CT.0001.dcm").read_bytes() == first


def test_the_same_clock_and_uids_give_the_same_bytes(ct_hu, origin, tmp_path, fixed):
    bytes_of = []
    for folder in ("one", "two"):
        fixed["uid_source"] = SeededUids("test")
        files = write_ct_series(ct_hu, AFFINES["axial"], tmp_path / folder, origin, **fixed)
        bytes_of.append([path.read_bytes() for path in files])
    assert bytes_of[0] == bytes_of[1]
