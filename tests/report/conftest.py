"""A patient of a few thousand voxels with known answers, and the files that predicting it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.engines.predictions.prediction_writer import WritePredictions
from ctan_monai.report import CaseView
from ctan_monai.tasks import Regression, Segmentation
from ctan_monai.transforms import LoadCaseFiled

SHAPE = (20, 24, 14)  # OpenKBP's axes: anterior to posterior, right to left, superior to inferior
AFFINE_RAS = np.array([[0, -4.0, 0, 0], [-4.0, 0, 0, 0], [0, 0, -2.5, 0], [0, 0, 0, 1]])
ORGANS = Segmentation("oar", ["Brainstem", "LeftParotid", "Larynx"], overlapping=True)
DOSE = Regression("dose", unit="Gy", scale=70.0, nonnegative=True)


def _box(*sides: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


@pytest.fixture
def patient() -> Case:
    body = _box((2, 18), (3, 21), (0, 14))
    target = _box((6, 14), (12, 19), (4, 10))
    masks = {
        "Brainstem": _box((9, 12), (10, 13), (0, 5)),
        "LeftParotid": _box((8, 12), (16, 19), (3, 8)),  # the patient's left: j is high
        "PTV70": target,
        "dose_region": body,
    }
    dose_gy = np.where(target, 70.0, 20.0).astype(np.float32) * body
    ct_hu = np.where(body, 40, -1024).astype(np.int16)
    return Case("pt_1", {"ct": ct_hu, "dose": dose_gy}, masks, AFFINE_RAS)


@pytest.fixture
def view(patient) -> CaseView:
    """The patient with a dose that is 10 Gy too high in the target, and a brainstem that lies one voxel too low."""
    predicted = {
        "Brainstem": np.roll(patient.masks["Brainstem"], 1, axis=2),
        "LeftParotid": patient.masks["LeftParotid"],
        "Larynx": np.zeros(SHAPE, bool),
    }
    reference = {name: mask for name, mask in patient.masks.items() if name != "dose_region"}
    dose = patient.volumes["dose"] + 10 * patient.masks["PTV70"]
    return CaseView(
        "pt_1",
        patient.volumes["ct"],
        AFFINE_RAS,
        reference,
        predicted,
        patient.volumes["dose"],
        dose.astype(np.float32),
        "Gy",
        ("PTV70",),
    )


@pytest.fixture
def predictions(tmp_path, patient, view) -> Path:
    """A folder of `WritePredictions` with pt_1 as in ``view``, and pt_2, the same patient without any truth."""
    tasks = [ORGANS, DOSE]
    bare = Case("pt_2", {"ct": patient.volumes["ct"]}, {}, AFFINE_RAS)
    items = []
    for case in (patient, bare):
        write_case(tmp_path / "cache" / f"{case.case}.case", case)
        items.append({"case": case.case, "file": str(tmp_path / "cache" / f"{case.case}.case")})
    organs = torch.from_numpy(np.stack([view.predicted[label] for label in ORGANS.labels]))[None]
    dose = torch.from_numpy(view.dose_predicted)[None, None]
    engine = Engine(lambda _, batch: {"image": batch["image"], "pred": {"oar": organs * 8.0 - 4, "dose": dose / 70}})
    WritePredictions(tasks, tmp_path / "predictions").attach(engine)
    engine.run(DataLoader(Dataset(items, LoadCaseFiled(tasks)), batch_size=1))
    return tmp_path / "predictions"


@pytest.fixture
def run_folder(tmp_path) -> Path:
    """What a training of three epochs leaves; validated in the first and the last."""
    folder = tmp_path / "run_7"
    folder.mkdir()
    epochs = [
        {
            "epoch": epoch,
            "seconds": 2.0,
            "learning_rate": 1e-4 / epoch,
            "train": {"loss": 1.0 / epoch, "oar": 0.8 / epoch, "dose": 0.2 / epoch},
            "weights": {"oar": 1.1, "dose": 0.9},
        }
        for epoch in (1, 2, 3)
    ]
    for epoch in (0, 2):
        epochs[epoch]["validation"] = {
            "oar_dice": 0.2 + 0.1 * epoch,
            "oar_dice_Larynx": None,
            "dose_mae_volume": 1.5 - 0.3 * epoch,
            "dose_zero_mae_volume": 1.6,
            "selection": 0.1 + 0.1 * epoch,
        }
    best = {"all": {"epoch": 3, "score": 0.3}}
    (folder / "metrics.json").write_text(json.dumps({"best": best, "epochs": epochs}))
    (folder / "run.json").write_text(json.dumps({"method": "ctan", "encoder": "resnet18", "tasks": [{"name": "oar"}]}))
    (folder / "settings.json").write_text(json.dumps({"epochs": 3, "weighting": "<dwa>"}))
    return folder
