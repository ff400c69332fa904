"""Where training data lie: as the option says, and where it leaves that open, where there is room."""

import numpy as np
import pytest
from monai.transforms import Compose

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.lists.dataset import SeededDataset
from ctan_monai.engines.loop import dataloader
from ctan_monai.engines.loop.dataloader import create_dataloader
from ctan_monai.engines.loop.device_dataset import DeviceDataset
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Segmentation
from ctan_monai.transforms import LoadCaseFiled


@pytest.fixture
def dataset(tmp_path):
    volumes = {"ct": np.zeros((4, 5, 3), np.int16)}
    write_case(tmp_path / "a.case", Case("a", volumes, {"x": np.ones((4, 5, 3), bool)}, np.eye(4)), "x")
    items = [{"case": "a", "file": str(tmp_path / "a.case"), "slice": at} for at in range(3)]
    return SeededDataset(items, Compose([LoadCaseFiled([Segmentation("x", ["x"])])]))


def test_on_a_cpu_loaders_read_unless_told_otherwise(dataset):
    for data_on, kind in (("auto", SeededDataset), ("loader", SeededDataset), ("device", DeviceDataset)):
        loader = create_dataloader(dataset, data_on, "cpu", batch_size=2, num_workers=2)
        assert type(loader.dataset) is kind
        assert loader.num_workers == (0 if kind is DeviceDataset else 2)
        assert loader.persistent_workers == (kind is SeededDataset)
        assert not loader.pin_memory, "nothing is copied from one memory to another"
        assert len(loader) == 1, "an incomplete batch is left out"


@pytest.mark.gpu
def test_on_a_gpu_samples_lie_there_and_none_waits_for_it(dataset):
    import torch

    loader = create_dataloader(dataset, "auto", "cuda", batch_size=3)
    first = next(iter(loader))
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = next(iter(loader))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert batch["image"].device.type == "cuda"
    assert torch.equal(batch["x"], first["x"])


def test_options_of_loaders_can_be_given(dataset):
    loader = create_dataloader(dataset, "loader", "cpu", batch_size=2, num_workers=2, persistent_workers=False)
    assert not loader.persistent_workers
    assert create_dataloader(dataset, "loader", "cuda", batch_size=2).pin_memory


def test_what_does_not_fit_is_refused_with_both_sizes(dataset, monkeypatch):
    monkeypatch.setattr(dataloader, "MEMORY_SHARE", 1e-12)
    with pytest.raises(ConfigError, match=r"need about 0\.00 GB.*data_on: loader"):
        create_dataloader(dataset, "device", "cpu", batch_size=2)


@pytest.mark.parametrize(("data_on", "device", "said"), [("gpu", "cpu", "'gpu'"), ("device", "meta", "on meta")])
def test_another_place_is_refused(dataset, data_on, device, said):
    with pytest.raises(ConfigError, match=said):
        create_dataloader(dataset, data_on, device)
