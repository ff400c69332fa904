"""The STOIC bundle on small synthetic chests: first run, published folder with labels missing, attention, 3D."""

import json
import logging
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from bundle_kit import EACH_RUN_ID, check_run, each_refused_option, has_all_properties, refused, rows_of, start

from ctan_monai.data.datasets.stoic.reader import read_reference
from ctan_monai.data.datasets.stoic.synthetic import write_chest_phantoms
from ctan_monai.engines import read_data_record
from ctan_monai.errors import ConfigError, DataError, find_ctan_error

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "stoic"
OVERLAY = ("train.yaml", "evaluate.yaml")
SHAPE = (64, 64, 12)
PATIENTS = {"negative": 6, "mild": 4, "severe": 4}
SMALL = {"encoder": "resnet18", "image_size": [64, 64], "epochs": 1, "batch_size": 4, "slices": 2}


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache in which the synthetic CTs are already, fewer and coarser than the bundle draws them."""
    folder = tmp_path_factory.mktemp("stoic")
    write_chest_phantoms(folder / "synthetic", patients=PATIENTS, shape=SHAPE)
    return str(folder)


@pytest.fixture
def published(cache, tmp_path):
    """A folder as it is published: no mark of a phantom, one patient without labels, one of unknown severity."""
    root = shutil.copytree(Path(cache) / "synthetic-1-0", tmp_path / "stoic2021-training")
    (root / "SYNTHETIC.txt").unlink()
    table = root / "metadata" / "reference.csv"
    head, *lines = table.read_text().splitlines()
    positive = next(at for at, line in enumerate(lines) if line.endswith(",1,0"))
    negative = next(at for at, line in enumerate(lines) if line.endswith(",0,0"))
    lines[positive] = lines[positive].removesuffix("0")
    lines[negative] = lines[negative].removesuffix("0,0") + ","
    table.write_text("\n".join([head, *lines]))
    return root


def mann_whitney(pairs):
    """AUROC from (probability, truth) pairs, by counting."""
    wins = [(a > b) + 0.5 * (a == b) for a, yes in pairs for b, no in pairs if yes and not no]
    return pytest.approx(np.mean(wins)) if wins else None


def check_evaluation(folder, table, cases, severity_of_negatives):
    """See that the metrics follow from the written predictions and the published table."""
    summary = json.loads((folder / "summary.json").read_text())["metrics"]
    probs = {row["case"]: row for row in rows_of(folder / "predictions.csv")}
    assert sorted(probs) == sorted(cases)
    labels = {case: read_reference(table)[case] for case in cases}
    covid = [(float(probs[case]["covid: covid"]), row.covid) for case, row in labels.items() if row.covid is not None]
    assert summary["covid_auroc"] == mann_whitney(covid)
    assert summary["covid_accuracy"] == pytest.approx(np.mean([(prob >= 0.5) == label for prob, label in covid]))
    severity = {case: float(probs[case]["severe: severe"]) for case in cases}
    among = [(severity[case], row.severe) for case, row in labels.items() if row.covid == 1 and row.severe is not None]
    over = [*among, *((severity[case], 0) for case, row in labels.items() if row.covid == 0)]
    assert summary["severe_auroc_among_covid"] == mann_whitney(among)
    assert summary["severe_auroc_over_all"] == mann_whitney(over)
    assert summary["severe_cases_over_all"] == len(over)
    assert summary["severe_auroc"] == mann_whitney(over if severity_of_negatives == "negative" else among)
    assert 0 <= summary["covid_ece"] <= 1
    assert summary["severe_brier"] >= 0
    check_images(folder, cases)


def check_images(folder, cases):
    for case in cases:
        assert (folder / case / "overlay.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "report.html").is_file()


def check_slices(folder, cases):
    """See that every patient's answer is the weighted mean of its slices' logits."""
    answers = {row["case"]: row for row in rows_of(folder / "predictions.csv")}
    for case in cases:
        table = rows_of(folder / case / "slices.csv")
        for column in ("covid: covid", "severe: severe"):
            probs = np.array([float(row[column]) for row in table])
            weights = np.array([float(row[f"{column} weight"]) for row in table])
            assert weights.sum() == pytest.approx(1, abs=1e-4)
            logit = (weights * np.log(probs / (1 - probs))).sum()
            assert float(answers[case][column]) == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-4)


@EACH_RUN_ID
def test_the_training_config_has_all_properties_that_monai_asks_for(workflow, tmp_path, cache, run_id):
    made = workflow("stoic", "train.yaml", run_id=run_id, output_dir=str(tmp_path / "run"), **SMALL, cache_dir=cache)
    has_all_properties(made)


@each_refused_option("stoic")
def test_a_wrong_option_is_named_with_what_may_be_given(workflow, tmp_path, cache, wrong, message):
    given = {**SMALL, "cache_dir": cache, "output_dir": str(tmp_path / "run"), **wrong}
    refused(workflow("stoic", "train.yaml", **given), message, ConfigError, DataError)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ctan", "mtan", "hps", "stl"])
def test_training_evaluation_and_inference_on_synthetic_chests(run, tmp_path, cache, caplog, method):
    folder = tmp_path / "run"
    options = {**SMALL, "method": method, "cache_dir": cache, "output_dir": str(folder)}
    with caplog.at_level(logging.WARNING):
        run("stoic", "train.yaml", run_id="training", **options)
    assert "SYNTHETIC CTs in use" in caplog.text
    assert read_data_record(folder)["synthetic"]
    assert "The data are SYNTHETIC" in (folder / "report.html").read_text()
    names = json.loads((folder / "datalist.json").read_text())
    drawn = [f"predictions/{name}/overlay.png" for name in names["validation"][:4]]
    metrics = ("covid_auroc", "severe_auroc", "severe_auroc_among_covid", "severe_auroc_over_all")
    check_run(folder, method, ("covid", "severe"), metrics, drawn)
    evaluated = run("stoic", *OVERLAY, run_id="evaluating", **{k: v for k, v in options.items() if k != "image_size"})
    assert evaluated.check_properties() == []
    table = Path(cache) / "synthetic-1-0" / "metadata" / "reference.csv"
    check_evaluation(folder / "evaluation", table, names["test"], "missing")
    check_slices(folder / "evaluation", names["test"])
    given = {"method": method, "run_dir": str(folder), "cache_dir": cache}
    inferred = run("stoic", "inference.yaml", run_id="inferring", kind="infer", **given)
    assert inferred.check_properties() == []
    cases = [f"SYN_{number:04d}" for number in range(4)]
    assert [row["case"] for row in rows_of(folder / "inference" / "predictions.csv")] == cases
    check_slices(folder / "inference", cases)
    check_images(folder / "inference", cases)


@pytest.mark.slow
def test_attention_on_a_published_folder_with_labels_missing_and_severity_read_as_negative(
    run, workflow, tmp_path, cache, published, caplog
):
    folder = tmp_path / "run"
    options = {**SMALL, "method": "hps", "batch_size": 2, "slices": 3, "pooling": "attention", "augment": 1.0}
    options |= {"dataset_dir": str(published), "cache_dir": cache, "output_dir": str(folder)}
    with caplog.at_level(logging.INFO):
        run("stoic", "train.yaml", run_id="training", severity_of_negatives="negative", severe_weight=2.0, **options)
    assert "SYNTHETIC CTs in use" not in caplog.text
    names = json.loads((folder / "datalist.json").read_text())
    known = sum(
        read_reference(published / "metadata" / "reference.csv")[case].covid is not None for case in names["train"]
    )
    assert f"covid is known in {known} of {len(names['train'])} cases" in caplog.text
    run(
        "stoic",
        *OVERLAY,
        run_id="evaluating",
        **{k: v for k, v in options.items() if k not in ("pooling", "image_size")},
    )
    check_evaluation(folder / "evaluation", published / "metadata" / "reference.csv", names["test"], "negative")
    check_slices(folder / "evaluation", names["test"])
    weights = [row["covid: covid weight"] for row in rows_of(folder / "evaluation" / names["test"][0] / "slices.csv")]
    assert len(set(weights)) > 1
    with pytest.raises(RuntimeError) as caught:
        workflow("stoic", *OVERLAY, run_id="evaluating", **{**options, "pooling": "max"}).initialize()
    assert "slice_score: saved True, now False" in str(find_ctan_error(caught.value))
    new = tmp_path / "new"
    new.mkdir()
    image = sitk.ReadImage(str(published / "data" / "mha" / "SYN_0003.mha"))
    sitk.WriteImage(image, str(new / "as nifti.nii.gz"))
    sitk.WriteImage(image, str(new / "plain.mha"))
    given = {"method": "hps", "run_dir": str(folder), "cache_dir": cache, "input": str(new)}
    run("stoic", "inference.yaml", run_id="inferring", kind="infer", **given)
    one, other = rows_of(folder / "inference" / "predictions.csv")
    assert [one["case"], other["case"]] == ["as_nifti", "plain"]
    assert float(one["severe: severe"]) == pytest.approx(float(other["severe: severe"]), abs=1e-5)
    (new / "broken.mha").write_bytes((new / "plain.mha").read_bytes()[:4000])
    with pytest.raises(RuntimeError) as caught:
        start(workflow("stoic", "inference.yaml", run_id="inferring", kind="infer", **given))
    assert "broken.mha (case broken): it cannot be read as a MetaImage volume" in str(find_ctan_error(caught.value))


@pytest.mark.slow
def test_a_share_of_the_slices_answers_and_the_pooling_can_be_changed_after_the_training(run, tmp_path, cache):
    folder = tmp_path / "run"
    options = {**SMALL, "method": "hps", "cache_dir": cache, "output_dir": str(folder)}
    run("stoic", "train.yaml", run_id="training", pooling="topk", top_fraction=0.4, **options)
    names = json.loads((folder / "datalist.json").read_text())["test"]
    for given, share in (({}, 0.4), ({"top_fraction": 1.0}, 1.0), ({"pooling": "max"}, 0.0)):
        shutil.rmtree(folder / "evaluation", ignore_errors=True)
        run("stoic", *OVERLAY, run_id="evaluating", **options, **given)
        check_slices(folder / "evaluation", names)
        for name in names:
            table = rows_of(folder / "evaluation" / name / "slices.csv")
            ranked = sorted(table, key=lambda row: -float(row["covid: covid"]))
            weights = [float(row["covid: covid weight"]) for row in ranked]
            count = max(1, math.ceil(share * len(table)))
            assert weights == pytest.approx([1 / count] * count + [0] * (len(table) - count), abs=1e-5)


@pytest.mark.slow
def test_one_switch_makes_it_3d(run, tmp_path, cache):
    folder = tmp_path / "run"
    options = {**SMALL, "method": "ctan", "batch_size": 2, "spatial_dims": 3, "depth": 16}
    options |= {"cache_dir": cache, "output_dir": str(folder)}
    run("stoic", "train.yaml", run_id="training", **options)
    assert json.loads((folder / "run.json").read_text())["spatial_dims"] == 3
    del options["spatial_dims"], options["depth"]  # of the run
    run("stoic", *OVERLAY, run_id="evaluating", **options)
    names = json.loads((folder / "datalist.json").read_text())["test"]
    table = Path(cache) / "synthetic-1-0" / "metadata" / "reference.csv"
    check_evaluation(folder / "evaluation", table, names, "missing")
    given = {"method": "ctan", "run_dir": str(folder), "cache_dir": cache}
    run("stoic", "inference.yaml", run_id="inferring", kind="infer", **given)
    check_images(folder / "inference", [f"SYN_{number:04d}" for number in range(4)])


def test_splits_that_share_a_ct_are_refused_before_training(workflow, tmp_path, published):
    scans = published / "data" / "mha"
    image = sitk.ReadImage(str(scans / "SYN_0001.mha"))
    sitk.WriteImage(image, str(scans / "900.mha"), useCompression=False)
    with (published / "metadata" / "reference.csv").open("a") as table:
        table.write("\n900,1,0")
    chosen = {"train": ["SYN_0001", "SYN_0002"], "validation": ["SYN_0003"], "test": ["900"]}
    (tmp_path / "list.json").write_text(json.dumps(chosen))
    options = {**SMALL, "dataset_dir": str(published), "cache_dir": str(tmp_path / "cache")}
    options |= {"datalist": str(tmp_path / "list.json"), "output_dir": str(tmp_path / "run")}
    with pytest.raises((DataError, RuntimeError)) as caught:
        start(workflow("stoic", "train.yaml", run_id="training", **options))
    assert "same file: SYN_0001 (train) and 900 (test)" in str(find_ctan_error(caught.value))
