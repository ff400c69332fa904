"""Labels as viewers save them, read onto the image's grid; written by SimpleITK and nibabel, not by this package."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from ctan_monai.errors import DataError
from ctan_monai.serve.drawn import read_drawn
from ctan_monai.tasks import Segmentation

OAR = (Segmentation("oar", ["Rectum", "Bladder", "CTV"], overlapping=True),)
INFO = {"label_info": [{"name": "Bladder", "idx": 1}, {"name": "CTV", "idx": 2}]}
SHAPE = (6, 5, 4)


@pytest.fixture
def image(tmp_path):
    affine = np.array([[-2.0, 0, 0, 10], [0, 3.0, 0, -5], [0, 0, 4.0, 7], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(np.arange(120, dtype=np.int16).reshape(SHAPE), affine), tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


def boxes():
    """Return two boxes that share voxels, (2, *S)."""
    found = np.zeros((2, *SHAPE), bool)
    found[0, 1:4, 1:4, 1:3] = True
    found[1, 3:6, 2:5, 2:4] = True
    return found


def saved(image, array, path, crop=None, header=()):
    """Write an array (*S) or (*S, C) as a viewer would: on the image's grid, maybe cropped to a part of it."""
    reference = sitk.ReadImage(str(image))
    axes = (2, 1, 0, 3)[: array.ndim]
    written = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(axes)), isVector=array.ndim == 4)
    written.CopyInformation(reference)
    if crop is not None:
        written = written[crop]
    for key, value in dict(header).items():
        written.SetMetaData(key, value)
    sitk.WriteImage(written, str(path))
    return path


@pytest.mark.parametrize("name", ["label.nii.gz", "label.nii", "label.nrrd"])
def test_a_label_map_is_read_by_its_names(image, tmp_path, name):
    first, second = boxes()
    numbers = np.where(second, 2, first).astype(np.uint8)
    found = read_drawn(image, saved(image, numbers, tmp_path / name), INFO, OAR)
    assert set(found.masks) == {"Bladder", "CTV"}
    np.testing.assert_array_equal(found.masks["CTV"], second)
    np.testing.assert_array_equal(found.masks["Bladder"], first & ~second)
    np.testing.assert_allclose(found.affine_ras, nib.load(image).affine)


def segments(*entries):
    found = {}
    for at, (name, number, layer) in enumerate(entries):
        found |= {f"Segment{at}_Name": name, f"Segment{at}_LabelValue": str(number), f"Segment{at}_Layer": str(layer)}
    return found


def test_overlapping_segments_of_a_segmentation_keep_their_shared_voxels(image, tmp_path):
    first, second = boxes()
    layers = np.stack([first, second], -1).astype(np.uint8)
    path = saved(image, layers, tmp_path / "a.seg.nrrd", header=segments(("CTV", 1, 1), ("Rectum", 1, 0)))
    found = read_drawn(image, path, INFO, OAR)  # the names in the file count, not those beside it
    np.testing.assert_array_equal(found.masks["Rectum"], first)
    np.testing.assert_array_equal(found.masks["CTV"], second)
    assert (found.masks["CTV"] & found.masks["Rectum"]).sum() == (first & second).sum() > 0


def test_a_segmentation_that_is_cropped_to_what_was_drawn_lies_in_its_place(image, tmp_path):
    first, _ = boxes()
    numbers = first.astype(np.uint8) * 3
    part = (slice(1, 5), slice(1, 5), slice(0, 3))
    path = saved(image, numbers, tmp_path / "a.seg.nrrd", part, segments(("Rectum", 3, 0)))
    np.testing.assert_array_equal(read_drawn(image, path, {}, OAR).masks["Rectum"], first)


def test_so_does_a_label_whose_axes_another_program_turned(image, tmp_path):
    first, second = boxes()
    numbers = np.where(second, 2, first).astype(np.uint8)
    given = nib.load(saved(image, numbers, tmp_path / "given.nii.gz"))
    nib.save(nib.as_closest_canonical(given), tmp_path / "turned.nii.gz")
    assert nib.load(tmp_path / "turned.nii.gz").affine[0, 0] > 0 > given.affine[0, 0]
    np.testing.assert_array_equal(read_drawn(image, tmp_path / "turned.nii.gz", INFO, OAR).masks["CTV"], second)


def test_strokes_and_background_are_no_structures(image, tmp_path):
    first, second = boxes()
    header = segments(("background", 1, 0), ("Rectum", 2, 0))
    numbers = np.where(second, 2, first).astype(np.uint8)
    found = read_drawn(image, saved(image, numbers, tmp_path / "a.seg.nrrd", header=header), {}, OAR)
    assert set(found.masks) == {"Rectum"}


def elsewhere(image, path):
    moved = nib.load(image).affine.copy()
    moved[0, 3] += 1
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), moved), path)
    return path


def coarser(image, path):
    affine = nib.load(image).affine @ np.diag([2.0, 1, 1, 1])
    nib.save(nib.Nifti1Image(np.ones((3, 5, 4), np.uint8), affine), path)
    return path


@pytest.mark.parametrize("other", [elsewhere, coarser])
def test_a_label_of_another_grid_is_refused(image, tmp_path, other):
    with pytest.raises(DataError, match="places differ"):
        read_drawn(image, other(image, tmp_path / "a.nii.gz"), INFO, OAR)


@pytest.mark.parametrize(
    ("values", "words"), [(1.5, "whole numbers"), (np.nan, "whole numbers"), (-1.0, "-1"), (0.0, "nothing but 0")]
)
def test_values_that_say_nothing_are_refused(image, tmp_path, values, words):
    path = saved(image, np.full(SHAPE, values, np.float32), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=words):
        read_drawn(image, path, INFO, OAR)


def test_scaled_whole_numbers_are_whole(image, tmp_path):
    path = saved(image, np.full(SHAPE, 1.00001, np.float32), tmp_path / "a.nii.gz")
    assert read_drawn(image, path, INFO, OAR).masks["Bladder"].all()


def test_two_segments_of_one_name_are_refused(image, tmp_path):
    first, second = boxes()
    numbers = np.where(second, 2, first).astype(np.uint8)
    info = {"label_info": [{"name": "CTV"}, {"name": "CTV"}]}
    with pytest.raises(DataError, match="two segments are called CTV"):
        read_drawn(image, saved(image, numbers, tmp_path / "a.nrrd"), info, OAR)


def test_a_header_that_sends_the_reader_to_another_file_is_refused(image, tmp_path):
    text = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 6 5 4\nencoding: raw\n{}: other.raw\n\n"
    (tmp_path / "other.raw").write_bytes(bytes(120))
    for field in ("data file", "datafile", "Data File"):
        (tmp_path / "a.nrrd").write_text(text.format(field))
        with pytest.raises(DataError, match="another file"):
            read_drawn(image, tmp_path / "a.nrrd", INFO, OAR)


@pytest.mark.parametrize("content", [b"", b"NRRD0004\n", b"hello" * 99])
def test_a_damaged_nrrd_is_refused_with_a_sentence(image, tmp_path, content):
    (tmp_path / "a.nrrd").write_bytes(content)
    with pytest.raises(DataError, match="NRRD"):
        read_drawn(image, tmp_path / "a.nrrd", INFO, OAR)
