from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, ScaleIntensityRanged

from ctan_monai.errors import ConfigError
from ctan_monai.transforms import RandWindowChannelsd, WindowChannelsd

WINDOW = {"ct": [-160, 240]}


def test_the_ct_channel_is_scaled_as_monai_scales_it_and_the_contour_is_left_alone(sample):
    windowed = WindowChannelsd(["ct", "PTV70"], WINDOW)(sample)
    expected = ScaleIntensityRanged("image", -160, 240, 0.0, 1.0, clip=True)({"image": sample["image"][:1]})["image"]
    torch.testing.assert_close(windowed["image"][0], expected[0])
    np.testing.assert_array_equal(windowed["image"][1], sample["image"][1])
    assert isinstance(windowed["image"], MetaTensor)
    assert sample["image"].min() < -160, "the sample that came in is unchanged"


def test_hounsfield_units_by_hand():
    image = torch.tensor([[-1000.0, -160.0, 40.0, 240.0, 3000.0]])
    scaled = WindowChannelsd(["ct"], WINDOW)({"image": image})["image"]
    torch.testing.assert_close(scaled, torch.tensor([[0.0, 0.0, 0.5, 1.0, 1.0]]))


def test_jitter_moves_the_window_within_its_bounds_and_repeats_with_the_seed(sample):
    drawn = []
    for _ in range(2):
        jitter = RandWindowChannelsd(["ct", "PTV70"], WINDOW, jitter=0.1, prob=1.0)
        Compose([jitter]).set_random_state(seed=1)
        windowed = jitter(sample)["image"]
        assert windowed[0].min() >= 0
        assert windowed[0].max() <= 1
        np.testing.assert_array_equal(windowed[1], sample["image"][1])
        drawn.append(windowed)
    assert torch.equal(drawn[0], drawn[1])
    plain = WindowChannelsd(["ct", "PTV70"], WINDOW)(sample)["image"]
    assert 0 < (drawn[0] - plain).abs().max() <= 0.25


def test_without_jitter_the_random_window_is_the_plain_one(sample):
    plain = WindowChannelsd(["ct", "PTV70"], WINDOW)(sample)["image"]
    assert torch.equal(RandWindowChannelsd(["ct", "PTV70"], WINDOW, prob=0.0)(sample)["image"], plain)
    assert torch.equal(RandWindowChannelsd(["ct", "PTV70"], WINDOW, jitter=0.0, prob=1.0)(sample)["image"], plain)


@pytest.mark.parametrize("windows", [{"mr": [0, 1]}, {"ct": [5, 5]}, {"ct": [1]}])
def test_a_window_needs_a_channel_and_two_ends(windows):
    with pytest.raises(ConfigError, match="windows"):
        WindowChannelsd(["ct"], windows)


def test_a_jitter_that_could_turn_a_window_inside_out_is_refused():
    with pytest.raises(ConfigError, match="jitter"):
        RandWindowChannelsd(["ct"], WINDOW, jitter=0.5)
