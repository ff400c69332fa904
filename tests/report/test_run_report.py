from __future__ import annotations

import dataclasses
import json
import logging
import re

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigParser

from ctan_monai.engines.predictions.predictions_index import read_index
from ctan_monai.errors import DataError
from ctan_monai.report import draw_cases, report_predictions, report_run
from ctan_monai.report.case_view import load_view
from ctan_monai.tasks import Classification


def test_a_run_ends_with_curves_images_of_cases_and_one_page(run_folder, predictions, caplog):
    with caplog.at_level(logging.INFO):
        path = report_run(run_folder, predictions, targets=["PTV70"])
    assert path == run_folder / "report.html"
    text = path.read_text(encoding="utf-8")
    for found in ("ctan", "resnet18", "&lt;dwa&gt;", "epoch 3, selection score 0.3", "oar_dice", "pt_1", "pt_2"):
        assert found in text
    assert text.count("data:image/png;base64,") == 1 + 2 + 2
    headings = re.findall("<h2>(.*?)</h2>", text)
    assert headings == ["Validation", "Learning curves", "pt_1", "pt_2", "What was run"], "results come first"
    for name in (run_folder / "images" / "curves.png", predictions / "pt_1" / "overlay.png", path):
        assert name.is_file()
        assert str(name) in caplog.text, "the log says where it lies"
    assert "model.pt" in caplog.text


def test_the_page_shows_the_metrics_of_the_best_epoch(run_folder):
    text = report_run(run_folder).read_text(encoding="utf-8")
    assert '<th scope="col">epoch 3</th>' in text
    assert '<td>oar_dice</td><td class="n">0.4</td>' in text
    assert '<td>oar_dice_Larynx</td><td class="n">unknown</td>' in text


def test_a_config_calls_it_as_the_last_entry_of_its_run_list(run_folder, predictions):
    parser = ConfigParser(
        {
            "output_dir": str(run_folder),
            "training": [
                {
                    "_target_": "ctan_monai.report.report_run",
                    "output_dir": "@output_dir",
                    "predictions_dir": str(predictions),
                    "max_cases": 1,
                }
            ],
        }
    )
    assert parser.get_parsed_content("training#0") == run_folder / "report.html"
    assert (predictions / "pt_1" / "dvh.png").is_file()
    assert not (predictions / "pt_2" / "overlay.png").exists()


def test_a_run_that_was_killed_in_its_first_epoch_has_nothing_to_report(tmp_path):
    with pytest.raises(DataError, match="Train first"):
        report_run(tmp_path)


def test_a_damaged_file_beside_the_history_is_left_out(run_folder, caplog):
    (run_folder / "run.json").write_text("{")
    assert report_run(run_folder, run_folder / "no predictions").is_file()
    assert "run.json cannot be read" in caplog.text


def test_a_run_without_validation_says_so(run_folder):
    content = json.loads((run_folder / "metrics.json").read_text())
    for record in content["epochs"]:
        record.pop("validation", None)
    (run_folder / "metrics.json").write_text(json.dumps({**content, "best": {}}))
    assert "The run was not validated." in report_run(run_folder).read_text(encoding="utf-8")


def test_predictions_get_a_page_of_their_own_with_the_metrics_over_all_cases(predictions):
    summary = {"cases": 2, "known_cases": {}, "metrics": {"oar_dice": 0.75, "dose_score": None}}
    (predictions / "summary.json").write_text(json.dumps(summary))
    text = report_predictions(predictions, max_cases=1).read_text(encoding="utf-8")
    assert '<td>oar_dice</td><td class="n">0.75</td>' in text
    assert '<td>dose_score</td><td class="n">unknown</td>' in text
    assert "Over 2 cases" in text
    assert text.count("data:image/png;base64,") == 2


def test_the_caption_holds_the_metrics_of_the_case(predictions):
    index = read_index(predictions)
    view, caption = load_view(index.cases[0], index.tasks, targets=["PTV70"])
    # Brainstem: 3 * 3 * 5 voxels, moved by one of five: Dice 0.8; parotid 1, larynx unknown. Dose: 10 Gy too high in
    # the target's 8 * 7 * 6 voxels, of 20 * 24 * 14 in all and 16 * 18 * 14 in the region.
    assert caption == (
        "oar: mean Dice 0.9; "
        f"dose: mean absolute error {3360 / 6720:.3g} Gy over the whole volume, "
        f"{3360 / 4032:.3g} Gy inside dose_region; "
        "prediction set to 0 outside dose_region"
    )
    assert set(view.reference) == {"Brainstem", "LeftParotid", "PTV70"}
    assert set(view.predicted) == {"Brainstem", "LeftParotid", "Larynx"}
    assert load_view(index.cases[1], index.tasks)[1] == "", "nothing is known of the other case"


def test_only_the_structures_that_were_asked_for_are_shown(predictions):
    index = read_index(predictions)
    view, _ = load_view(index.cases[0], index.tasks, targets=["PTV70"], structures=["LeftParotid"])
    assert set(view.reference) == {"LeftParotid", "PTV70"}


def test_a_case_that_cannot_be_drawn_is_named_and_the_others_are_drawn(predictions, caplog):
    (predictions.parent / "cache" / "pt_1.case").write_bytes(b"damaged")
    drawn = draw_cases(predictions)
    assert [case.case for case in drawn] == ["pt_2"]
    assert "No image of pt_1" in caplog.text


@pytest.mark.parametrize("change", ["shape", "affine"])
def test_a_prediction_on_another_grid_is_refused(predictions, change):
    index = read_index(predictions)
    path = index.cases[0].files["dose"]["dose"]
    image = nib.load(path)
    dose, affine = np.asarray(image.dataobj), image.affine
    if change == "shape":
        dose = dose[1:]
    else:
        affine = affine + np.eye(4)
    nib.save(nib.Nifti1Image(dose, affine), path)
    with pytest.raises(DataError, match=r"dose.nii.gz \(case pt_1\): it lies on another grid"):
        load_view(index.cases[0], index.tasks)


def test_an_image_that_the_case_does_not_have_is_named(predictions):
    index = read_index(predictions)
    with pytest.raises(DataError, match=r"no volume 'mr', only \['ct', 'dose'\]"):
        load_view(index.cases[0], index.tasks, image="mr")


def test_answers_for_the_whole_image_stand_in_the_caption(predictions):
    index = read_index(predictions)
    stage = Classification("stage", ["early", "late"])
    case = dataclasses.replace(index.cases[1], answers={"stage": {"early": 0.25, "late": 0.75}})
    assert load_view(case, [*index.tasks, stage])[1] == "stage: early 0.25; stage: late 0.75"


def test_a_case_of_unknown_source_is_named(predictions):
    index = read_index(predictions)
    with pytest.raises(DataError, match=r"pt_1.*source of the case is not known"):
        load_view(dataclasses.replace(index.cases[0], source=None), index.tasks)


def test_a_damaged_prediction_is_named(predictions):
    index = read_index(predictions)
    index.cases[0].files["dose"]["dose"].write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"dose.nii.gz \(case pt_1\): it cannot be read as NIfTI"):
        load_view(index.cases[0], index.tasks)
