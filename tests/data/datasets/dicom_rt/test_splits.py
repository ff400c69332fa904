"""Patients are divided as the seed says, and stay where they are."""

import json

import pytest

from ctan_monai.data.datasets.dicom_rt.prepared_folder import kept_splits
from ctan_monai.data.lists.splits import divide
from ctan_monai.errors import ConfigError, DataError


def people(*numbers):
    return {f"pt_{number}": f"MRN{number}" for number in numbers}


def sizes(split):
    return [list(split.values()).count(name) for name in ("train", "validation", "test")]


def test_fractions_are_kept_and_no_split_is_empty():
    assert sizes(divide(people(*range(100)))) == [70, 15, 15]
    assert sizes(divide(people(*range(10)))) == [6, 2, 2]
    assert sizes(divide(people(1, 2, 3))) == [1, 1, 1]
    assert sizes(divide(people(1, 2))) == [1, 1, 0]
    assert sizes(divide(people(1))) == [1, 0, 0]
    assert sizes(divide(people(*range(10)), split_fractions=(0.8, 0.2, 0))) == [8, 2, 0]


def test_the_same_seed_divides_alike_in_any_order_and_under_any_pseudonym():
    one = divide(people(*range(40)))
    assert one == divide(people(*reversed(range(40))))
    other = divide({f"x{number}": f"MRN{number}" for number in range(40)})
    assert [one[f"pt_{number}"] for number in range(40)] == [other[f"x{number}"] for number in range(40)]
    assert one != divide(people(*range(40)), seed=1)


def test_patients_that_come_later_move_nobody():
    first = divide(people(*range(20)))
    later = divide(people(*range(30)), kept=first)
    assert all(later[name] == split for name, split in first.items())
    assert sizes(later) == [22, 4, 4]
    assert divide(people(5), kept=first) == {"pt_5": first["pt_5"]}


@pytest.mark.parametrize("name", ["shares", "split_fractions"])
def test_a_folder_of_before_or_of_today_keeps_its_splits_where_it_was_divided_alike(tmp_path, name):
    path, fractions = tmp_path / "datalist.json", [0.6, 0.2, 0.2]
    lists = {"train": [{"patient": "a"}], "validation": [{"patient": "b"}], "test": []}
    path.write_text(json.dumps({"seed": 3, name: fractions, **lists}))
    assert kept_splits(path, 3, fractions) == {"a": "train", "b": "validation"}
    assert kept_splits(path, 4, fractions) == kept_splits(path, 3, [0.5, 0.3, 0.2]) == {}
    assert kept_splits(tmp_path / "none.json", 3, fractions) == {}


def test_damaged_splits_are_refused_and_not_drawn_anew(tmp_path):
    path = tmp_path / "datalist.json"
    path.write_text('{"seed": 3, "split_fractions": [0.6, 0.2, 0.2], "train": [{"pat')
    with pytest.raises(DataError, match=r"datalist\.json: the splits of the patients that were prepared before"):
        kept_splits(path, 3, [0.6, 0.2, 0.2])


@pytest.mark.parametrize(
    "split_fractions", [(0.5, 0.5), (0.5, 0.4, 0.2), (0, 0.5, 0.5), (1.2, -0.1, -0.1), None, ("a", 0.5, 0.5)]
)
def test_fractions_that_divide_nothing_are_refused(split_fractions):
    with pytest.raises(ConfigError, match="split_fractions: "):
        divide(people(1), split_fractions=split_fractions)
