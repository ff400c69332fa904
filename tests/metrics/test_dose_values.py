"""Metrics of a dose that rises linearly through a cube, where each of them is known without a computer."""

import numpy as np
import pytest

from ctan_monai.errors import ConfigError
from ctan_monai.metrics.dose_values import parse_dose_value

SIDE = 100
RAMP = (
    np.broadcast_to((np.arange(SIDE) + 0.5) * 0.6, (10, 10, SIDE)).astype(np.float64).ravel()
)  # 0 to 60 Gy, 0.6 apart
VOXEL_MM3 = 8.0  # 10,000 voxels: 80 cc
STEP_GY = 0.6


def read(name, prescription_gy=None):
    return parse_dose_value(name).read(RAMP, VOXEL_MM3, prescription_gy)


@pytest.mark.parametrize(
    ("name", "expected", "tolerance"),
    [
        ("Dmean", 30.0, 1e-9),
        ("Dmin", 0.3, 1e-9),
        ("Dmax", 59.7, 1e-9),
        # a dose of 60 Gy * (1 - x / 100) is reached by x percent, wherever the voxel's edge lies
        ("D95%", 3.0, STEP_GY),
        ("D50%", 30.0, STEP_GY),
        ("D2%", 58.8, STEP_GY),
        ("D8cc", 54.0, STEP_GY),  # 8 of 80 cc: 10 %
        ("D0.03cc", 59.7, 1e-9),  # four voxels, all in the hottest layer
        ("V30Gy", 50.0, 1e-9),  # 30 Gy lies between two voxels
        ("V45Gy%", 25.0, 1e-9),
        ("V45Gycc", 20.0, 1e-9),
        ("V60.1Gy", 0.0, 1e-9),
    ],
)
def test_metrics_of_a_ramp_are_those_worked_out_by_hand(name, expected, tolerance):
    assert read(name) == pytest.approx(expected, abs=tolerance)


def test_volumes_at_a_share_of_the_prescription_move_with_it():
    assert read("V75%", 60.0) == pytest.approx(25.0)  # 45 Gy
    assert read("V75%cc", 40.0) == pytest.approx(40.0)  # 30 Gy
    with pytest.raises(ConfigError, match="prescription is not known"):
        read("V75%")


def test_dose_at_a_volume_and_volume_at_a_dose_undo_each_other():
    for percent in (1, 20, 50, 80, 99):
        dose_gy = read(f"D{percent}%")
        assert parse_dose_value(f"V{dose_gy:.9f}Gy").read(RAMP, VOXEL_MM3) == pytest.approx(percent, abs=1.0)


@pytest.mark.parametrize(
    ("text", "name", "unit"),
    [
        ("V70 Gy", "V70Gy", "%"),
        ("V 70gy %", "V70Gy", "%"),
        ("v70Gycc", "V70Gycc", "cc"),
        ("V95%", "V95%", "%"),
        ("V95%cc", "V95%cc", "cc"),
        ("mean", "Dmean", "Gy"),
        ("DMAX", "Dmax", "Gy"),
        ("D0.03CC", "D0.03cc", "Gy"),
    ],
)
def test_spaces_and_capitals_do_not_matter(text, name, unit):
    metric = parse_dose_value(text)
    assert (metric.name, metric.unit) == (name, unit)
    assert parse_dose_value(metric.name) == metric


@pytest.mark.parametrize("text", ["", "D", "V70", "D70Gy", "D101%", "X70Gy", "V-5Gy", "Dmedian", "V70Gy%%"])
def test_what_is_no_metric_is_refused_with_examples(text):
    with pytest.raises(ConfigError, match=r"is unknown.*D95%"):
        parse_dose_value(text)
