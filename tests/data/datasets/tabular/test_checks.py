from __future__ import annotations

import numpy as np
import pytest
from tabular_data import SHAPE, full_case, label_map, ramp, save_volume, volume_layout, write_csv

from ctan_monai.data.datasets.tabular.checks import check_items, check_table
from ctan_monai.data.datasets.tabular.datalist import tabular_datalist
from ctan_monai.tasks import Segmentation

LUNGS = Segmentation("lungs", ["Lung_L", "Lung_R"], overlapping=True, mirror_pairs=[("Lung_L", "Lung_R")])


def cohort(folder, **changes):
    """Write four good cases, and change the third."""
    rows = []
    for at, split in enumerate(["train", "train", "train", "test"]):
        row = full_case(folder, f"p{at}", split=split, group=f"g{at}")
        save_volume(folder / row["image"], ramp() + at)
        rows.append(row)
    rows[2] = rows[2] | changes
    return write_csv(folder / "cases.csv", rows)


def found_in(path, layout=None):
    return check_table(path, None, layout or volume_layout(), progress=False)


def test_good_data_have_no_problem_and_are_counted(tmp_path):
    found = found_in(cohort(tmp_path, age="", dose=""))
    assert found.problems == ()
    assert found.cases == {"train": 3, "test": 1}
    assert found.known["age"] == {"train": 2, "test": 1}
    assert found.known["core"] == {"train": 3, "test": 1}


def small(value, dtype=np.float32):
    return np.full(SHAPE, value, dtype)


@pytest.mark.parametrize(
    ("column", "content", "message"),
    [
        ("grade", "medium", "grade: 'medium' is no class"),
        ("dose", "nowhere.nii.gz", "there is no file"),
        ("case", "p1", "this case is in line 3 already"),
        ("image", small(5.0), "it is the same everywhere"),
        ("image", small(np.nan), "120 of 120 voxels are NaN"),
        ("tumour", label_map(core=9), "the label map holds 9"),
        ("tumour", label_map()[:, :, :3], "its voxels are (6, 5, 3)"),
        ("dose", small(-1.0), "dose falls to -1 Gy"),
        ("group", "g3", "same patient: p2 (train) and p3 (test)"),
        ("image", ramp() + 3, "same file: p2 (train) and p3 (test)"),
    ],
)
@pytest.mark.promise(4, "faults of the table of a tabular dataset are found once, at their place")
def test_each_fault_is_found_once_at_its_place(tmp_path, column, content, message):
    if not isinstance(content, str):
        content = save_volume(tmp_path / "changed.nii.gz", content)
    (problem,) = found_in(cohort(tmp_path, **{column: content})).problems
    assert problem.level == "fault"
    assert message in problem.what
    assert problem.where in ("line 4", "splits")
    assert problem.remedy


def test_an_empty_mask_is_a_warning_because_it_may_be_so(tmp_path):
    found = found_in(cohort(tmp_path, tumour=save_volume(tmp_path / "m.nii.gz", label_map(core=0))))
    (problem,) = found.problems
    assert (problem.level, problem.case, found.faults) == ("warning", "p2", 0)
    assert "the mask of core is empty" in problem.what


def test_a_mask_that_is_the_whole_image_is_a_warning_because_it_may_be_none(tmp_path):
    everything = save_volume(tmp_path / "m.nii.gz", np.ones(SHAPE, np.uint8))
    found = found_in(cohort(tmp_path, tumour=everything))
    warned = [problem.what for problem in found.problems if problem.level == "warning"]
    assert "the mask of core is the whole image" in warned


def test_a_label_that_nobody_has_is_a_fault(tmp_path):
    rows = [full_case(tmp_path, "p0", age="", split="train"), full_case(tmp_path, "p1", split="test")]
    save_volume(tmp_path / "p1_ct.nii.gz", ramp() + 1)
    (problem,) = found_in(write_csv(tmp_path / "cases.csv", rows)).problems
    assert problem.what == "age is known in none of the 1 cases to train on"


def test_a_table_that_cannot_be_used_at_all_is_one_fault(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text("case,image\n")
    (problem,) = found_in(path).problems
    assert "it lists no case" in problem.what


@pytest.mark.parametrize(
    ("direction", "right_first", "swapped"), [(1, False, False), (1, True, True), (-1, False, True), (-1, True, False)]
)
@pytest.mark.promise(4, "in data of one's own, left and right labels are checked against the affine")
def test_left_is_where_the_image_says_that_left_is(tmp_path, direction, right_first, swapped):
    """In RAS the first axis runs to the right: what has small indices lies left, unless the axis is flipped."""
    shape, affine_ras = (40, 8, 8), np.diag([2.0 * direction, 2, 2, 1])
    low, high = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    low[2:10], high[30:38] = 1, 1
    row = {
        "image": save_volume(
            tmp_path / "a.nii.gz", np.arange(np.prod(shape)).reshape(shape).astype(np.int16), affine_ras
        ),
        "Lung_L": save_volume(tmp_path / "l.nii.gz", high if right_first else low, affine_ras),
        "Lung_R": save_volume(tmp_path / "r.nii.gz", low if right_first else high, affine_ras),
    }
    found = found_in(write_csv(tmp_path / "cases.csv", [row]), volume_layout([LUNGS]))
    assert [problem.what for problem in found.problems] == ["Lung_L and Lung_R lie on each other's side"] * swapped


def test_the_cases_of_any_bundles_lists_are_checked_too(tmp_path):
    path = cohort(tmp_path)
    tasks = volume_layout().tasks
    lists = tabular_datalist(
        path, tmp_path / "cache", list(tasks), ["ct"], required=["train"], progress=False, workers=0
    )
    found = check_items(lists, tasks, progress=False)
    assert found.problems == ()
    assert found.cases["test"] == 1
    damaged = lists["test"][0]["file"]
    with open(damaged, "r+b") as file:
        file.seek(-3, 2)
        file.write(b"xyz")
    (problem,) = check_items(lists, tasks, progress=False).problems
    assert (problem.level, problem.where) == ("fault", damaged)
