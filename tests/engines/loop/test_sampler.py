from collections import Counter

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from torch.utils.data import DataLoader

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.engines.handlers.seeding_handler import ReseedEachEpoch
from ctan_monai.engines.loop.sampler import balanced_weights, create_sampler
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification

LESION = Classification("lesion", ["nv", "mel", "df"])
LABELS = [0] * 30 + [1] * 6 + [2] * 2 + [None] * 4


@pytest.fixture
def items(tmp_path):
    found = []
    for number, label in enumerate(LABELS):
        path = tmp_path / f"{number}.case"
        values = {} if label is None else {"lesion": label}
        write_case(path, Case(str(number), {"red": np.ones((2, 2), np.uint8)}, {}, np.eye(4), values))
        found.append({"case": str(number), "file": str(path)})
    return found


def orders(sampler, epochs=2, seed=0):
    """The order of the data in each epoch of a training."""
    loader, seen = DataLoader(range(len(LABELS)), sampler=sampler), []
    engine = Engine(lambda engine, batch: seen[-1].append(int(batch)))
    ReseedEachEpoch(seed).attach(engine)
    engine.add_event_handler(Events.EPOCH_STARTED, lambda: seen.append([]))
    engine.run(loader, max_epochs=epochs)
    return seen


def test_shuffled_shows_each_item_once_in_another_order_each_epoch(items):
    first, second = orders(create_sampler("shuffled", items))
    assert sorted(first) == sorted(second) == list(range(len(LABELS)))
    assert first != second


def test_balanced_shows_all_classes_equally_often_and_unknown_ones_as_before(items):
    drawn = [LABELS[index] for epoch in orders(create_sampler("balanced", items, LESION), 60) for index in epoch]
    assert len(drawn) == 60 * len(LABELS)
    share = {label: count / len(drawn) for label, count in Counter(drawn).items()}
    expected = {0: 38 / 42 / 3, 1: 38 / 42 / 3, 2: 38 / 42 / 3, None: 4 / 42}
    assert share == pytest.approx(expected, abs=0.03)  # 4 standard deviations of 2,520 draws


def test_weights_are_the_expected_number_of_draws():
    assert sum(balanced_weights(LABELS)) == pytest.approx(len(LABELS))
    assert balanced_weights([None, None]) == [1.0, 1.0]


@pytest.mark.parametrize("name", ["shuffled", "balanced"])
def test_the_same_seed_gives_the_same_order_whatever_was_drawn_before(items, name):
    torch.manual_seed(1)
    first = orders(create_sampler(name, items, LESION))
    torch.manual_seed(2)
    assert orders(create_sampler(name, items, LESION)) == first
    assert orders(create_sampler(name, items, LESION), seed=1) != first


def test_unknown_names_are_refused(items):
    with pytest.raises(ConfigError, match="sampler: 'fair' is unknown"):
        create_sampler("fair", items, LESION)
    with pytest.raises(ConfigError, match="balanced needs a task"):
        create_sampler("balanced", items)
