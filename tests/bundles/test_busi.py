"""The BUSI bundle on synthetic images, on a folder as it is published, and on real images if there are any."""

import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from bundle_kit import (
    EACH_RUN_ID,
    check_run,
    each_refused_option,
    has_all_properties,
    refused,
    refused_without_run,
    rows_of,
)
from PIL import Image
from ultrasound_files import region, write_us

from ctan_monai.data.datasets.busi.synthetic import write_ultrasound_phantoms
from ctan_monai.engines import operating_point
from ctan_monai.errors import CheckpointError, ConfigError, DataError

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "busi"
REAL = Path(os.environ.get("CTAN_TEST_DATA", ROOT.parent / "shared" / "data")) / "busi"
SMALL = {"image_size": [64, 64], "epochs": 1, "batch_size": 8}
OWN = ("mt_estan", "hybrid_mt_estan", "mt_estan_swin", "swin")  # with a backbone of their own


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache for all tests of this file, with fewer synthetic images than the bundle draws."""
    folder = tmp_path_factory.mktemp("busi")
    write_ultrasound_phantoms(folder / "synthetic", images={"benign": 17, "malignant": 16, "normal": 2})
    return str(folder)


def encoder_of(method):
    return {} if method in OWN else {"encoder": "resnet18"}


@EACH_RUN_ID
def test_the_training_config_has_all_properties_that_monai_asks_for(workflow, tmp_path, cache, run_id):
    made = workflow("busi", "train.yaml", run_id=run_id, output_dir=str(tmp_path / "run"), **SMALL, cache_dir=cache)
    has_all_properties(made)


@each_refused_option("busi")
def test_a_wrong_option_is_named_with_what_may_be_given(workflow, tmp_path, cache, wrong, message):
    given = {**SMALL, "cache_dir": cache, "output_dir": str(tmp_path / "run"), **wrong}
    refused(workflow("busi", "train.yaml", **given), message, ConfigError, DataError)


def test_the_loss_is_three_times_focal_and_dice_and_another_weighting_can_be_chosen(workflow, tmp_path, cache):
    options = {**SMALL, "cache_dir": cache, "output_dir": str(tmp_path / "run")}
    made = workflow("busi", "train.yaml", **options)
    loss = made.parser.get_parsed_content("loss")
    assert loss.weighting.weights() == {"tumor": 1.0, "diagnosis": 3.0}
    assert (loss.losses[0].dice_weight, loss.losses[0].ce_weight) == (1.0, 0.0)
    assert (loss.losses[1].focal_alpha, loss.losses[1].focal_gamma) == (0.5, 2.0)
    other = workflow("busi", "train.yaml", weighting="dwa", **options)
    assert type(other.parser.get_parsed_content("loss").weighting).__name__ == "DynamicWeightAverage"


def test_options_of_the_paper_are_given_by_their_path(workflow, tmp_path, cache):
    path = "network_def#network_options#hybrid_mt_estan"
    options = {**SMALL, "cache_dir": cache, "output_dir": str(tmp_path / "run"), "method": "hybrid_mt_estan"}
    made = workflow("busi", "train.yaml", **options, **{f"{path}#attention": "pair", f"{path}#pooled": "concat"})
    found = made.parser.get_parsed_content("network_def").settings["network_options"]
    assert found == {"size": "tiny", "image_size": [64, 64], "attention": "pair", "pooled": "concat"}


@pytest.mark.slow
@pytest.mark.parametrize("method", [*OWN, "ctan", "mtan", "hps", "stl"])
def test_training_evaluation_and_inference_on_synthetic_images(run, tmp_path, cache, caplog, method):
    folder = tmp_path / "run"
    options = {**SMALL, **encoder_of(method), "method": method, "cache_dir": cache, "output_dir": str(folder)}
    with caplog.at_level(logging.INFO):
        run("busi", "train.yaml", run_id="training", **options)
    assert "they show no patients" in caplog.text
    assert "The operating point of diagnosis, malignant, is" in caplog.text
    names = json.loads((folder / "datalist.json").read_text())
    drawn = [f"predictions/{name}/overlay.png" for name in names["validation"][:4]]
    check_run(folder, method, ("tumor", "diagnosis"), ("tumor_dice", "diagnosis_auroc"), drawn)
    del options["image_size"]  # of the run
    evaluated = run("busi", "train.yaml", "evaluate.yaml", run_id="evaluating", **options)
    assert evaluated.check_properties() == []
    check_evaluation(folder, names["test"])
    if method in ("mt_estan", "hps"):
        given = {"method": method, "run_dir": str(folder), "cache_dir": cache}
        inferred = run("busi", "inference.yaml", run_id="inferring", kind="infer", **given)
        assert inferred.check_properties() == []
        check_inference(
            folder, {name: None for name in ("benign__10_", "benign__11_", "malignant__10_", "malignant__11_")}
        )


def check_evaluation(folder, cases):
    """See that the metrics follow from the written predictions and the images' names."""
    summary = json.loads((folder / "evaluation" / "summary.json").read_text())["metrics"]
    rows = rows_of(folder / "evaluation" / "predictions.csv")
    assert sorted(row["case"] for row in rows) == sorted(cases)
    truth = np.array([row["case"].startswith("malignant") for row in rows])
    probs = np.array([float(row["diagnosis: malignant"]) for row in rows])
    cut = operating_point(folder)["diagnosis"]["malignant"]
    for prefix, yes in (("diagnosis", probs >= 0.5), ("diagnosis_operating", probs >= cut)):
        fpr, fnr = (yes & ~truth).sum() / (~truth).sum(), (~yes & truth).sum() / truth.sum()
        assert summary[f"{prefix}_accuracy"] == pytest.approx((yes == truth).mean())
        assert (summary[f"{prefix}_fpr"], summary[f"{prefix}_fnr"]) == pytest.approx((fpr, fnr))
        assert summary[f"{prefix}_balanced_accuracy"] == pytest.approx(1 - (fpr + fnr) / 2)
        assert summary[f"{prefix}_f1"] == pytest.approx(2 * (yes & truth).sum() / (yes.sum() + truth.sum()))
    said = {row["case"]: value for row in rows for name, value in row.items() if ">=" in name}
    assert said == {row["case"]: "yes" if prob >= cut else "no" for row, prob in zip(rows, probs, strict=True)}
    assert 0 <= summary["tumor_jaccard"] <= summary["tumor_dice"] <= 1
    assert 0 <= summary["diagnosis_ece"] <= 1
    assert (folder / "evaluation" / "report.html").is_file()


def check_inference(folder, shapes):
    """See that every image got a mask of its own size, a probability and an overlay."""
    rows = {row["case"]: row for row in rows_of(folder / "inference" / "predictions.csv")}
    assert sorted(rows) == sorted(shapes)
    for case, shape in shapes.items():
        mask = np.array(Image.open(folder / "inference" / case / "tumor.png"))
        assert shape is None or mask.shape == shape
        assert mask.shape != (64, 64)
        assert set(np.unique(mask)) <= {0, 255}
        assert 0 <= float(rows[case]["diagnosis: malignant"]) <= 1
        assert (folder / "inference" / case / "overlay.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_folder_as_published_with_normal_images_folds_and_a_new_image_of_any_shape(run, tmp_path, cache):
    root = tmp_path / "BUSI"
    shutil.copytree(next(Path(cache).glob("synthetic*")), root)
    (root / "SYNTHETIC.txt").unlink()
    folder = tmp_path / "run"
    options = {**SMALL, "dataset_dir": str(root), "cache_dir": str(tmp_path / "cache"), "output_dir": str(folder)}
    options |= {"network_size": "tiny", "use_normal": True, "known_masks": 0.5, "folds": 3, "fold": 1}
    run("busi", "train.yaml", run_id="training", **options)
    names = json.loads((folder / "datalist.json").read_text())
    assert sum(case.startswith("normal") for cases in names.values() for case in cases) == 2
    assert json.loads((folder / "data.json").read_text())["synthetic"] is False
    kept = {name: options[name] for name in ("cache_dir", "output_dir")}
    run("busi", "train.yaml", "evaluate.yaml", run_id="evaluating", **kept)
    check_evaluation(folder, names["test"])
    new = tmp_path / "new"
    new.mkdir()
    wide = np.random.default_rng(1).integers(10, 200, (60, 150)).astype(np.uint8)
    Image.fromarray(wide).save(new / "a wide one.png")
    Image.fromarray(wide.T).convert("RGB").save(new / "tall.jpg")
    cine = np.zeros((2, 100, 200), np.uint8)
    cine[:, 20:80, 30:180] = wide
    write_us(new / "cine.dcm", cine, regions=[region((30, 179), (20, 79))])
    given = {"run_dir": str(folder), "cache_dir": str(tmp_path / "cache"), "input": str(new), "frame": 2}
    run("busi", "inference.yaml", run_id="inferring", kind="infer", **given)
    check_inference(folder, {"a_wide_one": (60, 150), "tall": (150, 60), "cine_f002": (100, 200)})
    assert pydicom.dcmread(folder / "inference" / "cine" / "SR.dcm").Modality == "SR"


def test_an_operating_point_that_is_damaged_is_named_and_without_one_there_is_none(tmp_path):
    assert operating_point(tmp_path) == {}
    for content in ("{}", '{"thresholds": {"diagnosis": {"malignant": 7}}}', '{"thresholds": [1]}'):
        (tmp_path / "operating_point.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"operating_point.json: it holds no thresholds.*0\.5 is then used"):
            operating_point(tmp_path)


def test_the_command_without_a_run_says_to_train_first(tmp_path):
    refused_without_run(BUNDLE, tmp_path)


@pytest.mark.slow
@pytest.mark.data
def test_real_images_are_trained_on_evaluated_and_inferred(run, tmp_path):
    if not REAL.is_dir():
        pytest.skip(f"no real BUSI images in {REAL}; set CTAN_TEST_DATA")
    folder = tmp_path / "run"
    options = {**SMALL, "dataset_dir": str(REAL), "cache_dir": str(tmp_path / "cache"), "network_size": "tiny"}
    run("busi", "train.yaml", run_id="training", output_dir=str(folder), **options)
    kept = {"cache_dir": str(tmp_path / "cache"), "output_dir": str(folder)}
    run("busi", "train.yaml", "evaluate.yaml", run_id="evaluating", **kept)
    check_evaluation(folder, json.loads((folder / "datalist.json").read_text())["test"])
    source = REAL / "malignant" / "malignant (1).png"
    given = {"run_dir": str(folder), "cache_dir": str(tmp_path / "cache"), "input": str(source)}
    run("busi", "inference.yaml", run_id="inferring", kind="infer", **given)
    size = Image.open(source).size
    check_inference(folder, {"malignant__1_": (size[1], size[0])})


def make_run(folder, seed):
    """Make a run's folder with a network that was not trained."""
    from ctan_monai.engines.runs.run_record import write_run
    from ctan_monai.engines.runs.torch_file import save_atomic
    from ctan_monai.networks import create_network
    from ctan_monai.tasks import Classification, Segmentation

    torch.manual_seed(seed)
    tasks = [Segmentation("tumor", ["tumor"], overlapping=True), Classification("diagnosis", ["malignant"])]
    network = create_network("hps", tasks, "resnet18", in_channels=3)
    folder.mkdir()
    write_run(network, folder)
    save_atomic(network.state_dict(), folder / "model.pt")
    (folder / "settings.json").write_text(json.dumps({"image_size": [64, 64], "network_size": "tiny"}))
    return str(folder)


def test_an_ensemble_of_one_run_is_that_run_to_the_bit_and_of_two_their_mean(run, tmp_path, cache):
    runs = [make_run(tmp_path / name, seed) for seed, name in enumerate("ab")]
    found = {}
    for name, given in {"a": runs[0], "one": f"[{runs[0]}]", "b": runs[1], "both": runs, "mirror": runs}.items():
        out = tmp_path / name / "answers"
        options = {"run_dir": given, "output_dir": str(out), "cache_dir": cache, "mirror": name == "mirror"}
        run("busi", "inference.yaml", run_id="inferring", kind="infer", formats=[], **options)
        found[name] = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.png")}
        found[name]["table"] = rows_of(out / "predictions.csv")
    assert found["one"] == found["a"]
    assert found["one"] != found["b"]
    column = "diagnosis: malignant"
    for one, two, both in zip(*(found[name]["table"] for name in ("a", "b", "both")), strict=True):
        assert float(both[column]) == pytest.approx((float(one[column]) + float(two[column])) / 2, abs=1e-6)
    assert not (tmp_path / "one" / "answers" / "spread.csv").exists()
    rows = rows_of(tmp_path / "mirror" / "answers" / "spread.csv")
    assert {row["answers"] for row in rows} == {"4"}
    assert "Spread of the answers" in (tmp_path / "both" / "answers" / "report.html").read_text()
