from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from ctan_monai.apps.main import app
from ctan_monai.apps.new_parts import flow
from ctan_monai.apps.new_tasks import parse_image, parse_task
from ctan_monai.data.lists.table import read_table
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification, Regression, Segmentation

FIVE_TASKS = (
    "segmentation:organs=Liver,Kidney_L,Kidney_R@overlapping",
    "segmentation:tumour=core:1,edema:2,active:4",
    "classification:grade=low,high",
    "regression:dose=Gy@region",
    "regression:age=years@image",
)


def new(*arguments):
    return CliRunner().invoke(app, ["new", *map(str, arguments)])


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("segmentation:lesion=3", Segmentation("lesion", ["lesion_1", "lesion_2", "lesion_3"])),
        ("segmentation:lesion=1", Segmentation("lesion", ["lesion"], overlapping=True)),
        ("segmentation:lesion", Segmentation("lesion", ["lesion"], overlapping=True)),
        ("segmentation:s=core,edema", Segmentation("s", ["core", "edema"])),
        ("segmentation:s=a, b@overlapping", Segmentation("s", ["a", "b"], overlapping=True)),
        ("segmentation:s=Eye_L,Eye_R", Segmentation("s", ["Eye_L", "Eye_R"], mirror_pairs=[("Eye_L", "Eye_R")])),
        ("segmentation:r=whole:1+2+4,core:1+4", Segmentation("r", ["whole", "core"], overlapping=True)),
        ("segmentation:sides=one:1+3,two:2", Segmentation("sides", ["one", "two"])),
        ("classification:grade=2", Classification("grade", ["grade_0", "grade_1"])),
        ("classification:grade=low,high", Classification("grade", ["low", "high"])),
        ("classification:covid", Classification("covid", ["covid"])),
        ("classification:f=a,b@multilabel", Classification("f", ["a", "b"], multilabel=True)),
        ("regression:dose=Gy", Regression("dose", "Gy", 70.0, nonnegative=True)),
        ("regression:dose=Gy@scale=60@region", Regression("dose", "Gy", 60.0, region="mask", nonnegative=True)),
        ("regression:ct=HU", Regression("ct", "HU", 1000.0)),
        ("regression:age=years@image", Regression("age", "years", 100.0, level="image", nonnegative=True)),
        ("regression:flow=ml/min@scale=5@nonnegative", Regression("flow", "ml/min", 5.0, nonnegative=True)),
    ],
)
def test_a_task_is_written_on_the_command_line(text, task):
    assert parse_task(text).task == task


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lesion", "it is not KIND:NAME=DETAILS"),
        ("segment:lesion=3", "the kind is none of segmentation, classification, regression"),
        ("segmentation:lesion=0", "0 is no number of labels"),
        ("segmentation:lesion=a,a", "'a' cannot be used twice"),
        ("segmentation:lesion=a:1+2,b:2+1", "two labels have the same number"),
        ("segmentation:lesion=a:1+1,b:2", "'a:1+1' names a number twice"),
        ("segmentation:lesion=a:1+,b:2", "'1+' is no number of a label, nor several"),
        ("segmentation:lesion=a:1+0,b:2", "'1+0' is no number of a label, nor several"),
        ("segmentation:lesion=a,,b", "'' cannot be used as a name"),
        ("segmentation:lesion=a/b,c", "'a/b' cannot be used as a name"),
        ("segmentation:lesion=a:1,b", "only some labels have a number"),
        ("segmentation:lesion=a:1,b:1", "two labels have the same number"),
        ("segmentation:lesion=a:0,b:1", "'0' is no number of a label"),
        ("segmentation:image=a,b", "cannot be used as a key of a batch"),
        ("segmentation:x=a@multilabel", "@multilabel is unknown; segmentation has @overlapping"),
        ("regression:dose", "the unit is missing"),
        ("regression:flow=l/min", "the scale of 'l/min' is not known"),
        ("regression:flow=l/min@scale=big", "the scale 'big' is no number"),
        ("regression:flow=l/min@scale=-1", "is not positive"),
        ("regression:age=years@image@region", "a value of the whole image has no region"),
    ],
)
def test_what_cannot_be_understood_is_answered_with_an_example(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_task(text)
    assert message in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["pet", "mr:", "mr:a,a", "mr:case,b", "rgb:r,g,b", "ct:a b"])
def test_images_that_cannot_be_are_refused(text):
    if text == "mr:":
        assert parse_image(text, 2).channels == ("mr",)
        return
    with pytest.raises(ConfigError, match="--image"):
        parse_image(text, 2)


def test_images_have_two_dimensions():
    with pytest.raises(ConfigError, match="which have two axes"):
        parse_image("gray", 3)
    with pytest.raises(ConfigError, match="'grey' is gray now"):
        parse_image("grey", 2)
    assert (parse_image("", 2).kind, parse_image("", 3).kind) == ("rgb", "ct")


@pytest.mark.parametrize(
    "value", ["yes", "1", "a b", "it's", "Kidney_L", "@x", "$y", "null", "No", "5 %", 3, 0.5, True, None, ["a", ["b"]]]
)
def test_any_value_comes_back_from_yaml(value):
    assert yaml.safe_load("x: " + flow(value)) == {"x": value}
    assert yaml.safe_load("x: " + flow({"a": value})) == {"x": {"a": value}}


@pytest.mark.parametrize(
    "options",
    [["--image", "ct"], ["--image", "mr:t1,t2", "--spatial-dims", "3"], [], ["--image", "gray"]],
    ids=["slices", "volumes", "color", "gray"],
)
def test_a_bundle_is_complete_and_short(tmp_path, options):
    tasks = [option for text in FIVE_TASKS for option in ("--task", text)]
    done = new("five", *tasks, *options, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    names = sorted(path.relative_to(tmp_path / "five").as_posix() for path in (tmp_path / "five").rglob("*.*"))
    configs = [
        f"configs/{name}" for name in ("evaluate.yaml", "inference.yaml", "logging.conf", "metadata.json", "train.yaml")
    ]
    assert names == [*configs, "datalist_example.csv", "docs/README.md"]
    for name, width in (("train", 110), ("evaluate", 120), ("inference", 120)):
        text = (tmp_path / "five" / "configs" / f"{name}.yaml").read_text()
        assert "{{" not in text
        assert "\n\n\n" not in text
        assert len(text.splitlines()) <= 150  # 135 with two tasks
        assert max(map(len, text.splitlines())) <= width
    config = yaml.safe_load((tmp_path / "five" / "configs" / "train.yaml").read_text())
    assert [task["name"] for task in config["tasks"]] == ["organs", "tumour", "grade", "dose", "age"]
    assert config["label_values"] == {"tumour": {"core": 1, "edema": 2, "active": 4}}
    assert read_table(tmp_path / "five" / "datalist_example.csv").entries[0].cells["age"] == "50.0"
    assert json.loads((tmp_path / "five" / "configs" / "metadata.json").read_text())["name"] == "five"
    assert str(tmp_path / "five") in done.output


def test_nothing_is_overwritten(tmp_path):
    assert new("mine", "--task", "segmentation:a", "--out", tmp_path).exit_code == 0
    again = new("mine", "--task", "segmentation:b", "--out", tmp_path)
    assert again.exit_code == 2
    assert "is there already" in again.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a/b", "--task", "segmentation:x"], "a bundle's name is a letter"),
        (["mine", "--task", "segmentation:x", "--task", "classification:x=2"], "each with a name of its own"),
        (["mine", "--task", "segmentation:x=ct", "--image", "ct"], "each needs a column name of its own"),
        (["mine", "--task", "segmentation:x=split"], "each needs a column name of its own"),
        (["mine"], "Missing option"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(tmp_path, arguments, message):
    done = new(*arguments, "--out", tmp_path)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not list(tmp_path.iterdir())


def test_help_shows_examples():
    shown = " ".join(new("--help").output.split())
    assert "segmentation:lesion=core,edema" in shown
    assert "regression:dose=Gy" in shown


def test_groups_of_numbers_stand_in_the_configs_and_in_the_page_about_the_table(tmp_path):
    done = new("brats", "--image", "mr", "--task", "segmentation:r=whole:1+2+4,core:1+4,active:4", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    for name in ("train", "inference"):
        config = yaml.safe_load((tmp_path / "brats" / "configs" / f"{name}.yaml").read_text())
        assert config["label_values"] == {"r": {"whole": [1, 2, 4], "core": [1, 4], "active": 4}}
        assert name == "inference" or config["tasks"][0]["overlapping"] is True  # inference asks the run
    assert "0 background, 1+2+4 whole, 1+4 core, 4 active" in (tmp_path / "brats" / "docs" / "README.md").read_text()
    assert read_table(tmp_path / "brats" / "datalist_example.csv").columns[-1] == "r"
