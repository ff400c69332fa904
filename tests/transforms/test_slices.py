from collections import Counter

import numpy as np
import pytest

from ctan_monai.data.lists.dataset import SeededDataset
from ctan_monai.errors import ConfigError
from ctan_monai.transforms import RandSelectSliced

ITEM = {"case": "p", "file": "p.case", "slices": [4, 9]}


def test_every_slice_of_the_part_is_drawn_about_equally_often_and_no_other():
    pick = RandSelectSliced()
    pick.set_random_state(0)
    counts = Counter(pick(ITEM)["slice"] for _ in range(2000))
    assert sorted(counts) == [4, 5, 6, 7, 8]
    assert np.array(list(counts.values())) == pytest.approx(400, rel=0.2)


def test_epochs_draw_others_and_the_same_epoch_the_same():
    data = SeededDataset([ITEM] * 50, RandSelectSliced(), seed=3)
    epochs = []
    for epoch in (1, 2, 1):
        data.set_epoch(epoch)
        epochs.append([item["slice"] for item in data])
    assert epochs[0] == epochs[2] != epochs[1]


def test_a_whole_volume_passes_and_an_empty_part_is_refused():
    volume = {"case": "p", "file": "p.case"}
    assert RandSelectSliced()(volume) == volume
    with pytest.raises(ConfigError, match=r"slices: \[5, 5\] of p"):
        RandSelectSliced()({**ITEM, "slices": [5, 5]})
