"""What was trained on synthetic data is called so on the page of a run and beside every image."""

from __future__ import annotations

import dataclasses

import pytest

from ctan_monai.data.cases.cache import write_case
from ctan_monai.engines import write_data_record
from ctan_monai.engines.predictions.predictions_index import read_index
from ctan_monai.report import report_predictions, report_run
from ctan_monai.report.case_view import load_view

RECORD = {"prescriptions_gy": {"60": 3}, "normalized_to_gy": None, "cases": {"train": 2, "validation": 1}}


@pytest.mark.parametrize("synthetic", [True, False])
def test_the_page_of_a_run_says_what_it_learned_from(run_folder, synthetic):
    write_data_record(run_folder, {"synthetic": synthetic, **RECORD})
    text = report_run(run_folder).read_text(encoding="utf-8")
    assert ("The data are SYNTHETIC" in text) == synthetic
    assert f"<td>synthetic</td><td>{synthetic}</td>" in text
    assert "<td>prescriptions_gy</td>" in text


def test_images_of_a_synthetic_case_say_so(predictions, patient):
    index = read_index(predictions)
    assert "SYNTHETIC" not in load_view(index.cases[0], index.tasks)[1]
    write_case(index.cases[0].source, dataclasses.replace(patient, meta={"synthetic": True}))
    assert load_view(index.cases[0], index.tasks)[1].startswith("SYNTHETIC, no patient; oar: mean Dice 0.9")
    assert load_view(index.cases[0], index.tasks, caption=False)[1] == "SYNTHETIC, no patient"
    assert "SYNTHETIC, no patient" in report_predictions(predictions).read_text(encoding="utf-8")
