"""The official scores measured on batches: equal to the pure functions, and to the evaluator's own numbers."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from ctan_monai.errors import ConfigError, DataError
from ctan_monai.metrics.openkbp import OpenKBPScores
from ctan_monai.metrics.openkbp_official import ORGANS, TARGETS
from ctan_monai.tasks import Regression, Segmentation

DOSE = Regression("dose", "Gy", 80.0, nonnegative=True)
ALL = Segmentation("rois", [*ORGANS, *TARGETS], overlapping=True)
FOUR = Segmentation("oar", ["Brainstem", "SpinalCord", "RightParotid", "LeftParotid"], overlapping=True)


def dense(path):
    table = pd.read_csv(path, index_col=0)
    flat = torch.zeros(128**3, dtype=torch.float64)
    flat[table.index.to_numpy()] = torch.tensor(table["data"].fillna(1.0).to_numpy(dtype=float))
    return flat.reshape(1, 128, 128, 128)


@pytest.mark.parametrize(("name", "masked"), [("noisy", True), ("spill", False)])
def test_on_batches_the_scores_are_the_official_ones(golden, name, masked):
    official = json.loads((golden / "official_scores.json").read_text())[name]
    metric = OpenKBPScores(DOSE, ALL, mask_prediction=masked)
    for folder in (golden / "reference").iterdir():
        files = {roi: folder / f"{roi}.csv" for roi in ALL.labels}
        present = [path.exists() for path in files.values()]
        masks = [dense(path) if path.exists() else torch.zeros(1, 128, 128, 128) for path in files.values()]
        target = {
            "dose": dense(folder / "dose.csv"),
            "dose_present": torch.tensor(True),
            "dose_region": dense(folder / "possible_dose_mask.csv") > 0,
            "rois": torch.cat([mask.to(torch.uint8) for mask in masks]),
            "rois_present": torch.tensor(present),
        }
        spacing = np.loadtxt(folder / "voxel_dimensions.csv").tolist()
        metric.update(folder.name, {"dose": dense(golden / f"pred_{name}" / f"{folder.name}.csv")}, target, spacing)
    metrics = metric.compute()
    assert metrics["dose_score"] == pytest.approx(official["dose_score"], abs=1e-9)
    assert metrics["dvh_score"] == pytest.approx(official["dvh_score"], abs=1e-9)
    assert metrics["dose_score_complete"] == pytest.approx(official["dose_error"]["pt_1"], abs=1e-9)  # the only one
    row = metric.rows()[2]
    assert row["case"] == "pt_3"
    assert row["Brainstem:mean:prediction"] == pytest.approx(official["prediction_dvh"]["pt_3"]["Brainstem:mean"])
    assert math.isnan(row["Larynx:mean:reference"])


def small(present=(True, True, True, True)):
    """A reference of 10 Gy in half of a small volume, which is the region; the organs fill it."""
    region = torch.zeros(1, 4, 4, 4)
    region[0, :2] = 1
    return {
        "dose": 10 * region,
        "dose_present": torch.tensor(True),
        "dose_region": region.to(torch.uint8),
        "oar": region.repeat(4, 1, 1, 1),
        "oar_present": torch.tensor(present),
    }


def fed(target, prediction, **options):
    metric = OpenKBPScores(DOSE, FOUR, **options)
    metric.update("x", {"dose": prediction}, target, (4.0, 4.0, 3.0))
    return metric


def test_the_mask_removes_spill_and_without_it_spill_is_punished():
    everywhere = torch.full((1, 4, 4, 4), 12.0)
    assert fed(small(), everywhere).compute()["dose_score"] == 2.0
    assert fed(small(), everywhere, mask_prediction=False).compute()["dose_score"] == 2.0 + 12.0


def test_an_unknown_organ_counts_nowhere_and_the_patient_is_not_complete():
    metrics = fed(small((True, False, True, True)), torch.full((1, 4, 4, 4), 12.0)).compute()
    assert metrics["dvh_score"] == 2.0
    assert math.isnan(metrics["dose_score_complete"])
    assert math.isnan(metrics["dvh_score_complete"])


def test_an_unknown_dose_is_left_out():
    target = {**small(), "dose_present": torch.tensor(False)}
    metric = fed(target, torch.ones(1, 4, 4, 4))
    assert all(math.isnan(value) for value in metric.compute().values())
    assert metric.selection() is None


def test_states_of_two_processes_merge():
    one, other = fed(small(), torch.full((1, 4, 4, 4), 12.0)), OpenKBPScores(DOSE, FOUR)
    other.update("y", {"dose": torch.full((1, 4, 4, 4), 14.0)}, small(), (4.0, 4.0, 3.0))
    one.merge([one.state(), other.state()])
    assert one.compute()["dose_score"] == 3.0


def test_a_case_without_the_mask_is_refused_and_named():
    target = small()
    del target["dose_region"]
    with pytest.raises(DataError, match=r"case x.*dose_region"):
        fed(target, torch.ones(1, 4, 4, 4))
    with pytest.raises(DataError, match=r"case x.*empty"):
        fed({**small(), "dose_region": torch.zeros(1, 4, 4, 4)}, torch.ones(1, 4, 4, 4))
    with pytest.raises(DataError, match=r"case x.*\(1, 4, 4, 5\)"):
        fed(small(), torch.ones(1, 4, 4, 5))


def test_tasks_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="HU"):
        OpenKBPScores(Regression("ct", "HU", 1000.0), FOUR)
    with pytest.raises(ConfigError, match="Rectum"):
        OpenKBPScores(DOSE, Segmentation("oar", ["Rectum"]))
