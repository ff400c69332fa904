"""Goals against doses of four voxels, and files that hold something else."""

from pathlib import Path

import numpy as np
import pytest

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.goals import Plan, parse_goal, read_goals

FOUR = np.array([10.0, 40.0, 60.0, 80.0])  # a quarter of the volume each
VOXEL_MM3 = 500.0
EXAMPLE = Path(__file__).parents[2] / "bundles" / "prostate" / "configs" / "goals.yaml"


def goals_of(tmp_path, text):
    path = tmp_path / "goals.yaml"
    path.write_text(text, encoding="utf-8")
    return read_goals(path)


@pytest.fixture
def judge(tmp_path):
    def call(goal, plan=None, more=""):
        (only,) = goals_of(tmp_path, f"goals:\n- {{structure: Rectum, goal: {goal}{more}}}\n").goals
        return only.judge(FOUR, VOXEL_MM3, plan or Plan())

    return call


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        ("V60Gy < 50 %", 50.0, False),  # two of four voxels
        ("V60Gy <= 50 %", 50.0, True),
        ("V61Gy < 50 %", 25.0, True),
        ("V60Gy < 1.5 cc", 1.0, True),
        ("Dmean >= 47.5 Gy", 47.5, True),
        ("Dmax > 80 Gy", 80.0, False),
        ("D100% >= 10 Gy", 10.0, True),
    ],
)
def test_a_goal_is_met_or_not_as_one_counts_voxels(judge, goal, value, met):
    found = judge(goal)
    assert found.value == pytest.approx(value)
    assert found.met is met


def test_doses_can_be_compared_with_the_prescription(judge):
    assert judge("Dmax <= 107 %", Plan(75.0)).value == pytest.approx(100 * 80 / 75)
    assert judge("Dmax <= 107 %", Plan(75.0)).met is True
    assert judge("Dmax <= 106 %", Plan(75.0)).met is False
    assert judge("V100% >= 25 %", Plan(80.0)).met is True
    unknown = judge("Dmax <= 107 %", Plan())
    assert (unknown.value, unknown.met, unknown.reason) == (None, None, "prescription unknown")


def test_a_goal_for_another_fractionation_is_not_judged(judge):
    more = ", fraction_gy: [1.8, 2.0]"
    assert judge("V60Gy <= 50 %", Plan(78.0, 2.0), more).met is True
    assert judge("V60Gy <= 50 %", Plan(59.4, 59.4 / 33), more).met is True, "33 fractions of 1.8 Gy"
    assert judge("V60Gy <= 50 %", Plan(78.0, None), more).met is True, "nobody knows"
    other = judge("V60Gy <= 50 %", Plan(60.0, 3.0), more)
    assert (other.value, other.met, other.reason) == (50.0, None, "not for 3 Gy per fraction")


def test_a_structure_that_the_case_does_not_have_is_not_judged(tmp_path):
    (goal,) = goals_of(tmp_path, "goals: [{structure: Bowel, goal: V50Gy < 17 cc}]").goals
    for inside in (None, np.array([])):
        assert goal.judge(inside, VOXEL_MM3, Plan()).reason == "not contoured"


def test_a_goal_reads_back_as_it_was_written():
    for text in ("V70Gy < 20 %", "D98% >= 95 % of prescription", "D0.03cc <= 62 Gy", "V50Gycc < 17 cc"):
        metric, sign, limit, unit = parse_goal(text.removesuffix(" of prescription"))
        assert f"{metric.name} {sign} {limit:g} {unit}" == text.removesuffix(" of prescription")
    assert parse_goal("V50Gy < 17 cc")[0].name == "V50Gycc"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{structure: Rectum}", "is no goal"),
        ("{structure: Rectum, goal: V70Gy < 20 %, weight: 3}", "is no goal"),
        ("{structure: Rectum, goal: V70Gy 20 %}", "cannot be understood"),
        ("{structure: Rectum, goal: V70Gy < 20}", "cannot be understood"),
        ("{structure: Rectum, goal: V70Gy < 20 Gy}", "no limit in Gy"),
        ("{structure: Rectum, goal: D95% < 20 cc}", "no limit in cc"),
        ("{structure: Rectum, goal: X9 < 20 cc}", "'X9' is unknown"),
        ("{structure: 3, goal: V70Gy < 20 %}", "holds no texts"),
        ("{structure: Rectum, goal: V70Gy < 20 %, fraction_gy: [2, 1]}", "fraction_gy"),
        ("{structure: Rectum, goal: V70Gy < 20 %, fraction_gy: []}", "fraction_gy"),
        ("{structure: Rectum, goal: V70Gy < 20 %, fraction_gy: often}", "fraction_gy"),
    ],
)
def test_an_entry_that_is_wrong_is_named_by_its_line(tmp_path, entry, message):
    text = f"# goals\ngoals:\n- {{structure: CTV, goal: D98% >= 95 %}}\n- {entry}\n"
    with pytest.raises(ConfigError, match=rf"(?s)goals.yaml, line 4 \(entry 2\).*{message}"):
        goals_of(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no list 'goals'"),
        ("goals: []", "no list 'goals'"),
        ("- a", "no list 'goals'"),
        ("goals: [", "cannot be read"),
        ("goal: 1\ngoals: [{structure: A, goal: Dmean < 1 Gy}]", r"\['goal'\] is unknown"),
        ("prescription_gy: -3\ngoals: [{structure: A, goal: Dmean < 1 Gy}]", "prescription_gy is -3"),
        ("goals: [{structure: A, goal: Dmean < 1 Gy}, {structure: A, goal: mean < 1.0 Gy}]", "stands there twice"),
        ("goals: [!!python/object:os.system {}]", "cannot be read"),
    ],
)
def test_a_file_that_is_no_list_of_goals_is_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        goals_of(tmp_path, text)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_goals(tmp_path / "none.yaml")


def test_the_prostate_bundles_example_holds_the_usual_constraints():
    read = read_goals(EXAMPLE)
    known = {(goal.structure, str(goal)): goal for goal in read.goals}
    for structure, text in (
        ("Rectum", "V50Gy < 50 %"),
        ("Rectum", "V70Gy < 20 %"),
        ("Rectum", "V75Gy < 15 %"),
        ("Bladder", "V65Gy < 50 %"),
        ("Bladder", "V70Gy < 35 %"),
        ("Femur_L", "V50Gy < 5 %"),
        ("Femur_R", "V50Gy < 5 %"),
        ("CTV", "D98% >= 95 % of prescription"),
    ):
        assert (structure, text) in known
    assert all(goal.source for goal in read.goals), "each says where it was published"
    assert all(goal.fraction_gy for goal in read.goals if goal.metric.at_unit == "Gy" and goal.metric.kind == "V"), (
        "doses in Gy belong to a dose per fraction"
    )
