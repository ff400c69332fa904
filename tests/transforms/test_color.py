import colorsys

import numpy as np
import pytest
import torch

from ctan_monai.errors import ConfigError
from ctan_monai.transforms.color import RandColorJitterd, change_colors


@pytest.fixture
def image():
    return torch.from_numpy(np.random.default_rng(0).uniform(40, 200, (3, 6, 8)).astype(np.float32))


def test_factors_of_one_change_nothing(image):
    torch.testing.assert_close(change_colors(image, [1.0] * 6), image)


def test_brightness_multiplies_and_stays_in_range(image):
    torch.testing.assert_close(change_colors(image, [1.2, 1, 1, 1, 1, 1]), (image * 1.2).clamp(0, 255))
    assert change_colors(image, [9.0, 1, 1, 1, 1, 1]).max() == 255


def test_without_saturation_all_channels_are_the_brightness_of_itu_601(image):
    red, green, blue = change_colors(image, [1, 1, 0.0, 1, 1, 1])
    torch.testing.assert_close(red, green)
    torch.testing.assert_close(green, blue)
    y, _, _ = colorsys.rgb_to_yiq(*image[:, 2, 3].tolist())  # colorsys rounds the weights to two digits
    assert float(red[2, 3]) == pytest.approx(y, abs=1.5)


def test_contrast_moves_away_from_the_mean_and_keeps_it(image):
    weights = torch.tensor([0.299, 0.587, 0.114]).reshape(3, 1, 1)
    changed = change_colors(image, [1, 0.5, 1, 1, 1, 1])
    mean = (image * weights).sum(0).mean()
    torch.testing.assert_close((changed * weights).sum(0).mean(), mean)
    torch.testing.assert_close(changed - mean, 0.5 * (image - mean), rtol=1e-4, atol=1e-3)


def test_balance_acts_on_each_channel(image):
    changed = change_colors(image, [1, 1, 1, 1.1, 1.0, 0.9])
    torch.testing.assert_close(changed, image * torch.tensor([1.1, 1.0, 0.9]).reshape(3, 1, 1))


def test_the_same_seed_changes_alike_and_only_the_image(image):
    sample = {"image": image, "lesion": torch.ones(1, 6, 8), "case": "a"}
    found = []
    for seed in (3, 3, 4):
        jitter = RandColorJitterd(prob=1.0)
        jitter.set_random_state(seed)
        found.append(jitter(sample))
    assert torch.equal(found[0]["image"], found[1]["image"])
    assert not torch.equal(found[0]["image"], found[2]["image"])
    assert found[0]["lesion"] is sample["lesion"]
    assert torch.equal(RandColorJitterd(prob=0.0)(sample)["image"], image)


def test_as_many_numbers_are_drawn_whether_or_not_anything_is_done(image):
    states = []
    for prob in (0.0, 1.0):
        jitter = RandColorJitterd(prob=prob)
        jitter.set_random_state(0)
        jitter({"image": image})
        states.append(jitter.R.uniform())
    assert states[0] == states[1]


def test_shares_and_channels_that_make_no_sense_are_refused(image):
    with pytest.raises(ConfigError, match=r"RandColorJitterd\.contrast"):
        RandColorJitterd(contrast=1.0)
    with pytest.raises(ConfigError, match="2 channels"):
        change_colors(image[:2], [1.0] * 6)
