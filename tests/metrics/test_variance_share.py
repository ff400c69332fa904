"""The variance share of a part is what Sobol's analysis says of functions whose shares are known."""

import itertools
import math

import pytest
import torch

from ctan_monai.metrics.variance_share import variance_share


def draws(count=20_000):
    return torch.randn(4, count, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_sum_of_two_independent_inputs_has_the_shares_of_their_variances():
    a, b, other_a, other_b = draws()
    logits = 3 * a + 4 * b  # variance 9 + 16
    assert variance_share(3 * other_a - 3 * a, logits) == pytest.approx(9 / 25, abs=0.02)
    assert variance_share(4 * other_b - 4 * b, logits) == pytest.approx(16 / 25, abs=0.02)
    assert variance_share(3 * other_a + 4 * other_b - logits, logits) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_where_all_is_exchanged_few_images_have_a_share_of_1_too(count):
    """The mean over all ways in which each of the images gets another one's, by enumeration."""
    logits = draws()[0, :count]
    ways = [way for way in itertools.permutations(range(count)) if all(at != to for at, to in enumerate(way))]
    shares = [variance_share(logits[list(way)] - logits, logits) for way in ways]
    assert sum(shares) / len(shares) == pytest.approx(1)


def test_a_product_is_shared_by_both_inputs_as_their_total_effects():
    a, b, other_a, _ = draws()
    # f = (1 + a) (1 + b): variance 3; total effect of a: E[(1 + b)^2] var(a) = 2
    logits = (1 + a) * (1 + b)
    assert variance_share((other_a - a) * (1 + b), logits) == pytest.approx(2 / 3, abs=0.03)


def test_what_all_images_have_in_common_and_offsets_between_channels_count_nowhere():
    a, b, other_a, _ = draws()
    logits = torch.cat([3 * a + 4 * b, 3 * a - 4 * b], 1)  # (N, 2)
    change = (3 * other_a - 3 * a).expand(-1, 2)
    offset = torch.tensor([[100.0, -100.0]])
    assert variance_share(change, logits + offset) == pytest.approx(variance_share(change, logits))
    assert variance_share(change + offset, logits) == pytest.approx(variance_share(change, logits))


def test_an_idle_part_has_none_and_where_nothing_varies_the_share_is_unknown():
    logits = torch.tensor([[[1.0, 2.0]], [[3.0, 5.0]]])  # (2, 1, 2)
    assert variance_share(torch.zeros_like(logits), logits) == 0
    assert math.isnan(variance_share(torch.zeros(2, 1), torch.ones(2, 1)))
    assert math.isnan(variance_share(logits[:1], logits[:1]))
    with pytest.raises(ValueError, match=r"one shape, got \(2, 1\) and \(2, 1, 2\)"):
        variance_share(torch.zeros(2, 1), logits)
