import pytest
from ignite.engine import Engine, Events
from torch.utils.data import DataLoader

from ctan_monai.engines import BagSampler, PrepareBags
from ctan_monai.engines.handlers.seeding_handler import ReseedEachEpoch
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Segmentation


def orders(bag, epochs=2, seed=0):
    loader, seen = DataLoader(range(24), sampler=BagSampler(range(24), bag)), []
    engine = Engine(lambda engine, batch: seen[-1].append(int(batch)))
    ReseedEachEpoch(seed).attach(engine)
    engine.add_event_handler(Events.EPOCH_STARTED, lambda: seen.append([]))
    engine.run(loader, max_epochs=epochs)
    return seen


@pytest.mark.parametrize("bag", [1, 4, 24])
def test_each_item_comes_once_and_bags_stay_together(bag):
    for order in orders(bag):
        assert sorted(order) == list(range(24))
        for start in range(0, 24, bag):
            assert order[start : start + bag] == list(range(order[start], order[start] + bag))
            assert order[start] % bag == 0
    assert len(BagSampler(range(24), bag)) == 24


def test_epochs_differ_and_are_repeatable():
    one, two = orders(4)
    assert one != two
    assert orders(4) == [one, two]
    assert orders(4, seed=1)[0] != one


def test_what_cannot_be_divided_is_refused():
    for bag in (0, 5):
        with pytest.raises(ConfigError, match="bag"):
            BagSampler(range(24), bag)
    with pytest.raises(ConfigError, match="for image-level tasks only"):
        PrepareBags((Segmentation("oar", ["a"]),), bag=2)
