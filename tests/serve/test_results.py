"""Files as viewers ask for them, read again by other libraries."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from ctan_monai.errors import ConfigError
from ctan_monai.serve.answer import Answer
from ctan_monai.serve.results import Wanted, wanted_from, write_result

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 3.0, 0, -5], [0, 0, 4.0, 7], [0, 0, 0, 1]])
NUMBERS = {"Rectum": 1, "CTV": 2}
ARRAY = (np.arange(2 * 3 * 4) % 3).astype(np.uint8).reshape(2, 3, 4)


def answer(affine_ras=AFFINE):
    return Answer("x", {}, {}, {}, {}, affine_ras)


def written(tmp_path, array=ARRAY, numbers=NUMBERS, affine_ras=AFFINE, **request):
    return write_result(answer(affine_ras), array, tmp_path / "a", wanted_from(request), numbers)


def test_ohif_gets_bytes_that_begin_after_the_header_with_the_first_column_first(tmp_path):
    request = {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False}
    path = written(tmp_path, **request)
    head, _, body = path.read_bytes().partition(b"\n\n")
    assert path.name == "a.nrrd"
    assert b"encoding: raw" in head
    assert b"sizes: 2 3 4" in head
    assert body == ARRAY.tobytes(order="F")


def test_it_lies_where_the_nifti_lies(tmp_path):
    nrrd, nifti = (sitk.ReadImage(str(written(tmp_path, result_extension=kind))) for kind in (".nrrd", ".nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(nrrd), sitk.GetArrayFromImage(nifti))
    for say in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(nrrd, say)(), getattr(nifti, say)(), atol=1e-6)


def test_it_is_packed_on_request(tmp_path):
    path = written(tmp_path, result_extension=".nrrd", result_compress="true", result_dtype="int16")
    assert b"encoding: gzip" in path.read_bytes()
    assert sitk.ReadImage(str(path)).GetPixelID() == sitk.sitkInt16


def test_a_segmentation_names_its_segments(tmp_path):
    image = sitk.ReadImage(str(written(tmp_path, result_extension=".seg.nrrd")))
    found = {image.GetMetaData(f"Segment{at}_Name"): image.GetMetaData(f"Segment{at}_LabelValue") for at in (0, 1)}
    assert found == {"Rectum": "1", "CTV": "2"}


def test_a_dose_stays_a_dose(tmp_path):
    dose_gy = np.linspace(0, 60, 24, dtype=np.float32).reshape(2, 3, 4)
    path = written(tmp_path, dose_gy, None, result_extension=".nrrd", result_dtype="uint8")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T, dose_gy)


def test_without_a_wish_it_is_nifti_and_png_of_an_image(tmp_path):
    assert nib.load(written(tmp_path)).shape == (2, 3, 4)
    assert write_result(answer(None), ARRAY[0], tmp_path / "b").name == "b.png"


def test_an_image_as_nrrd_has_its_columns_first(tmp_path):
    path = written(tmp_path, ARRAY[0], affine_ras=None, result_extension=".nrrd")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), ARRAY[0])


@pytest.mark.parametrize(
    "request_",
    [{"result_extension": ".exe"}, {"result_extension": "/a.nii"}, {"result_dtype": "bool"}, {"result_compress": "x"}],
)
def test_other_wishes_are_refused(request_):
    with pytest.raises(ConfigError):
        wanted_from(request_)


def test_a_type_that_does_not_hold_the_numbers_is_refused(tmp_path):
    many = np.full((1, 1, 1), 300, np.uint16)
    with pytest.raises(ConfigError, match="uint8 does not hold 300"):
        write_result(answer(), many, tmp_path / "a", Wanted(dtype="uint8"), NUMBERS)
