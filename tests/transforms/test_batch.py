"""A batch and its samples, changed by the same numbers, are equal; MONAI's own affine transform is a third opinion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, NormalizeIntensityd, RandAffined, RandFlipd, Resized

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification, Regression, Segmentation
from ctan_monai.transforms import (
    CropOrPadLabelsd,
    NormalizeChannelsd,
    RandAffineLabelsd,
    RandColorJitterd,
    RandMirrorLabelsd,
    RandPatchLabelsd,
    RandWindowChannelsd,
    WindowChannelsd,
)
from ctan_monai.transforms.batch import apply_to_batch, has_batch_form, plain, reseeded

CHANNELS = ["a", "b", "c"]
TASKS = [
    Segmentation("oar", ["L", "M", "R"], overlapping=True, mirror_pairs=[("L", "R")]),
    Regression("dose", unit="Gy", scale=70.0),
    Classification("stage", ["early", "late"]),
]
SHAPE = (40, 48)


def _sample(number: int, shape: tuple[int, ...] = SHAPE) -> dict[str, object]:
    numbers = torch.Generator().manual_seed(number)
    return {
        "image": MetaTensor(torch.rand(3, *shape, generator=numbers) * 255),
        "oar": torch.randint(0, 2, (3, *shape), generator=numbers).to(torch.uint8),
        "oar_present": torch.randint(0, 2, (3,), generator=numbers).bool(),
        "dose": torch.rand(1, *shape, generator=numbers) * 70,
        "dose_present": torch.tensor(number % 2 == 0),
        "dose_region": torch.randint(0, 2, (1, *shape), generator=numbers).to(torch.uint8),
        "stage": torch.tensor(number % 2),
        "stage_present": torch.tensor(True),
        "case": f"pt_{number}",
        "file": f"pt_{number}.case",
    }


def _stacked(samples):
    return {
        key: torch.stack([plain(sample[key]) for sample in samples])
        if isinstance(value, torch.Tensor)
        else [sample[key] for sample in samples]
        for key, value in samples[0].items()
    }


def _both(transform, shape=SHAPE, count=8):
    """Change samples one by one and as a batch, seeded alike; return both as batches, and the samples before."""
    samples, changed, drawn = [_sample(number, shape) for number in range(count)], [], []
    for number, sample in enumerate(samples):
        pipeline = Compose([transform]).set_random_state(seed=number)
        changed.append(pipeline(sample))
        pipeline.set_random_state(seed=number)
        drawn.append(transform.draw())
    return _stacked(changed), apply_to_batch(transform, _stacked(samples), drawn), _stacked(samples)


def _assert_equal(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == other[key].dtype, key
            assert torch.equal(value, other[key]), key
        else:
            assert value == other[key]


WITHOUT_INTERPOLATION = {
    "window": WindowChannelsd(CHANNELS, {"a": [20, 200], "c": [0, 255]}),
    "random window": RandWindowChannelsd(CHANNELS, {"a": [20, 200], "c": [0, 255]}),
    "mirror": RandMirrorLabelsd(TASKS, CHANNELS, channel_pairs=[("a", "c")]),
    "mirror the other axis": RandMirrorLabelsd(TASKS, CHANNELS, spatial_axis=0),
    "color": RandColorJitterd(),
    "cut and pad": CropOrPadLabelsd(TASKS, [33, 64]),
    "normalize by a window": NormalizeChannelsd(CHANNELS, "window", [0, 255]),
    "normalize as ImageNet": NormalizeChannelsd(CHANNELS, "imagenet"),
}


@pytest.mark.parametrize("transform", WITHOUT_INTERPOLATION.values(), ids=WITHOUT_INTERPOLATION.keys())
def test_without_interpolation_a_batch_equals_its_samples_bit_for_bit(transform):
    by_sample, by_batch, before = _both(transform)
    _assert_equal(by_sample, by_batch)
    same = [torch.equal(*pair) for pair in zip(by_batch["image"], before["image"], strict=True)]
    if "Rand" in type(transform).__name__ and not isinstance(transform, RandWindowChannelsd):
        assert 0 < sum(same) < len(same), "some samples are changed, others stay"


@pytest.mark.parametrize("outside", ["zeros", "reflection"])
@pytest.mark.parametrize("shape", [SHAPE, (32, 36, 24)], ids=["slices", "volumes"])
def test_an_affine_batch_equals_its_samples(shape, outside):
    by_sample, by_batch, before = _both(RandAffineLabelsd(TASKS, spatial_dims=len(shape), outside=outside), shape)
    for key in ("image", "dose"):
        torch.testing.assert_close(by_batch[key], by_sample[key], rtol=1e-5, atol=2e-3)  # of 255 between neighbors
    for key in ("oar", "dose_region"):
        assert (by_batch[key] != by_sample[key]).float().mean() < 1e-4, key
    moved = [not torch.equal(*pair) for pair in zip(by_batch["image"], before["image"], strict=True)]
    assert 0 < sum(moved) < len(moved)
    for at, each in enumerate(moved):
        if not each:
            assert torch.equal(by_batch["oar"][at], before["oar"][at])


@pytest.mark.parametrize("shape", [SHAPE, (32, 36, 24)], ids=["slice", "volume"])
def test_the_affine_transform_is_monais(shape):
    ours, dims = RandAffineLabelsd(TASKS, spatial_dims=len(shape), prob=0.7), len(shape)
    theirs = RandAffined(
        list(ours.modes),
        mode=list(ours.modes.values()),
        padding_mode="zeros",
        rotate_range=np.radians(10) if dims == 2 else (0.0, 0.0, np.radians(10)),
        scale_range=(0.1,) * dims,
        translate_range=(6.0,) * dims,
        prob=0.7,
        allow_missing_keys=True,
    )
    moved = 0
    for number in range(6):
        sample = _sample(number, shape)
        found, expected = (each.set_random_state(seed=number)(sample) for each in (ours, theirs))
        for key in ours.modes.keys() & sample.keys():
            one, other = plain(found[key]).float(), plain(expected[key]).float()
            if ours.modes[key] == "nearest":  # MONAI's float64 may find the other of two voxels that are as near
                assert (one != other).float().mean() < 1e-4, key
            else:
                torch.testing.assert_close(one, other, rtol=1e-5, atol=5e-3)  # of 255 between neighbors
        torch.testing.assert_close(found["image"].affine, expected["image"].affine, rtol=1e-6, atol=1e-5)
        moved += not torch.equal(plain(found["image"]), plain(sample["image"]))
    assert 0 < moved < 6


def test_a_sample_keeps_what_a_transform_does_not_touch():
    sample = _sample(0)
    changed = RandColorJitterd(prob=1.0)(sample)
    assert all(changed[key] is sample[key] for key in sample if key != "image")
    assert isinstance(changed["image"], MetaTensor)


def test_a_generator_seeded_anew_draws_as_a_new_one():
    used = np.random.RandomState(3)
    used.normal()  # leaves half a pair behind, which a new generator has not
    for seed in (0, 7, 2**32 - 1):
        assert reseeded(used, seed).normal(size=5).tolist() == np.random.RandomState(seed).normal(size=5).tolist()


def test_two_transforms_do_not_share_a_generator():
    pipeline = Compose([RandColorJitterd(), RandWindowChannelsd(CHANNELS, {})]).set_random_state(seed=1)
    first, second = pipeline.transforms
    assert first.R is not second.R
    assert first.R.uniform() != second.R.uniform()


def test_monais_normalization_takes_a_batch_as_it_takes_samples():
    transform = NormalizeIntensityd("image", channel_wise=True, subtrahend=[1.0, 2.0, 3.0], divisor=[4.0, 5.0, 6.0])
    samples = [_sample(number) for number in range(4)]
    found = apply_to_batch(transform, _stacked(samples), [None] * 4)
    _assert_equal(found, _stacked([transform(sample) for sample in samples]))  # MONAI changes the samples themselves


@pytest.mark.parametrize("size", [[32, 32], [90, 33], [91, 90]])
def test_patches_of_a_batch_are_those_of_samples_with_each_samples_seed(size):
    transform, samples = RandPatchLabelsd(TASKS, size), [_sample(number) for number in range(4)]
    expected = _stacked([transform.set_random_state(seed=at)(sample) for at, sample in enumerate(samples)])
    seeds = [lambda at=at: transform.set_random_state(seed=at) for at in range(4)]
    _assert_equal(apply_to_batch(transform, _stacked(samples), seeds), expected)


def test_what_knows_no_batches_is_applied_sample_by_sample():
    samples = [_sample(number) for number in range(4)]
    half = Resized("image", spatial_size=[20, 24], mode="area")
    assert apply_to_batch(half, _stacked(samples), [None] * 4)["image"].shape == (4, 3, 20, 24)


def test_what_has_no_form_for_batches_is_refused_by_name():
    flip = RandFlipd("image")
    assert not has_batch_form(flip)
    with pytest.raises(ConfigError, match="RandFlipd"):
        apply_to_batch(flip, _stacked([_sample(0)]), [None])
