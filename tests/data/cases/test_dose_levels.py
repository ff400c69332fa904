"""Prescriptions from the names of targets, against TG-263's own examples."""

import pytest

from ctan_monai.data.cases.dose_levels import dose_level, prescription_of_names


@pytest.mark.parametrize(
    ("name", "gy"),
    [
        ("PTV_7000", 70.0),  # TG-263: cGy
        ("PTV_50.4Gy", 50.4),
        ("PTV_50p4Gy", 50.4),
        ("PTV_Liver_2000x3", 60.0),
        ("PTV_Liver_20Gyx3", 60.0),
        ("PTV_Eval_7000-08", 70.0),  # cropped by 8 mm
        ("PTV!_5040cGy", 50.4),
        ("PTV_70", 70.0),  # as clinics write it
        ("PTV 40.05", 40.05),
        ("PTV56_63", 63.0),
        ("PTV_800", 8.0),
        ("PTV1", None),  # numbers of targets, dates, margins
        ("PTV_High", None),
        ("PTV_20240101", None),
        ("PTV_70mm", None),
        ("PTV_5040x28", None),  # 1,411 Gy
    ],
)
def test_the_level_of_a_target_is_read_as_tg263_writes_it(name, gy):
    assert dose_level(name) == gy


def test_the_highest_level_of_the_ptvs_is_the_prescription_and_of_other_targets_only_without_one():
    assert prescription_of_names(["CTV_7400", "PTV_5600", "ptv_7000", "Heart 80"]) == 70.0
    assert prescription_of_names(["PTV", "CTV_6000", "GTV_6600"]) == 60.0
    assert prescription_of_names(["PTV1", "Rectum"]) is None
