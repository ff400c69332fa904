"""data.json says what a network was trained on, and never a part of it."""

import json

import pytest

from ctan_monai.engines import read_data_record, write_data_record
from ctan_monai.errors import CheckpointError, ConfigError

RECORD = {
    "synthetic": True,
    "prescriptions_gy": {"60": 20, "unknown": 1},
    "normalized_to_gy": None,
    "cases": {"train": 15, "validation": 3, "test": 3},
}


def test_what_was_written_is_read_again(tmp_path):
    write_data_record(tmp_path, RECORD)
    assert read_data_record(tmp_path) == RECORD
    assert json.loads((tmp_path / "data.json").read_text()) == RECORD


def test_where_no_dose_is_learned_there_are_no_prescriptions(tmp_path):
    write_data_record(tmp_path, {"synthetic": False, "cases": {"train": 3}})
    assert json.loads((tmp_path / "data.json").read_text()) == {"synthetic": False, "cases": {"train": 3}}
    assert read_data_record(tmp_path)["prescriptions_gy"] == {}
    assert read_data_record(tmp_path)["normalized_to_gy"] is None


def test_a_record_of_a_run_of_before_is_read_by_the_keys_of_today(tmp_path):
    record = {"synthetic": True, "cases": {"train": 3}, "prescriptions_gy": {"60": 3}, "normalised_to_gy": 70.0}
    (tmp_path / "data.json").write_text(json.dumps(record))
    found = read_data_record(tmp_path)
    assert found["normalized_to_gy"] == 70.0
    assert "normalised_to_gy" not in found


def test_a_run_without_a_record_has_none(tmp_path):
    assert read_data_record(tmp_path) is None


def test_a_record_that_says_less_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="normalized_to_gy"):
        write_data_record(tmp_path, {key: value for key, value in RECORD.items() if key != "normalized_to_gy"})
    assert not (tmp_path / "data.json").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"synthetic": true}', "{", "\xff"])
def test_a_damaged_record_is_refused(tmp_path, text):
    (tmp_path / "data.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"data\.json"):
        read_data_record(tmp_path)
