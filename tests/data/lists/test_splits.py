import numpy as np
import pytest

from ctan_monai.data.lists.splits import SPLITS, grouped_split
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
