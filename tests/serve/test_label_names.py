"""Numbers of a label map mean what their names say; cases that a person can follow by hand."""

from pathlib import Path

import pytest

from ctan_monai.errors import DataError
from ctan_monai.serve.label_names import names_of_numbers
from ctan_monai.tasks import Segmentation

OAR = Segmentation("oar", ["Rectum", "Bladder", "CTV"], overlapping=True)
LUMP = Segmentation("lump", ["Lump"])


def named(present, *entries, tasks=(OAR,), **info):
    listed = [{"name": entry} if isinstance(entry, str) else {"name": entry[0], "idx": entry[1]} for entry in entries]
    return names_of_numbers(present, {"label_info": listed, **info}, tasks, Path("label.nii.gz"))


def test_a_deleted_segment_does_not_move_the_others():
    assert named([1, 2], ("Rectum", 1), ("CTV", 2)) == {1: "Rectum", 2: "CTV"}


def test_reordered_segments_keep_their_names():
    assert named([1, 2, 3], ("CTV", 1), ("Rectum", 2), ("Bladder", 3)) == {1: "CTV", 2: "Rectum", 3: "Bladder"}
    assert named([1, 2], ("CTV", 2), ("Rectum", 1)) == {1: "Rectum", 2: "CTV"}  # numbered by the client itself


def test_names_without_numbers_stand_in_the_order_of_the_numbers():
    assert named([2], "CTV", "Rectum") == {2: "Rectum"}


def test_a_background_that_is_not_exported_shifts_the_own_numbers_only():
    entries = [("Rectum", 2), ("Bladder", 3), ("CTV", 4)]  # Slicer counted a background that it left out
    assert named([1, 2, 3], *entries) == {1: "Rectum", 2: "Bladder", 3: "CTV"}
    assert named([2, 3, 4], *entries) == {2: "Rectum", 3: "Bladder", 4: "CTV"}
    with pytest.raises(DataError, match="by idx or by position"):
        named([2, 3], *entries)


def test_capitals_and_blanks_around_a_name_do_not_count():
    assert named([1], " bladder ") == {1: "Bladder"}


@pytest.mark.parametrize(
    ("present", "entries", "words"),
    [
        ([1, 4], ["Rectum", "Bladder"], "4 has no name"),
        ([1], ["Segment_1"], "none of Rectum, Bladder, CTV"),
        ([1], [("Rectum", 1), ("CTV", 1)], "one number to several"),
        ([1], [("Rectum", 1), "CTV"], "some segments only"),
        ([1], [("Rectum", "1")], "numbers a segment '1'"),
    ],
)
def test_what_is_not_said_clearly_is_refused(present, entries, words):
    with pytest.raises(DataError, match=words):
        named(present, *entries)


@pytest.mark.parametrize("info", [{"label_info": "Rectum"}, {"label_info": [1]}, {"label_info": [{"idx": 1}]}])
def test_so_are_names_of_another_shape(info):
    with pytest.raises(DataError, match="list of objects"):
        names_of_numbers([1], info, (OAR,), Path("label.nii.gz"))


def test_a_name_that_has_no_voxels_is_of_no_account():
    assert named([1], "Rectum", "Helper") == {1: "Rectum"}


def test_without_names_all_labels_must_occur():
    assert names_of_numbers([1, 2, 3], {}, (OAR,), Path("x")) == {1: "Rectum", 2: "Bladder", 3: "CTV"}
    for present in ([1, 2], [1, 2, 3, 4], []):
        with pytest.raises(DataError, match="without names"):
            names_of_numbers(present, {}, (OAR,), Path("x"))


def test_of_several_segmentations_the_one_that_fits_or_is_named_is_meant():
    assert names_of_numbers([1], {}, (OAR, LUMP), Path("x")) == {1: "Lump"}
    with pytest.raises(DataError, match="without names"):
        names_of_numbers([1], {"model": "oar"}, (OAR, LUMP), Path("x"))
    assert named([1, 2], "Lump", "CTV", tasks=(OAR, LUMP)) == {1: "Lump", 2: "CTV"}


def test_an_answer_of_the_server_that_is_saved_says_its_numbers():
    info = {"model": "oar", "params": {"label_names": {"Rectum": 1, "Bladder": 2, "CTV": 3}}}
    assert names_of_numbers([3], info, (OAR,), Path("x")) == {3: "CTV"}
