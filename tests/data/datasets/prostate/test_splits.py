"""Patients are divided as the seed says, and stay where they are."""

import pytest

from ctan_monai.data.lists.splits import divide
from ctan_monai.errors import ConfigError


def people(*numbers):
    return {f"pt_{number}": f"MRN{number}" for number in numbers}


def sizes(split):
    return [list(split.values()).count(name) for name in ("train", "validation", "test")]


def test_shares_are_kept_and_no_split_is_empty():
    assert sizes(divide(people(*range(100)))) == [70, 15, 15]
    assert sizes(divide(people(*range(10)))) == [6, 2, 2]
    assert sizes(divide(people(1, 2, 3))) == [1, 1, 1]
    assert sizes(divide(people(1, 2))) == [1, 1, 0]
    assert sizes(divide(people(1))) == [1, 0, 0]
    assert sizes(divide(people(*range(10)), shares=(0.8, 0.2, 0))) == [8, 2, 0]


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


@pytest.mark.parametrize(
    "shares", [(0.5, 0.5), (0.5, 0.4, 0.2), (0, 0.5, 0.5), (1.2, -0.1, -0.1), None, ("a", 0.5, 0.5)]
)
def test_shares_that_divide_nothing_are_refused(shares):
    with pytest.raises(ConfigError, match="shares: "):
        divide(people(1), shares=shares)
