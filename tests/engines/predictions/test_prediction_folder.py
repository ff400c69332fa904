"""Predictions never end up on top of earlier ones."""

import json

import pytest

from ctan_monai.engines.predictions.prediction_files import fresh_folder
from ctan_monai.errors import ConfigError


def test_a_second_run_moves_the_first_aside(tmp_path):
    folder = fresh_folder(tmp_path / "inference")
    (folder / "pt_1").mkdir()
    (folder / "pt_1" / "RD.dcm").write_bytes(b"dose")
    for _ in range(2):
        fresh_folder(folder)
    assert [path.name for path in folder.iterdir()] == ["written.json"]
    assert json.loads((folder / "written.json").read_text())["complete"] is False
    assert (tmp_path / "inference.1" / "pt_1" / "RD.dcm").read_bytes() == b"dose"
    assert (tmp_path / "inference.2").is_dir()


def test_an_empty_folder_is_taken(tmp_path):
    assert fresh_folder(tmp_path) == tmp_path


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "CT.dcm").write_bytes(b"ct")
    with pytest.raises(ConfigError, match=r"holds CT.dcm and no written.json"):
        fresh_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["CT.dcm"]


def test_a_file_in_its_place_is_said(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ConfigError, match="it is a file"):
        fresh_folder(tmp_path / "out")
