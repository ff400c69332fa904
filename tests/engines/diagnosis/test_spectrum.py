"""Effective ranks of matrices whose spectrum is known."""

import math

import numpy as np
import pytest
import torch

from ctan_monai.engines.diagnosis.spectrum import Covariance, effective_rank


def test_equal_singular_values_count_and_zeros_do_not():
    assert effective_rank(torch.ones(5)) == 5
    assert effective_rank(torch.tensor([2.0, 0.0, 0.0])) == 1
    # shares 1/2, 1/4, 1/4: entropy 1.5 bit
    assert effective_rank(torch.tensor([2.0, 1.0, 1.0])) == pytest.approx(2**1.5)
    assert math.isnan(effective_rank(torch.zeros(3)))


def test_the_covariance_over_positions_and_batches_is_numpys():
    features = torch.randn(6, 4, 5, 3, generator=torch.Generator().manual_seed(0)) + 100
    features[:, 1] = 3 * features[:, 0] + 7  # two channels, one direction
    found = Covariance()
    found.add(features[:4])
    found.add(features[4:])
    rows = features.movedim(1, -1).reshape(-1, 4).double().numpy()
    values = np.linalg.svd(np.cov(rows.T, bias=True), compute_uv=False)
    shares = values[values > 1e-9] / values.sum()
    spectrum = found.spectrum()
    assert spectrum.rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-3)
    assert spectrum.largest_share == pytest.approx(shares[0], rel=1e-3)
    assert (spectrum.channels, spectrum.observations) == (4, 90)


def test_scales_of_channels_matter_only_to_the_rank_that_is_not_standardized():
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    scaled = noise * torch.tensor([1.0, 10.0, 1000.0]).reshape(1, 3, 1, 1)
    found = Covariance()
    found.add(scaled)
    assert found.spectrum().rank == pytest.approx(1, abs=0.01)
    assert found.spectrum().rank_standardized == pytest.approx(3, abs=0.01)


def test_constant_features_have_no_rank():
    found = Covariance()
    found.add(torch.full((2, 3, 4, 4), 2.0))
    assert math.isnan(found.spectrum().rank)
    assert math.isnan(found.spectrum().largest_share)
