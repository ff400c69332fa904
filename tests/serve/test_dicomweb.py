"""Labels on their way to DICOM SEG: numbers without gaps, so that positions are numbers."""

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from ctan_monai.errors import DataError
from ctan_monai.serve.dicomweb import entries_of, name_what_is_there, segments_of, without_gaps
from ctan_monai.tasks import Segmentation

TASKS = (Segmentation("oar", ["Rectum", "Bladder", "CTV"], overlapping=True), Segmentation("lump", ["Lump"]))


@pytest.fixture
def drawn(tmp_path):
    """Draw the numbers 2, 4 and 7."""
    numbers = np.zeros((4, 3, 2), np.uint8)
    numbers[0], numbers[1], numbers[3] = 2, 4, 7
    for name in ("image", "label"):
        nib.save(nib.Nifti1Image(numbers, np.diag([2.0, 3, 4, 1])), tmp_path / f"{name}.nii.gz")
    return numbers


def test_a_map_gets_the_numbers_1_to_n_and_as_many_names(drawn, tmp_path):
    info = {"label_info": [{"name": "CTV", "idx": 2, "color": [1, 2, 3]}, {"name": "Lump", "idx": 4},
                           {"name": "Bladder", "idx": 7}]}  # fmt: skip
    folder = tmp_path / "new"
    folder.mkdir()
    path, entries = without_gaps(tmp_path / "image.nii.gz", tmp_path / "label.nii.gz", info, TASKS, folder)
    assert entries == [
        {"name": "Bladder", "idx": 1},
        {"name": "CTV", "idx": 2, "color": [1, 2, 3]},
        {"name": "Lump", "idx": 3},
    ]
    found = np.asarray(nib.load(path).dataobj)
    for old, new in ((7, 1), (2, 2), (4, 3)):
        np.testing.assert_array_equal(found == new, drawn == old)


def test_of_the_names_for_an_answer_those_are_left_that_were_found():
    given = [{"name": "Rectum", "color": [9, 9, 9]}, {"name": "Bladder"}, {"name": "CTV"}]
    request = {"label_info": given}
    name_what_is_there(request, ["Rectum", "CTV"])
    assert request["label_info"] is given  # the server reads the same list afterwards
    assert given == [{"name": "Rectum", "color": [9, 9, 9], "idx": 1}, {"name": "CTV", "idx": 2}]
    name_what_is_there({}, ["Rectum"])
    assert entries_of(["Rectum"], None) == [{"name": "Rectum", "idx": 1}]


def test_segments_that_another_program_stored_say_their_names(tmp_path):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.3"
    file = FileDataset(str(tmp_path / "a.dcm"), {}, file_meta=meta, preamble=bytes(128))
    file.SegmentSequence = []
    for number, name in ((2, "CTV"), (1, "Bladder")):
        segment = Dataset()
        segment.SegmentNumber, segment.SegmentLabel = number, name
        file.SegmentSequence.append(segment)
    file.save_as(tmp_path / "a.dcm")
    assert segments_of(tmp_path / "a.dcm") == [{"name": "CTV", "idx": 2}, {"name": "Bladder", "idx": 1}]
    (tmp_path / "b.dcm").write_bytes(b"hello")
    with pytest.raises(DataError, match="DICOM SEG"):
        segments_of(tmp_path / "b.dcm")
