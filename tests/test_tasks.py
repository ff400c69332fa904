"""Tasks: what YAML may say, what is refused, and what the other layers read off them."""

import json
import pickle

import pytest

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import (
    Classification,
    Regression,
    Segmentation,
    check_tasks,
    describe_task,
    present_key,
    region_key,
    task_from,
)

ORGANS = Segmentation("oar", ["Cord", "Left", "Right"], overlapping=True, mirror_pairs=[["Left", "Right"]])
DOSE = Regression("dose", unit="Gy", scale=70.0)


def test_lists_from_yaml_become_tuples_so_that_tasks_can_be_keys():
    assert ORGANS.labels == ("Cord", "Left", "Right")
    assert ORGANS.mirror_pairs == (("Left", "Right"),)
    assert Classification("stage", ["early", "late"]).classes == ("early", "late")
    assert {ORGANS: 1, DOSE: 2}[pickle.loads(pickle.dumps(ORGANS))] == 1  # noqa: S301


@pytest.mark.parametrize(
    ("task", "channels", "pixel_level"),
    [
        (Segmentation("oar", ["a", "b"], overlapping=True), 2, True),
        (Segmentation("oar", ["a", "b"]), 3, True),  # and the background
        (Regression("dose", "Gy", 70.0), 1, True),
        (Regression("age", "years", 100.0, level="image"), 1, False),
        (Classification("lesion", ["a", "b", "c"]), 3, False),
        (Classification("covid", ["positive"]), 1, False),
    ],
)
def test_channels_are_one_per_answer_and_one_for_an_exclusive_background(task, channels, pixel_level):
    assert (task.channels, task.pixel_level) == (channels, pixel_level)


@pytest.mark.parametrize(
    ("classes", "multilabel", "exclusive"),
    [(["a", "b"], False, True), (["a", "b"], True, False), (["a"], False, False), (["a"], True, False)],
)
def test_classes_exclude_each_other_unless_there_is_one_or_several_may_hold(classes, multilabel, exclusive):
    assert Classification("finding", classes, multilabel).exclusive is exclusive


@pytest.mark.parametrize(
    "name", ["", "2d", "left lung", "../dose", "image", "case", "file", "pred", "a_present", "a_region"]
)
@pytest.mark.parametrize(
    "make",
    [
        lambda name: Segmentation(name, ["a"]),
        lambda name: Regression(name, "Gy", 1.0),
        lambda name: Classification(name, ["a"]),
    ],
    ids=["segmentation", "regression", "classification"],
)
def test_a_name_that_cannot_be_a_key_of_a_batch_is_refused(make, name):
    with pytest.raises(ConfigError, match="cannot be used as a key of a batch"):
        make(name)


@pytest.mark.parametrize("entries", [[], ["a", "b", "a"]])
def test_labels_and_classes_are_listed_once_each(entries):
    with pytest.raises(ConfigError, match=r"oar\.labels: .*empty or repeats"):
        Segmentation("oar", entries)
    with pytest.raises(ConfigError, match=r"stage\.classes: .*empty or repeats"):
        Classification("stage", entries)


def test_a_mirror_pair_must_name_labels_of_the_task():
    with pytest.raises(ConfigError, match=r"oar\.mirror_pairs: \['Rihgt'\] is not among the labels"):
        Segmentation("oar", ["Left", "Right"], mirror_pairs=[("Left", "Rihgt")])


@pytest.mark.parametrize("scale", [0.0, -70.0, float("nan")])
def test_a_scale_must_be_positive(scale):
    with pytest.raises(ConfigError, match=r"dose\.scale: .* is not positive"):
        Regression("dose", "Gy", scale)


@pytest.mark.parametrize("wrong", [{"level": "pixel"}, {"region": "body"}])
def test_level_and_region_are_one_of_two(wrong):
    (field,) = wrong
    with pytest.raises(ConfigError, match=rf"dose\.{field}: .* is unknown. Remedy: Use one of"):
        Regression("dose", "Gy", 70.0, **wrong)


def test_presence_and_region_lie_beside_the_label():
    assert (present_key(DOSE), region_key(DOSE)) == ("dose_present", "dose_region")


def test_tasks_come_back_as_a_tuple_in_their_order():
    assert check_tasks(iter([DOSE, ORGANS])) == (DOSE, ORGANS)


@pytest.mark.parametrize("tasks", [[], [DOSE, DOSE], [DOSE, "oar"], [Regression]])
def test_no_task_a_stranger_or_a_name_twice_is_refused(tasks):
    with pytest.raises(ConfigError, match="expected at least one task, each with a name of its own"):
        check_tasks(tasks)


@pytest.mark.parametrize("task", [ORGANS, DOSE, Classification("stage", ["early", "late"])])
def test_a_task_survives_a_journey_through_json(task):
    assert task_from(json.loads(json.dumps(describe_task(task)))) == task


@pytest.mark.parametrize(
    "description", [{"name": "a"}, {"kind": "Detection", "name": "a"}, {"kind": "Regression", "name": "a", "units": 1}]
)
def test_a_description_of_another_version_is_refused(description):
    with pytest.raises(ConfigError, match="is no task of this version"):
        task_from(description)
