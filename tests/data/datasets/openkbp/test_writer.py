from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ctan_monai.data.datasets.openkbp.sparse import read_sparse, write_sparse
from ctan_monai.errors import DataError


def test_it_looks_like_an_official_file(tmp_path):
    volume = np.zeros((2, 3, 4), np.float32)
    volume[0, 0, 1], volume[1, 2, 3] = 12.345, 40
    write_sparse(volume, tmp_path / "pt_1.csv")
    assert (tmp_path / "pt_1.csv").read_bytes() == b",data\n1,12.345\n23,40.0\n"


@pytest.mark.parametrize("name", ["pred_noisy/pt_1", "pred_spill/pt_2", "reference/pt_3/dose"])
def test_a_golden_file_written_again_is_the_same_file(golden, tmp_path, name):
    original = golden / f"{name}.csv"
    write_sparse(read_sparse(original), tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == original.read_bytes().replace(b"\r\n", b"\n")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(volume=hnp.arrays(np.float32, (2, 3, 5), elements=st.floats(0, 2.0**100, width=32)))
def test_every_float32_comes_back(tmp_path, volume):
    write_sparse(volume, tmp_path / "a.csv")
    assert np.array_equal(read_sparse(tmp_path / "a.csv", (2, 3, 5)), volume)


def test_negative_doses_become_zero_and_the_log_counts_them(tmp_path, caplog):
    volume = np.array([[-0.5, 1.0], [-2.0, 0.0]], np.float32)
    with caplog.at_level(logging.INFO):
        write_sparse(volume, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == ",data\n1,1.0\n"
    assert "2 negative voxels, down to -2" in caplog.text
    write_sparse(volume, tmp_path / "b.csv", clip_negative=False)
    assert np.array_equal(read_sparse(tmp_path / "b.csv", (2, 2)), volume)


def test_whole_numbers_and_nothing_at_all_can_be_written(tmp_path):
    write_sparse(np.array([0, 3, 0], np.int16), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == ",data\n1,3\n"
    write_sparse(np.zeros((2, 2)), tmp_path / "b.csv")
    assert read_sparse(tmp_path / "b.csv", (2, 2)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_dose_that_is_no_number_is_not_written(tmp_path, bad):
    with pytest.raises(DataError, match="1 of 4 voxels"):
        write_sparse(np.array([0, 1, bad, 2]), tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


def test_a_file_for_another_shape_is_refused(tmp_path):
    write_sparse(np.ones(10), tmp_path / "a.csv")
    with pytest.raises(DataError, match="expected 0 to 7"):
        read_sparse(tmp_path / "a.csv", (2, 2, 2))
