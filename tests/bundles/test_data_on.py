"""Trainings whose data lie on the device are those whose data loaders read, by the bundles' real configs."""

import json
from pathlib import Path

import pytest
import torch
from bundle_kit import command

from ctan_monai.data.datasets.mr_ct.synthetic import write_pelvis_pairs
from ctan_monai.data.datasets.stoic.synthetic import write_chest_phantoms
from ctan_monai.data.phantom import PhantomGrid
from ctan_monai.engines.loop.device_dataset import DeviceDataset
from ctan_monai.transforms.batch import plain

ROOT = Path(__file__).parents[2]
IMAGES = {"train": [2, 3, 4, 5], "validation": [6, 7], "test": [8, 9]}
CHESTS = {"negative": 3, "mild": 3, "severe": 3}
SMALL = {"method": "hps", "encoder": "resnet18", "epochs": 1, "amp": False, "val_interval": 2}
STEPS = {"train#trainer#epoch_length": 2, "only_steps": ["$@train#trainer.run()"]}


@pytest.fixture
def options(tmp_path, two_patients):
    """Return a function that gives a bundle's options for a training of seconds."""
    write_chest_phantoms(tmp_path / "cache" / "stoic" / "synthetic", patients=CHESTS, shape=(64, 64, 12))
    grid = PhantomGrid(rows=40, columns=60, slices=12, row_mm=7.9, column_mm=7.6, slice_mm=8.0)
    write_pelvis_pairs(tmp_path / "cache" / "mr_ct" / "synthetic", 4, grid=grid)
    names = {split: [f"SYN_{number:07}" for number in numbers] for split, numbers in IMAGES.items()}
    (tmp_path / "few.json").write_text(json.dumps(names))
    own = {
        "openkbp": {"datalist": str(two_patients), "slices": "dose", "batch_size": 3, "inputs": "contours"},
        "prostate": {"phantoms": 3, "image_size": [64, 64], "pixel_mm": 6.0, "batch_size": 3},
        "ham10000": {"datalist": str(tmp_path / "few.json"), "image_size": [48, 64], "batch_size": 2,
                     "sampler": "balanced", "known_masks": 0.6},
        "busi": {"image_size": [48, 48], "batch_size": 3, "known_masks": 0.6, "method": "mt_estan", "encoder": None},
        "stoic": {"image_size": [64, 64], "slices": 2, "batch_size": 2, "pooling": "attention"},
        "mr_ct": {"phantoms": 4, "patch_size": [40, 56], "batch_size": 3},
    }  # fmt: skip

    def of(bundle, folder, **more):
        places = {"cache_dir": str(tmp_path / "cache" / bundle), "output_dir": str(tmp_path / folder)}
        return {**SMALL, **own[bundle], **places, **more}

    return of


def losses(folder):
    """Return the losses of each epoch."""
    return [epoch["train"] for epoch in json.loads((folder / "metrics.json").read_text())["epochs"]]


def first_batches(made, count=3):
    """Return the first batches of a workflow's epoch 1, plain, without metadata, and where they came from."""
    loader = made.parser.get_parsed_content("train#dataloader")
    dataset = loader.dataset
    (dataset.dataset if isinstance(dataset, DeviceDataset) else dataset).set_epoch(1)
    if isinstance(generator := getattr(loader.sampler, "generator", None), torch.Generator):
        generator.manual_seed(4)
    torch.manual_seed(4)
    return type(dataset).__name__, [batch for _, batch in zip(range(count), loader, strict=False)]


@pytest.mark.slow
@pytest.mark.parametrize("bundle", ["openkbp", "prostate", "ham10000", "stoic", "busi", "mr_ct"])
def test_first_batches_and_steps_are_those_of_loaders(workflow, tmp_path, options, bundle):
    found = {}
    for data_on in ("loader", "device"):
        chosen = options(bundle, data_on, data_on=data_on, **STEPS)
        made = workflow(bundle, "train.yaml", run_id="only_steps", **chosen)
        made.initialize()
        found[data_on] = first_batches(made)
        made.run()
    assert [kind for kind, _ in found.values()] == ["SeededDataset", "DeviceDataset"]
    for expected, batch in zip(found["loader"][1], found["device"][1], strict=True):
        assert batch.keys() == expected.keys()
        for key, value in expected.items():
            if isinstance(value, torch.Tensor):
                assert (batch[key].dtype, batch[key].shape) == (value.dtype, value.shape), key
                torch.testing.assert_close(batch[key], plain(value), rtol=1e-6, atol=1e-5, msg=key)
        assert batch["case"] == list(expected["case"])
    trained = [losses(tmp_path / data_on)[0] for data_on in ("loader", "device")]
    assert trained[1] == pytest.approx(trained[0], rel=1e-4)


@pytest.mark.slow
def test_a_command_trains_on_device_data_and_resumes_as_with_loaders(run, tmp_path, options):
    for epochs, resume in ((1, False), (2, True)):
        chosen = {"epochs": epochs, "resume": resume}
        run("ham10000", "train.yaml", run_id="training", **options("ham10000", "loader", data_on="loader", **chosen))
        given = options("ham10000", "device", data_on="device", **chosen)
        flags = [text for name, value in given.items() for text in (f"--{name}", str(value))]
        ended = command("training", "--config_file", "bundles/ham10000/configs/train.yaml", *flags, cwd=ROOT)
        assert ended.returncode == 0, ended.stderr
        assert "samples lie on cpu" in (tmp_path / "device" / "log.txt").read_text()
    expected, found = losses(tmp_path / "loader"), losses(tmp_path / "device")
    assert len(expected) == len(found) == 2
    assert found == [pytest.approx(epoch, rel=1e-4) for epoch in expected]
    settings = json.loads((tmp_path / "device" / "settings.json").read_text())
    assert "data_on" not in settings, "where data lie is no setting of the training"
