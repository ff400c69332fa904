"""Files of a CT series become a volume, or are refused with the reason, or repaired on request."""

import copy

import numpy as np
import pytest
from dicom_phantoms import Patient, hu_at, save_all
from pydicom import dcmread
from pydicom.uid import JPEGLosslessSV1, generate_uid

from ctan_monai.data.dicom.read.series import read_ct_series
from ctan_monai.errors import DataError

SMALL = {"rows": 12, "columns": 15, "slices": 9}


@pytest.fixture
def patient():
    return Patient(**SMALL)


@pytest.fixture
def load(tmp_path):
    """Save images under shuffled names and read them."""

    def run(images, **options):
        paths = save_all(images, tmp_path)
        return read_ct_series(sorted(paths), **options)  # the names were shuffled

    return run


def hu_by_formula(patient, series):
    points = patient.points(series.hu.shape, series.grid.affine_ras)
    return hu_at(points)


@pytest.mark.promise(4, "slices are ordered by position, whatever their files and numbers say")
def test_order_comes_from_positions_and_each_slice_has_its_own_rescaling(patient, load):
    series = load(patient.ct())
    assert series.sop_uids == tuple(patient.ct_uids)
    assert np.abs(series.hu - hu_by_formula(patient, series)).max() <= 1  # stored in steps of 2 HU
    assert series.notes == ()


def flipped(image, row, column):
    """Turn an image over within its plane, position and orientation told truly."""
    image = copy.deepcopy(image)
    pixels = image.pixel_array
    orientation = np.array(image.ImageOrientationPatient, float)
    position, (rows_mm, columns_mm) = np.array(image.ImagePositionPatient, float), image.PixelSpacing
    if row:
        position, pixels = position + orientation[3:] * rows_mm * (image.Rows - 1), pixels[::-1]
        orientation[3:] *= -1
    if column:
        position, pixels = position + orientation[:3] * columns_mm * (image.Columns - 1), pixels[:, ::-1]
        orientation[:3] *= -1
    image.ImagePositionPatient, image.ImageOrientationPatient = list(position), list(orientation)
    image.PixelData = np.ascontiguousarray(pixels).tobytes()
    return image


def with_copy(images):
    other = copy.deepcopy(images[4])
    other.SOPInstanceUID = generate_uid()
    return [*images, other]


def with_scout(images):
    scout = copy.deepcopy(images[0])
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    return [*images, scout]


def with_smaller(images):
    other = copy.deepcopy(images[0])
    other.Rows, other.PixelData = 6, other.PixelData[: len(other.PixelData) // 2]
    return [*images, other]


def with_other_frame(images):
    other = copy.deepcopy(images[0])
    other.FrameOfReferenceUID = generate_uid()
    return [*images, other]


REPAIRABLE = {
    "a missing slice": (lambda images: images[:4] + images[5:], "1 slices of the CT series are missing", "1 missing"),
    "two missing slices": (lambda images: images[:3] + images[5:], "2 slices .* in 1 places", "2 missing"),
    "a duplicate": (with_copy, "1 of the 10 slices .* duplicates", "1 duplicate"),
    "a slice upside down": (
        lambda i: [*i[:3], flipped(i[3], True, False), *i[4:]],
        "1 slices are flipped",
        "1 flipped",
    ),
    "slices turned round": (
        lambda i: [*i[:3], flipped(i[3], True, True), flipped(i[4], False, True), *i[5:]],
        "2 slices are flipped",
        "2 flipped",
    ),
    "an image of another orientation": (with_scout, "1 of 10 images have another orientation", "1 images of another"),
    "an image of another size": (with_smaller, "1 of 10 images have another size", "1 images of another"),
    "another frame of reference": (with_other_frame, "another frame of reference", "1 images of another"),
}


@pytest.mark.promise(4, "missing, duplicate or flipped slices and mixed series are refused, or repaired on request")
@pytest.mark.parametrize(("change", "refusal", "note"), REPAIRABLE.values(), ids=REPAIRABLE)
def test_faults_are_refused_with_the_reason_and_repaired_on_request(patient, load, change, refusal, note):
    images = change(patient.ct())
    with pytest.raises(DataError, match=refusal):
        load(images)
    series = load(images, repair=True)
    assert series.hu.shape == (12, 15, 9)
    assert any(found.startswith(note) for found in series.notes)
    assert np.abs(series.hu - hu_by_formula(patient, series)).max() <= 2  # HU are linear, so interpolation is exact


def changed(number, **attributes):
    def change(images):
        for name, value in attributes.items():
            setattr(images[number], name, value)
        return images

    return change


def without(name):
    def change(images):
        delattr(images[2], name)
        return images

    return change


def with_other_pixels(images):
    other = copy.deepcopy(images[4])
    other.PixelData = bytes(len(other.PixelData))
    return [*images, other]


def uneven(images):
    images[3].ImagePositionPatient[2] += 0.8
    return images


def beside(images):
    images[3].ImagePositionPatient[0] += 0.8
    return images


def cut_short(images):
    images[3].PixelData = images[3].PixelData[:-40]
    return images


def empty(images):
    for image in images:
        image.PixelData, image.RescaleIntercept = bytes(len(image.PixelData)), -1000
    return images


BEYOND_REPAIR = {
    "the same everywhere": (empty, "each voxel of the CT series is -1000 HU"),
    "three missing slices": (lambda images: images[:3] + images[6:], "3 slices .* are missing"),
    "two scans in one series": (with_other_pixels, "same place have different pixels"),
    "uneven spacing": (uneven, "apart, expected one spacing"),
    "a slice shifted sideways": (beside, "beside a straight, evenly spaced stack"),
    "one slice": (lambda images: images[:1], "has 1 slices"),
    "no rescaling": (without("RescaleSlope"), "no RescaleSlope"),
    "no position": (without("ImagePositionPatient"), "ImagePositionPatient is absent or empty"),
    "no pixels": (without("PixelData"), "it has no PixelData; it may be cut short"),
    "cut short": (cut_short, "it has 320 bytes of PixelData, expected 360"),
    "electron density": (changed(2, RescaleType="ED"), "has the RescaleType ED, expected HU"),
    "beyond int16": (changed(2, RescaleSlope=100), "reaches .* HU, expected 32767 at most"),
    "directions not perpendicular": (changed(2, ImageOrientationPatient=[1, 0, 0, 0.5, 0.8, 0]), "perpendicular"),
    "no pixel size": (changed(2, PixelSpacing=[0, 1]), "PixelSpacing is 0.0 x 1.0"),
}


@pytest.mark.promise(4, "CT series that would have to be guessed are refused in any case")
@pytest.mark.parametrize(("change", "refusal"), BEYOND_REPAIR.values(), ids=BEYOND_REPAIR)
def test_what_would_have_to_be_guessed_is_refused_in_any_case(patient, load, change, refusal):
    for repair in (False, True):
        with pytest.raises(DataError, match=refusal) as caught:
            load(change(patient.ct()), repair=repair)
        assert caught.value.remedy


def test_an_image_with_another_rescaling_than_the_others_is_noted(patient, load):
    images = patient.ct()
    for image in images:
        image.RescaleSlope, image.RescaleIntercept = 1, -1000
    assert not [each for each in load(images).notes if "Rescale" in each]
    images[2].RescaleIntercept = -24
    (note,) = [each for each in load(images).notes if "Rescale" in each]
    assert note.startswith(f"1 of {len(images)} images have another RescaleSlope or RescaleIntercept (1 and -24;")
    assert (
        f"the others 1 and -1000); are they in HU? It is the image of InstanceNumber {images[2].InstanceNumber}."
        in note
    )


def test_half_a_series_of_another_kind_is_not_repaired(patient, load):
    images = patient.ct()
    del images[8]
    for image in images[:4]:
        image.PixelSpacing = [2.0, 2.0]
    for repair in (False, True):
        with pytest.raises(DataError, match=r"mixture of 2 kinds.*Remedy: Export the series alone"):
            load(images, repair=repair)


def test_positions_written_with_one_decimal_are_no_uneven_spacing(load):
    patient = Patient(**SMALL, spacing_mm=1.25)
    images = patient.ct()
    for image in images:
        image.ImagePositionPatient = [round(float(each), 1) for each in image.ImagePositionPatient]
    assert load(images).grid.spacing_mm[2] == pytest.approx(1.25, abs=0.02)


def test_padding_is_air(patient, load):
    images = patient.ct()
    stored = images[2].pixel_array.copy()
    stored[0, :4] = 0  # as a scanner marks what lies outside its circle
    shift = (8192 + int(images[2].RescaleIntercept)) // 2
    images[2].RescaleIntercept = -8192
    images[2].PixelData = np.where(stored == 0, 0, stored + shift).astype(np.uint16).tobytes()
    series = load(images)
    assert (series.hu[0, :4, 2] == -1024).all()
    assert "4 voxels below -1024 HU (padding) were set to air" in series.notes
    assert np.abs(series.hu[1:] - hu_by_formula(patient, series)[1:]).max() <= 1


def test_images_that_were_compressed_as_clinics_do_are_read(patient, tmp_path):
    """JPEG lossless, for which pydicom has no decoder of its own."""
    import SimpleITK as sitk

    images = patient.ct()
    plain = read_ct_series(save_all(images, tmp_path / "plain"))
    for image in images:
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(tmp_path / "packed.dcm"))
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        writer.Execute(sitk.GetImageFromArray(image.pixel_array[None]))
        packed = dcmread(tmp_path / "packed.dcm")
        assert packed.file_meta.TransferSyntaxUID == JPEGLosslessSV1
        image.PixelData, image.file_meta.TransferSyntaxUID = packed.PixelData, JPEGLosslessSV1
        image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    series = read_ct_series(save_all(images, tmp_path / "packed"))
    np.testing.assert_array_equal(series.hu, plain.hu)


def one_uid(images):
    for image in images[2:6]:
        image.SOPInstanceUID = images[2].SOPInstanceUID
    return images


@pytest.mark.promise(4, "images of a CT that share one UID are refused")
def test_one_uid_for_several_images_is_named(patient, load):
    for repair in (False, True):
        with pytest.raises(DataError, match="4 of the 9 images have the SOPInstanceUID of another one, elsewhere"):
            load(one_uid(patient.ct()), repair=repair)


AT_FAULT = {
    "RescaleSlope is absent": (without("RescaleSlope"), 2, "no RescaleSlope"),
    "RescaleSlope is 0": (changed(2, RescaleSlope=0), 2, "RescaleSlope of a slice is 0"),
    "RescaleIntercept is no number": (changed(2, RescaleIntercept=[1, 2]), 2, "the RescaleIntercept is no number"),
    "ImagePositionPatient is empty": (changed(2, ImagePositionPatient=None), 2, "ImagePositionPatient is absent or"),
    "PixelSpacing is one number": (changed(2, PixelSpacing=[1.5]), 2, "PixelSpacing is .*, expected 2 finite"),
    "PixelSpacing is another": (changed(2, PixelSpacing=[9, 9]), 2, r"another pixel spacing \(PixelSpacing\)"),
    "ImageOrientationPatient is another": (
        changed(2, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
        2,
        r"another orientation \(ImageOrientationPatient\)",
    ),
    "FrameOfReferenceUID is absent": (
        without("FrameOfReferenceUID"),
        2,
        r"another frame of reference \(FrameOfReferenceUID\)",
    ),
    "BitsAllocated is absent": (without("BitsAllocated"), 2, "the BitsAllocated is absent or empty"),
    "PhotometricInterpretation is absent": (without("PhotometricInterpretation"), 2, "PhotometricInterpretation is ab"),
    "a slice is higher": (uneven, 3, "expected one spacing"),
    "a slice is beside": (beside, 3, "beside a straight"),
    "a slice was cut": (cut_short, 3, "bytes of PixelData, expected"),
}


@pytest.mark.parametrize(("change", "number", "refusal"), AT_FAULT.values(), ids=AT_FAULT)
def test_the_file_at_fault_and_the_attribute_are_named(patient, tmp_path, change, number, refusal):
    images = change(patient.ct())
    paths = save_all(images, tmp_path)
    with pytest.raises(DataError, match=refusal) as caught:
        read_ct_series(paths)
    assert caught.value.path == paths[number]
    assert f"InstanceNumber {images[number].InstanceNumber}." in caught.value.reason


def test_a_value_of_the_wrong_type_is_named_and_not_quoted(patient, tmp_path):
    paths = save_all(patient.ct(), tmp_path)
    content = paths[4].read_bytes()
    at = content.index(b"\x28\x00\x53\x10DS") + 8  # the value of RescaleSlope
    size = int.from_bytes(content[at - 2 : at], "little")
    paths[4].write_bytes(content[:at] + b"Doe^Jane"[:size].ljust(size) + content[at + size :])
    with pytest.raises(DataError, match="the RescaleSlope is no number") as caught:
        read_ct_series(paths)
    assert caught.value.path == paths[4]
    assert "Do" not in caught.value.reason
