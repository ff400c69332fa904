"""From which case values come: no fixed point, no case of the same patient, the same place in the image."""

import pytest
import torch

from ctan_monai.engines.diagnosis.donors import at_same_position, choose_donors
from ctan_monai.errors import DataError


@pytest.mark.parametrize("count", [2, 3, 7, 50])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_donors_are_a_permutation_without_a_fixed_point_that_a_seed_decides(count, seed):
    donors = choose_donors(list(range(count)), seed)
    assert sorted(donors) == list(range(count))
    assert all(donor != case for case, donor in enumerate(donors))
    assert donors == choose_donors(list(range(count)), seed)
    assert count < 4 or donors != choose_donors(list(range(count)), seed + 1)


def test_no_case_gets_one_of_its_own_patient_where_that_can_be():
    groups = ["a", "a", "a", "b", "b", "c", "c", "d"]
    for seed in range(20):
        assert all(groups[donor] != groups[case] for case, donor in enumerate(choose_donors(groups, seed)))


def test_a_single_case_has_no_donor():
    with pytest.raises(DataError, match="two are needed"):
        choose_donors(["a"])


def test_the_slice_is_that_at_the_same_relative_position():
    volume = torch.arange(10.0).reshape(1, 1, 1, 1, 10).expand(1, 1, 2, 2, 10)
    assert at_same_position(volume, (2, 2, 5))[0, 0, 0, 0].tolist() == [1, 3, 5, 7, 9]
    assert at_same_position(volume[..., :5], (2, 2, 10))[0, 0, 1, 1].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert at_same_position(volume, (4, 1, 10)).shape == (1, 1, 4, 1, 10)
    assert torch.equal(at_same_position(volume, (2, 2, 10)), volume)
