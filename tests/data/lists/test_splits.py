import logging

import numpy as np
import pytest

from ctan_monai.data.lists.splits import SPLITS, grouped_split, grouped_split_or_fold, tell_changes
from ctan_monai.errors import ConfigError


def skewed(lesions=300):
    """Cases of lesions with one to four images each, in classes of very different size."""
    random = np.random.default_rng(1)
    groups, classes = {}, {}
    for lesion in range(lesions):
        name = str(random.choice(["nv", "mel", "df"], p=[0.7, 0.25, 0.05]))
        for view in range(int(random.integers(1, 5))):
            groups[f"{lesion}_{view}"], classes[f"{lesion}_{view}"] = f"lesion{lesion}", name
    return groups, classes


def test_every_case_is_in_one_split_and_no_group_in_two():
    groups, classes = skewed()
    found = grouped_split(groups, classes)
    assert sorted(case for split in SPLITS for case in found[split]) == sorted(groups)
    places = {groups[case]: split for split in SPLITS for case in found[split]}
    assert all(places[groups[case]] == split for split in SPLITS for case in found[split])


def test_shares_hold_within_each_class_to_the_size_of_a_group():
    groups, classes = skewed()
    found = grouped_split(groups, classes, (0.7, 0.1, 0.2))
    for name in set(classes.values()):
        total = sum(label == name for label in classes.values())
        for split, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
            assert abs(sum(classes[case] == name for case in found[split]) - share * total) <= 4


def test_forty_lesions_of_one_image_are_divided_into_28_4_and_8():
    found = grouped_split({str(n): str(n) for n in range(40)})
    assert [len(found[split]) for split in SPLITS] == [28, 4, 8]


def test_a_class_of_three_lesions_has_one_in_each_split_and_one_of_two_is_trained_on():
    groups = {f"{name}{n}": f"{name}{n}" for name, count in (("a", 3), ("b", 2), ("c", 1)) for n in range(count)}
    found = grouped_split(groups, {case: case[0] for case in groups})
    assert [sum(case[0] == "a" for case in found[split]) for split in SPLITS] == [1, 1, 1]
    assert "c0" in found["train"]
    assert any(case[0] == "b" for case in found["train"])


def test_the_same_seed_divides_alike_in_any_order_and_another_does_not():
    groups, classes = skewed()
    backwards = dict(reversed(groups.items()))
    assert grouped_split(groups, classes, seed=3) == grouped_split(backwards, classes, seed=3)
    assert grouped_split(groups, classes, seed=3) != grouped_split(groups, classes, seed=4)


def test_cases_of_unknown_class_are_divided_too():
    groups = {str(n): str(n) for n in range(30)}
    found = grouped_split(groups, {case: None if int(case) < 20 else "mel" for case in groups})
    assert [sum(int(case) < 20 for case in found[split]) for split in SPLITS] == [14, 2, 4]


def test_a_split_without_a_share_stays_empty():
    found = grouped_split({str(n): str(n) for n in range(10)}, split_fractions=(0.8, 0.0, 0.2))
    assert [len(found[split]) for split in SPLITS] == [8, 0, 2]


@pytest.mark.parametrize("split_fractions", [(0.7, 0.2), (0.7, 0.2, 0.2), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_fractions_that_divide_nothing_are_refused(split_fractions):
    with pytest.raises(ConfigError, match="split_fractions"):
        grouped_split({"a": "a"}, split_fractions=split_fractions)


def test_folds_test_each_case_once_keep_groups_whole_and_spread_classes():
    groups, classes = skewed()
    folds = [grouped_split_or_fold(groups, classes, (0.7, 0.1, 0.2), 3, 5, fold) for fold in range(5)]
    assert sorted(case for fold in folds for case in fold["test"]) == sorted(groups)
    for fold in folds:
        parts = [{groups[case] for case in fold[split]} for split in SPLITS]
        assert sum(map(len, parts)) == len(set().union(*parts))
        assert sorted(case for split in SPLITS for case in fold[split]) == sorted(groups)
        for name in set(classes.values()):
            total = sum(label == name for label in classes.values())
            assert abs(sum(classes[case] == name for case in fold["test"]) - total / 5) <= 4
            assert abs(sum(classes[case] == name for case in fold["validation"]) - 0.8 * total / 8) <= 4


def test_without_folds_cases_are_split_once_and_a_fold_of_none_is_refused():
    groups, classes = skewed(30)
    assert grouped_split_or_fold(groups, classes, (0.7, 0.1, 0.2), 3, None, 0) == grouped_split(groups, classes, seed=3)
    for folds, fold in ((None, 1), (5, 5), (1, 0), ("5", 0)):
        with pytest.raises(ConfigError, match="fold"):
            grouped_split_or_fold(groups, classes, (0.7, 0.1, 0.2), 3, folds, fold)


def test_cases_that_were_split_before_keep_their_split_and_shares_hold_over_all(caplog):
    groups, classes = skewed()
    some = {case: group for case, group in groups.items() if int(group.removeprefix("lesion")) < 200}
    before = grouped_split(some, classes, seed=3)
    kept = {case: split for split, cases in before.items() for case in cases}
    found = grouped_split(groups, classes, seed=3, kept=kept)
    for split, cases in before.items():
        assert set(cases) <= set(found[split])
    places = {groups[case]: split for split in SPLITS for case in found[split]}
    assert all(places[groups[case]] == split for split in SPLITS for case in found[split])
    assert sorted(case for cases in found.values() for case in cases) == sorted(groups)
    for name in set(classes.values()):
        total = sum(label == name for label in classes.values())
        for split, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
            assert abs(sum(classes[case] == name for case in found[split]) - share * total) <= 4
    with caplog.at_level(logging.INFO):
        tell_changes({**kept, "gone": "test"}, {case: split for split in SPLITS for case in found[split]}, "cases")
    added = {split: len(found[split]) - len(before[split]) for split in SPLITS}
    listed = ", ".join(f"{count} {split}" for split, count in added.items())
    assert f"cases added: {listed}; the other {len(kept)} keep their split" in caplog.text
    assert "1 cases that were there before are not any more" in caplog.text


def test_a_new_case_comes_to_its_group_and_stays_out_where_the_group_lies_in_two_splits(caplog):
    groups = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "b3": "b", "c": "c"}
    kept = {"a1": "test", "b1": "train", "b2": "validation"}  # b1 and b2 were not known to be of one patient
    found = grouped_split(groups, kept=kept)
    assert found == {"train": ["b1", "c"], "validation": ["b2"], "test": ["a1", "a2"]}
    assert "1 new cases are left out" in caplog.text
    with pytest.raises(ConfigError, match=r"add_data: 5 folds deal all cases anew"):
        grouped_split_or_fold(groups, None, (0.7, 0.1, 0.2), 0, 5, 0, kept)
