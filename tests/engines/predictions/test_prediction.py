from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import Dataset

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.engines.predictions.prediction import predict_cases
from ctan_monai.engines.predictions.predictions_index import read_index
from ctan_monai.engines.runs.run_record import write_run
from ctan_monai.errors import ConfigError
from ctan_monai.networks import create_network
from ctan_monai.tasks import Regression
from ctan_monai.transforms import LoadCaseFiled

DOSE = Regression("dose", unit="Gy", scale=70.0, nonnegative=True)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return create_network("hps", [DOSE], encoder="resnet18", spatial_dims=2, in_channels=1)


@pytest.fixture
def dataset(tmp_path):
    """Three cases without labels."""
    items = []
    for number in range(3):
        ct = np.full((32, 32, 3), 100 * number, np.int16)
        path = tmp_path / f"pt_{number}.case"
        write_case(path, Case(f"pt_{number}", {"ct": ct}, {}, np.eye(4)))
        items.append({"case": f"pt_{number}", "file": str(path)})
    return Dataset(items, LoadCaseFiled([DOSE]))


def test_the_first_cases_are_predicted_with_the_best_weights_not_the_last(tmp_path, network, dataset):
    write_run(network, tmp_path / "run")
    best = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    torch.save(best, tmp_path / "run" / "model.pt")
    expected = predict_cases([DOSE], network, dataset, tmp_path / "expected", cases=2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.05)  # training went on
    worse = predict_cases([DOSE], network, dataset, tmp_path / "worse", cases=2)
    folder = predict_cases([DOSE], network, dataset, tmp_path / "out", run_dir=tmp_path / "run", cases=2)
    assert [case.case for case in read_index(folder).cases] == ["pt_0", "pt_1"]
    doses = [np.asarray(nib.load(at / "pt_1" / "dose.nii.gz").dataobj) for at in (expected, folder, worse)]
    np.testing.assert_array_equal(doses[0], doses[1])
    assert np.abs(doses[0] - doses[2]).max() > 1e-3


def test_a_run_that_was_never_validated_shows_its_last_weights(tmp_path, network, dataset, caplog):
    folder = predict_cases([DOSE], network, dataset, tmp_path / "out", run_dir=tmp_path / "run", volumes=["ct"])
    assert "its last weights are used" in caplog.text
    assert (folder / "pt_0" / "ct.nii.gz").is_file()
    assert len(read_index(folder).cases) == 1


@pytest.mark.parametrize("cases", [0, -1])
def test_at_least_one_case_is_predicted(tmp_path, network, dataset, cases):
    with pytest.raises(ConfigError, match="at least one case"):
        predict_cases([DOSE], network, dataset, tmp_path, cases=cases)


def test_a_data_set_without_cases_is_refused(tmp_path, network):
    with pytest.raises(ConfigError, match="of no cases"):
        predict_cases([DOSE], network, Dataset([]), tmp_path)
