"""Batches from samples that lie on the device are those that a loader collates, to the bit on one processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose, RandFlipd, Resized

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.lists.dataset import SeededDataset
from ctan_monai.engines.loop.dataloader import create_dataloader
from ctan_monai.engines.loop.device_dataset import DeviceDataset
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Classification, Regression, Segmentation
from ctan_monai.transforms import (
    CropOrPadLabelsd,
    DropLabelsd,
    LoadCaseFiled,
    RandAffineLabelsd,
    RandColorJitterd,
    RandMirrorLabelsd,
    RandPatchLabelsd,
    RandSelectSliced,
    RandWindowChannelsd,
)
from ctan_monai.transforms.batch import plain

CPU = torch.device("cpu")
ORGANS = ["Brainstem", "LeftParotid", "RightParotid"]
TASKS = [
    Segmentation("oar", ORGANS, overlapping=True, mirror_pairs=[("LeftParotid", "RightParotid")]),
    Segmentation("tissue", ["Brainstem", "PTV"]),  # they overlap; the later one wins
    Regression("dose", unit="Gy", scale=70.0),
    Classification("stage", ["early", "late"]),
]
CHANNELS = ["ct", "PTV"]
MIRROR = RandMirrorLabelsd(TASKS, CHANNELS, prob=0.5)
WINDOW = RandWindowChannelsd(CHANNELS, {"ct": [-160, 240]}, prob=0.5)
AFFINE = RandAffineLabelsd(TASKS, prob=0.5)


def _case(number: int, shape: tuple[int, ...]) -> Case:
    random = np.random.default_rng(number)
    masks = {name: random.random(shape) < 0.3 for name in (*ORGANS, "PTV", "dose_region")}
    if number == 1:
        del masks["LeftParotid"]  # nobody drew it
    volumes = {"ct": random.integers(-1024, 1500, shape).astype(np.int16)}
    if number != 2:  # no plan
        volumes["dose"] = random.random(shape).astype(np.float32) * 70
    affine = np.array([[0, -3.0, 0, 0], [-3.0, 0, 0, 0], [0, 0, 5.0, 0], [0, 0, 0, 1]])
    return Case(f"pt_{number}", volumes, masks, affine, {"stage": number % 2} if number else {}, {})


@pytest.fixture
def files(tmp_path):
    """Write cases of two sizes, with labels missing here and there."""
    shapes = [(40, 48, 6), (40, 48, 5), (36, 52, 4)]
    for number, shape in enumerate(shapes):
        write_case(tmp_path / f"pt_{number}.case", _case(number, shape), "x")
    return {f"pt_{number}": (str(tmp_path / f"pt_{number}.case"), shape[2]) for number, shape in enumerate(shapes)}


def _slices(files):
    return [{"case": case, "file": file, "slice": at} for case, (file, depth) in files.items() for at in range(depth)]


def _whole(files):
    return [{"case": case, "file": file} for case, (file, _) in files.items()]


def _ranges(files):
    return [{"case": case, "file": file, "slices": [1, depth]} for case, (file, depth) in files.items()]


def _load():
    return LoadCaseFiled(TASKS, CHANNELS)


PIPELINES = {
    "slices": (_slices, lambda items: [_load(), WINDOW, MIRROR, AFFINE, CropOrPadLabelsd(TASKS, [38, 48])]),
    "labels hidden": (
        _slices,
        lambda items: [
            _load(),
            DropLabelsd(TASKS, items, {"oar": 0.5, "stage": 0.4}),
            MIRROR,
            CropOrPadLabelsd(TASKS, [48, 40]),
        ],
    ),
    "slices drawn anew": (
        _ranges,
        lambda items: [RandSelectSliced(), _load(), WINDOW, AFFINE, CropOrPadLabelsd(TASKS, [40, 40])],
    ),
    "volumes": (
        _whole,
        lambda items: [
            _load(),
            WINDOW,
            MIRROR,
            RandAffineLabelsd(TASKS, spatial_dims=3, prob=0.9),
            CropOrPadLabelsd(TASKS, [40, 48, 32]),
        ],
    ),
    "patches of volumes": (_whole, lambda items: [_load(), RandPatchLabelsd(TASKS, [32, 32, 32]), MIRROR]),
    "no augmentation": (_slices, lambda items: [_load(), CropOrPadLabelsd(TASKS, [40, 48])]),
}


def _epochs(loader, dataset, epochs=(1, 2)):
    found = []
    for epoch in epochs:
        dataset.set_epoch(epoch)
        torch.manual_seed(epoch)
        found += list(loader)
    return found


@pytest.mark.parametrize("name", PIPELINES)
def test_batches_equal_those_of_a_loader(files, name):
    list_items, transforms = PIPELINES[name]
    items = list_items(files)
    found = []
    for data_on in ("loader", "device"):
        dataset = SeededDataset(items, Compose(transforms(items)), seed=3)
        loader = create_dataloader(dataset, data_on, "cpu", batch_size=2, shuffle=True, drop_last=False)
        found.append(_epochs(loader, dataset))
    assert len(found[0]) == len(found[1]) == 2 * -(-len(items) // 2)
    for expected, batch in zip(*found, strict=True):
        assert batch.keys() == expected.keys()
        for key, value in expected.items():
            if isinstance(value, torch.Tensor):
                assert (value.dtype, value.shape) == (batch[key].dtype, batch[key].shape), key
                torch.testing.assert_close(batch[key], plain(value), rtol=1e-6, atol=1e-5, msg=key)
            else:
                assert list(value) == batch[key], key


def test_epochs_differ_and_repeat(files):
    dataset = SeededDataset(_slices(files), Compose(PIPELINES["slices"][1](None)), seed=3)
    loader = create_dataloader(dataset, "device", "cpu", batch_size=4)
    first, second, again = (torch.cat([b["image"] for b in _epochs(loader, dataset, [at])]) for at in (1, 2, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_color_images_take_a_byte_a_channel_and_equal_those_of_a_loader(tmp_path):
    random, channels, task = np.random.default_rng(0), ["red", "green", "blue"], Segmentation("lesion", ["lesion"])
    items = []
    for number in range(5):
        volumes = {name: random.integers(0, 256, (32, 40)).astype(np.uint8) for name in channels}
        case = Case(f"im_{number}", volumes, {"lesion": random.random((32, 40)) < 0.4}, np.eye(4), {}, {})
        write_case(tmp_path / f"{number}.case", case, "x")
        items.append({"case": case.case, "file": str(tmp_path / f"{number}.case")})
    transform = Compose([LoadCaseFiled([task], channels), RandColorJitterd(prob=0.6)])
    dataset = SeededDataset(items, transform)
    on_device = DeviceDataset(dataset, CPU)
    batch = on_device[0] | on_device.__getitems__(range(5))
    expected = next(iter(DataLoader(dataset, batch_size=5)))
    assert torch.equal(batch["image"], plain(expected["image"]))
    assert on_device.estimate() == 5 * (3 * 32 * 40 + 32 * 5)


def test_the_estimate_is_what_is_taken_where_cases_are_alike(files):
    items = [item for item in _slices(files) if item["case"] != "pt_2"]
    on_device = DeviceDataset(SeededDataset(items, Compose([_load()])), CPU)
    assert on_device.estimate() == on_device._all_packed().nbytes


@pytest.mark.parametrize(
    ("transforms", "said"),
    [
        ([_load(), RandFlipd("image")], "RandFlipd"),
        ([_load(), MIRROR, Compose([AFFINE])], "Compose"),
        ([Resized("image", [8, 8]), _load()], "Resized"),
        ([MIRROR], "LoadCaseFiled"),
    ],
)
def test_transforms_that_cannot_act_on_batches_are_refused_by_name(files, transforms, said):
    with pytest.raises(ConfigError, match=rf"{said}.*data_on: loader"):
        DeviceDataset(SeededDataset(_slices(files), Compose(transforms)), CPU)


def test_images_of_several_sizes_need_a_transform_that_cuts_them(files):
    dataset = DeviceDataset(SeededDataset(_whole(files), Compose([_load()])), CPU)
    with pytest.raises(ConfigError, match="CropOrPadLabelsd"):
        dataset.__getitems__([0, 1, 2])


def test_a_damaged_case_is_named(files):
    file, _ = files["pt_1"]
    content = bytearray(open(file, "rb").read())  # noqa: SIM115
    content[-5] ^= 1
    open(file, "wb").write(content)  # noqa: SIM115
    dataset = DeviceDataset(SeededDataset(_slices(files), Compose([_load()])), CPU)
    with pytest.raises(DataError, match=r"pt_1\.case.*damaged"):
        dataset.__getitems__([0])
