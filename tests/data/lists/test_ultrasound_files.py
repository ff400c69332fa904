"""Names of images and frames, and the option that chooses frames."""

import logging

import numpy as np
import pytest
from ultrasound_files import write_us

from ctan_monai.data.lists.image_files import image_name
from ctan_monai.data.lists.ultrasound_files import (
    check_frame,
    file_and_frame,
    is_image_file,
    stem_of,
    tell_frames,
    with_frames,
)
from ctan_monai.errors import ConfigError


@pytest.fixture
def cine(tmp_path):
    write_us(tmp_path / "cine.dcm", np.random.default_rng(0).integers(0, 255, (12, 40, 40)).astype(np.uint8))
    return tmp_path / "cine.dcm"


def test_a_frame_is_named_by_a_path_that_no_file_can_have(cine, tmp_path):
    frame = cine / "frame 3"
    assert file_and_frame(frame) == (cine, 3)
    assert (stem_of(frame), image_name(frame)) == ("cine_f003", "cine_f003")
    assert file_and_frame(cine) == (cine, None)
    folder = tmp_path / "folder"
    folder.mkdir()
    assert file_and_frame(folder / "frame 3") == (folder / "frame 3", None)  # a file in a folder


def test_a_uid_without_ending_keeps_its_last_number_and_a_long_one_its_end(tmp_path):
    uid = "1.2.826.0.1.3680043.8.498.1234567890123456789012345678901234567"
    for name in (uid, "1.2.840"):
        write_us(tmp_path / name, np.random.default_rng(0).integers(0, 255, (2, 40, 40)).astype(np.uint8))
    assert image_name(tmp_path / "1.2.840") == "1.2.840"
    first, second = (image_name(tmp_path / uid / f"frame {number}") for number in (1, 2))
    assert (first, second) == (uid[-59:] + "_f001", uid[-59:] + "_f002")


def test_frames_are_listed_all_or_one_and_what_cannot_be_read_stays(cine, tmp_path, caplog):
    (tmp_path / "broken.dcm").write_bytes(b"nothing of DICOM")
    files = [tmp_path / "broken.dcm", cine, tmp_path / "a.png"]
    assert with_frames(files, 5) == [files[0], cine / "frame 5", files[2]]
    listed = with_frames(files, "all")
    assert [file_and_frame(path)[1] for path in listed] == [None, *range(1, 13), None]
    with caplog.at_level(logging.INFO):
        tell_frames(listed)
        tell_frames(with_frames(files, 5))
        tell_frames([files[2]])
    assert [record.message for record in caplog.records] == [
        "1 DICOM files have several frames: 12 frames are cases (option frame)",
        "1 DICOM files have several frames: frame 5 of each is a case (option frame)",
    ]
    assert is_image_file(cine)
    assert not is_image_file(tmp_path / "notes.txt")


@pytest.mark.parametrize("frame", [0, -1, "3", "first", True, 1.0, None])
def test_an_unknown_choice_of_frames_is_refused(frame):
    with pytest.raises(ConfigError, match=r"frame: .* was found. Remedy: Use all, or the number"):
        check_frame(frame)
