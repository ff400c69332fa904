"""The spread of an ensemble's answers: per voxel, and per structure and dose statistic."""

import csv

import nibabel as nib
import numpy as np
import pytest
import torch
from engine_kit import affine_ras
from ignite.engine import Engine
from monai.data import MetaTensor

from ctan_monai.engines.predictions.spread_writer import SPREAD_FILE, WriteSpread
from ctan_monai.engines.runs.ensemble import mean_outputs
from ctan_monai.errors import ConfigError
from ctan_monai.report.spread_section import spread_section
from ctan_monai.tasks import Classification, Regression, Segmentation

OAR = Segmentation("oar", ["Bladder"], overlapping=True)
DOSE = Regression("dose", "Gy", 10.0, nonnegative=True)
SICK = Classification("sick", ["sick"])
TASKS = [OAR, DOSE, SICK]


def answer(voxels, dose, logit):
    """Mark the first voxels of four, with a dose in all of them."""
    mask = torch.full((1, 1, 4, 1, 1), -3.0)
    mask[:, :, :voxels] = 3.0
    doses = torch.tensor(dose).reshape(1, 1, 4, 1, 1) / DOSE.scale
    return {"oar": mask, "dose": doses, "sick": torch.tensor([[logit]])}


ANSWERS = [answer(2, [10.0, 20.0, 30.0, 40.0], 0.0), answer(2, [12.0, 26.0, 30.0, 40.0], 2.0),
           answer(3, [14.0, 20.0, 30.0, -5.0], -2.0)]  # fmt: skip


def written(folder, answers=ANSWERS, **options):
    writer, engine = WriteSpread(TASKS, folder, **options), Engine(lambda engine, batch: None)
    writer.start(engine)
    image = MetaTensor(torch.zeros(1, 1, 4, 1, 1), affine=affine_ras(10.0, 10.0, 10.0))
    engine.state.batch = {"case": ["pt_1"], "image": image}
    engine.state.output = {"pred": mean_outputs(TASKS, answers)}
    engine.state.output |= {"answers": answers} if len(answers) > 1 else {}
    writer(engine)
    writer.finish(engine)
    if not (folder / SPREAD_FILE).is_file():
        return {}
    with (folder / SPREAD_FILE).open(newline="") as file:
        return {(row["of"], row["statistic"]): row for row in csv.DictReader(file)}


def test_statistics_are_those_computed_by_hand(tmp_path):
    rows = written(tmp_path)
    volume = rows["Bladder", "volume"]  # voxels of 1 cc; the mean answer has the two that all mark
    assert [float(volume[key]) for key in ("mean_answer", "mean", "lowest", "highest")] == [2.0, 2.33333, 2.0, 3.0]
    assert float(volume["sd"]) == pytest.approx(np.std([2, 2, 3], ddof=1), abs=1e-5)
    dice = rows["Bladder", "Dice with the mean"]
    assert [float(dice[key]) for key in ("lowest", "highest")] == [0.8, 1.0]
    mean_dose = rows["Bladder", "Dmean"]  # in the first two voxels, of each answer
    assert (mean_dose["task"], mean_dose["unit"], mean_dose["answers"]) == ("dose", "Gy", "3")
    assert float(mean_dose["mean_answer"]) == pytest.approx(17.0)
    assert [float(mean_dose[key]) for key in ("lowest", "highest")] == [15.0, 19.0]
    assert float(mean_dose["sd"]) == pytest.approx(np.std([15, 19, 17], ddof=1), abs=1e-5)
    sick = 1 / (1 + np.exp([-0.0, -2.0, 2.0]))
    assert float(rows["sick", "probability"]["mean_answer"]) == pytest.approx(sick.mean(), abs=1e-5)
    assert float(rows["sick", "probability"]["sd"]) == pytest.approx(sick.std(ddof=1), abs=1e-5)


def test_deviations_of_each_voxel_are_files_of_values_as_they_are_written(tmp_path):
    written(tmp_path)
    deviation = nib.load(tmp_path / "pt_1" / "dose_sd.nii.gz")
    expected = np.std([[10, 12, 14], [20, 26, 20], [30, 30, 30], [40, 40, 0]], axis=1, ddof=1)
    np.testing.assert_allclose(deviation.get_fdata().ravel(), expected, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(deviation.affine, np.diag([10.0, 10.0, 10.0, 1.0]))
    marked = nib.load(tmp_path / "pt_1" / "Bladder_sd.nii.gz").get_fdata().ravel()
    assert marked[[0, 1, 3]] == pytest.approx(0, abs=1e-6)
    assert marked[2] == pytest.approx(np.std([0.952574, 0.047426, 0.047426], ddof=1), abs=1e-5)


def test_one_answer_has_no_spread_and_an_earlier_table_does_not_stay(tmp_path):
    assert written(tmp_path)
    assert "Spread of the answers" in spread_section(tmp_path).heading
    assert written(tmp_path, ANSWERS[:1]) == {}
    assert spread_section(tmp_path) is None


def test_a_dose_metric_that_needs_a_prescription_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="needs a prescription"):
        WriteSpread(TASKS, tmp_path, dose_metrics=["V95%"])
