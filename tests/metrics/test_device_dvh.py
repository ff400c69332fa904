"""DVH metrics on a device are those of NumPy, whether or not a structure's size may be asked for."""

import math

import numpy as np
import pytest
import torch
from device_waits import Waits

from ctan_monai.metrics import device_dvh
from ctan_monai.metrics.device_dvh import DosesInside
from ctan_monai.metrics.dose_values import parse_dose_value

METRICS = ["Dmean", "Dmax", "Dmin", "D2%", "D50%", "D95%", "D99.5%", "D0.03cc", "D500cc", "V40Gy", "V40Gycc"]


@pytest.fixture(params=["alone", "without a wait"])
def waits(request, monkeypatch):
    if request.param != "alone":
        monkeypatch.setattr(device_dvh, "_may_wait", lambda mask: False)
    return request.param == "alone"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("text", METRICS)
def test_each_metric_is_that_of_numpy(waits, text, size):
    random = torch.Generator().manual_seed(size)
    dose = 80 * torch.rand(20, 10, 10, generator=random)
    mask = torch.zeros(2000, dtype=torch.bool)
    mask[torch.randperm(2000, generator=random)[:size]] = True
    mask = mask.reshape(dose.shape)
    metric, inside = parse_dose_value(text), dose.numpy()[mask.numpy()].astype(np.float64)
    found = DosesInside(dose, mask).read(metric, 12.0).item()
    assert found == (pytest.approx(inside.mean(), rel=1e-14) if text == "Dmean" else metric.read(inside, 12.0))


@pytest.mark.parametrize("text", METRICS)
def test_an_empty_structure_has_no_metric(waits, text):
    found = DosesInside(torch.ones(4, 4), torch.zeros(4, 4, dtype=torch.bool)).read(parse_dose_value(text), 12.0)
    assert math.isnan(found)


def test_a_gpu_is_asked_for_nothing(waits):
    with Waits() as counted:
        inside = DosesInside(torch.rand(8, 8), torch.rand(8, 8) > 0.5)
        [inside.read(parse_dose_value(text), 12.0) for text in METRICS]
    assert bool(counted.found) == waits
