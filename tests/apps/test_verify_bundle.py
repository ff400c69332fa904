from __future__ import annotations

import shutil

import pytest
from tabular_data import full_case, ramp, save_volume, write_csv
from typer.testing import CliRunner

from ctan_monai.apps.main import app

TASKS = (
    "segmentation:tumour=core,edema",
    "classification:grade=low,high",
    "regression:dose=Gy",
    "regression:age=years@image",
)


def call(*arguments):
    return CliRunner().invoke(app, [str(word) for word in arguments], env={"COLUMNS": "200"})


@pytest.fixture
def bundle(tmp_path):
    done = call(
        "new", "mine", *(word for task in TASKS for word in ("--task", task)), "--image", "ct", "--out", tmp_path
    )
    assert done.exit_code == 0
    return tmp_path / "mine"


def cases(folder, **changes):
    rows = [full_case(folder, f"p{at}", split=split) for at, split in enumerate(["train", "train", "test"])]
    for at, row in enumerate(rows):
        save_volume(folder / row["image"], ramp() + at)
    return write_csv(folder / "cases.csv", [rows[0], rows[1] | changes, rows[2]])


def test_good_data_leave_with_0_and_a_count(bundle, tmp_path):
    done = call("verify", "--bundle", bundle, "--datalist", cases(tmp_path, age=""))
    assert done.exit_code == 0, done.output
    assert "0 faults and 0 warnings in 3 cases" in done.output
    assert "age │ 1" in " ".join(done.output.replace("  ", " ").split())


def test_each_fault_stands_in_a_table_and_the_exit_code_is_1(bundle, tmp_path):
    done = call("verify", "--bundle", bundle, "--datalist", cases(tmp_path, grade="medium"))
    assert done.exit_code == 1
    assert "line 3" in done.output
    assert "'medium' is no class" in done.output
    assert "1 faults" in done.output


def test_a_misspelt_column_is_a_fault_too(bundle, tmp_path):
    path = cases(tmp_path)
    path.write_text(path.read_text().replace("grade", "garde"))
    done = call("verify", "--bundle", bundle, "--datalist", path)
    assert done.exit_code == 1
    assert "Did you mean 'grade' by 'garde'?" in " ".join(done.output.split())


def test_without_a_table_the_bundles_own_data_are_checked(bundle, repository):
    done = call("verify", "--bundle", bundle)
    assert done.exit_code == 0, done.output
    assert "in 20 cases" in done.output
    done = call("verify", "--bundle", repository / "bundles" / "openkbp")
    assert done.exit_code == 0, done.output
    assert "Brainstem" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give FOLDER or --bundle"),
        (["--bundle", "{tmp}"], "has no configs/train.yaml"),
        (["--bundle", "{bundle}", "--dataset-dir", "{tmp}"], "a dataset_dir was given, but no table"),
    ],
)
def test_what_cannot_be_checked_is_said_in_a_line(bundle, tmp_path, arguments, message):
    given = [word.format(bundle=bundle, tmp=tmp_path) for word in arguments]
    done = call("verify", *given)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


def test_a_config_that_cannot_be_understood_is_named(bundle):
    path = bundle / "configs" / "train.yaml"
    path.write_text(path.read_text().replace("labels: [core, edema]", "labels: []"))
    done = call("verify", "--bundle", bundle)
    assert done.exit_code == 2
    assert "labels" in done.output
    shutil.rmtree(bundle)
