"""Work in several processes, of which one may be killed."""

import os
import signal

import pytest

from ctan_monai.data.dicom.read.job import work
from ctan_monai.errors import DataError


def square(number):
    return number * number


def die(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)  # as the system does when memory runs out
    return number


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_task_is_done_once(tmp_path, workers):
    assert sorted(work(square, [3, 1, 2], workers, tmp_path)) == [1, 4, 9]
    assert list(work(square, [], workers, tmp_path)) == []


def test_a_killed_process_is_one_error_with_a_remedy(tmp_path):
    with pytest.raises(DataError, match="one of 2 processes was killed") as caught:
        list(work(die, [1, 2, 3], 2, tmp_path))
    assert "fewer workers" in caught.value.remedy
