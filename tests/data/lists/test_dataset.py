from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose, Lambdad, OneOf, RandFlipd, RandGaussianNoised, RandScaleIntensityd

from ctan_monai.data.lists.dataset import SeededDataset
from ctan_monai.errors import DataError


@pytest.fixture
def items():
    return [{"x": torch.arange(6.0).reshape(1, 2, 3) + index} for index in range(7)]


def transform():
    return Compose(
        [
            RandGaussianNoised("x", prob=1.0),
            OneOf([RandFlipd("x", prob=0.5, spatial_axis=1), RandScaleIntensityd("x", factors=0.9, prob=1.0)]),
        ]
    )


def samples(dataset, workers=0, persistent=False):
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, persistent_workers=persistent)
    return torch.cat([torch.as_tensor(batch["x"]) for batch in loader])


@pytest.mark.promise(8, "augmented samples do not depend on the number of workers or the order")
def test_the_number_of_workers_and_the_order_change_nothing(items):
    dataset = SeededDataset(items, transform(), seed=5)
    alone = samples(dataset)
    assert torch.equal(alone, samples(dataset, workers=2))
    backwards = [torch.as_tensor(dataset[index]["x"]) for index in reversed(range(7))]
    assert torch.equal(alone, torch.stack(backwards[::-1]))


def test_an_epoch_repeats_and_another_differs(items):
    dataset = SeededDataset(items, transform(), seed=5)
    first = samples(dataset)
    dataset.set_epoch(1)
    second = samples(dataset)
    assert not torch.isclose(first, second).any()
    resumed = SeededDataset(items, transform(), seed=5)
    resumed.set_epoch(1)
    assert resumed.epoch == 1
    assert torch.equal(second, samples(resumed))


def test_persistent_workers_hear_of_the_epoch(items):
    dataset = SeededDataset(items, transform(), seed=5)
    loader = DataLoader(dataset, batch_size=2, num_workers=2, persistent_workers=True)
    for epoch in range(3):
        dataset.set_epoch(epoch)
        found = torch.cat([torch.as_tensor(batch["x"]) for batch in loader])
        assert torch.equal(found, samples(dataset))


def test_seeds_and_items_differ(items):
    same = [items[0]] * 7
    first = samples(SeededDataset(same, transform(), seed=0))
    assert len({tuple(sample.flatten().tolist()) for sample in first}) == 7
    assert not torch.equal(first, samples(SeededDataset(same, transform(), seed=-1)))


def test_it_is_a_monai_dataset_in_every_other_way(items):
    dataset = SeededDataset(items, [Lambdad("x", lambda x: x * 2)])
    assert len(dataset) == 7
    assert torch.equal(dataset[-1]["x"], items[6]["x"] * 2)
    assert [int(sample["x"][0, 0, 0]) for sample in dataset[1:3]] == [2, 4]
    assert torch.equal(SeededDataset(items, None)[3]["x"], items[3]["x"])
    assert len(list(dataset)) == 7
    with pytest.raises(IndexError):
        dataset[7]


def refuse(x):
    raise DataError("pt_1.case", "pt_1", "it is damaged.", "Prepare it again.")


def divide(x):
    return 1 / 0


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_error_arrives_with_its_remedy(items, workers):
    loader = DataLoader(SeededDataset(items, Lambdad("x", refuse)), num_workers=workers)
    with pytest.raises((DataError, RuntimeError), match="Remedy: Prepare it again"):
        next(iter(loader))
    if not workers:
        with pytest.raises(DataError):
            SeededDataset(items, Lambdad("x", refuse))[0]


def test_other_errors_stay_what_monai_makes_of_them(items):
    with pytest.raises(RuntimeError, match="applying transform"):
        SeededDataset(items, Lambdad("x", divide))[0]


def test_a_negative_index_is_the_same_sample(items):
    dataset = SeededDataset(items, transform(), seed=5)
    assert torch.equal(torch.as_tensor(dataset[-1]["x"]), torch.as_tensor(dataset[6]["x"]))


def test_it_can_be_sent_to_another_process(items):
    dataset = SeededDataset(items, transform(), seed=5)
    dataset.set_epoch(3)
    copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301 (its own bytes)
    np.testing.assert_array_equal(copy[2]["x"], dataset[2]["x"])
