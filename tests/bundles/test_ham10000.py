"""The HAM10000 bundle on synthetic images, on a folder as it is published, and on real images if there are any."""

import csv
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from amp_kit import AMP
from bundle_kit import (
    EACH_RUN_ID,
    check_run,
    each_refused_option,
    has_all_properties,
    refused,
    refused_without_run,
    rows_of,
    start,
)
from PIL import Image

from ctan_monai.data.datasets.ham10000.synthetic import write_lesion_phantoms
from ctan_monai.errors import ConfigError, DataError, find_ctan_error

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "ham10000"
REAL = Path(os.environ.get("CTAN_TEST_DATA", ROOT.parent / "shared" / "data")) / "ham10000"
CLASSES = ["nv", "mel", "bkl", "bcc", "akiec", "vasc", "df"]
SMALL = {"encoder": "resnet18", "image_size": [64, 64], "epochs": 1, "batch_size": 16}


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache for all tests of this file: the synthetic images are drawn once."""
    return str(tmp_path_factory.mktemp("ham10000"))


@pytest.fixture
def published(tmp_path):
    """A folder as it is published, of 21 lesions and 26 images; one mask and one diagnosis are missing."""
    root = write_lesion_phantoms(tmp_path / "HAM10000", lesions=dict.fromkeys(CLASSES, 3), shape=(60, 80))
    (root / "SYNTHETIC.txt").unlink()
    table = root / "HAM10000_metadata.csv"
    lines = table.read_text().splitlines()
    lines[1] = lines[1].replace(",nv,", ",,")
    table.write_text("\n".join(lines))
    next(root.glob("HAM10000_seg*/SYN_0000001_segmentation.png")).unlink()
    return root


def table_of(root):
    """Read the published table: rows by image."""
    with next(root.rglob("HAM10000_metadata.csv")).open() as file:
        return {row["image_id"]: row for row in csv.DictReader(file)}


@EACH_RUN_ID
def test_the_training_config_has_all_properties_that_monai_asks_for(workflow, tmp_path, cache, run_id):
    made = workflow("ham10000", "train.yaml", run_id=run_id, output_dir=str(tmp_path / "run"), **SMALL, cache_dir=cache)
    has_all_properties(made)


@each_refused_option("ham10000")
def test_a_wrong_option_is_named_with_what_may_be_given(workflow, tmp_path, cache, wrong, message):
    given = {**SMALL, "cache_dir": cache, "output_dir": str(tmp_path / "run"), **wrong}
    refused(workflow("ham10000", "train.yaml", **given), message, ConfigError, DataError)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ctan", "mtan", "hps", "stl"])
def test_training_evaluation_and_inference_on_synthetic_images(run, tmp_path, cache, caplog, method):
    folder = tmp_path / "run"
    options = {**SMALL, "method": method, "cache_dir": cache, "output_dir": str(folder)}
    with caplog.at_level(logging.WARNING):
        run("ham10000", "train.yaml", run_id="training", **options)
    assert "they show no patients" in caplog.text
    metrics = ("lesion_dice", "diagnosis_balanced_accuracy", "diagnosis_auroc")
    names = json.loads((folder / "datalist.json").read_text())
    drawn = [f"predictions/{name}/overlay.png" for name in names["validation"][:4]]
    check_run(folder, method, ("lesion", "diagnosis"), metrics, drawn)
    assert "SYNTHETIC" in (folder / "report.html").read_text()
    assert json.loads((folder / "data.json").read_text())["synthetic"] is True
    del options["image_size"]  # of the run
    evaluated = run("ham10000", "train.yaml", "evaluate.yaml", run_id="evaluating", **options)
    assert evaluated.check_properties() == []
    check_evaluation(folder / "evaluation", names["test"], table_of(next(Path(cache).glob("synthetic*"))), (120, 160))
    given = {"method": method, "run_dir": str(folder), "cache_dir": cache}
    inferred = run("ham10000", "inference.yaml", run_id="inferring", kind="infer", **given)
    assert inferred.check_properties() == []
    check_inference(folder / "inference", {f"SYN_000000{n}": (120, 160) for n in range(4)})


def check_evaluation(folder, cases, table, shape):
    """See that the metrics follow from the written predictions and the published table."""
    summary = json.loads((folder / "summary.json").read_text())["metrics"]
    answers = {row["case"]: row["diagnosis"] for row in rows_of(folder / "predictions.csv")}
    assert sorted(answers) == sorted(cases)
    truth = {case: table[case]["dx"] for case in cases if table[case]["dx"]}
    right = {name: [answers[case] == name for case in truth if truth[case] == name] for name in CLASSES}
    recalls = [np.mean(found) for found in right.values() if found]
    assert summary["diagnosis_accuracy"] == pytest.approx(np.mean([found for each in right.values() for found in each]))
    assert summary["diagnosis_balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert summary["diagnosis_majority_balanced_accuracy"] == pytest.approx(1 / len(recalls))
    assert 0 <= summary["diagnosis_ece"] <= 1
    for row in rows_of(folder / "confusion_diagnosis.csv"):
        mine = [case for case in truth if truth[case] == row["truth"]]
        assert {name: int(row[name]) for name in CLASSES} == {
            name: sum(answers[case] == name for case in mine) for name in CLASSES
        }
    assert [row["case"] for row in rows_of(folder / "per_case.csv")] == sorted(cases)
    for case in cases:
        assert np.array(Image.open(folder / case / "lesion.png")).shape == shape
    assert (folder / "confusion_diagnosis.png").is_file()
    assert (folder / "report.html").is_file()


def check_inference(folder, shapes):
    """See that every image got a mask of its size, probabilities and an overlay."""
    rows = {row["case"]: row for row in rows_of(folder / "predictions.csv")}
    assert sorted(rows) == sorted(shapes)
    for case, shape in shapes.items():
        mask = np.array(Image.open(folder / case / "lesion.png"))
        assert mask.shape == shape
        assert set(np.unique(mask)) <= {0, 255}
        assert sum(float(rows[case][f"diagnosis: {name}"]) for name in CLASSES) == pytest.approx(1, abs=1e-4)
        assert (folder / case / "overlay.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_folder_as_published_with_labels_missing_and_images_of_any_kind(run, workflow, tmp_path, published, caplog):
    folder, cache = tmp_path / "run", str(tmp_path / "cache")
    options = {**SMALL, "method": "hps", "batch_size": 4, "dataset_dir": str(published), "cache_dir": cache}
    options |= {"output_dir": str(folder), "known_masks": 0.5, "sampler": "balanced", "class_weights": "inverse"}
    with caplog.at_level(logging.INFO):
        run("ham10000", "train.yaml", run_id="training", focal_gamma=2.0, amp=AMP, **options)
    assert "synthetic" not in caplog.text
    assert "SYNTHETIC" not in (folder / "report.html").read_text()
    names = json.loads((folder / "datalist.json").read_text())
    assert f"{round(len(names['train']) / 2)} of {len(names['train'])} cases keep theirs" in caplog.text
    lesions = {split: {table_of(published)[case]["lesion_id"] for case in names[split]} for split in names}
    assert not lesions["train"] & lesions["test"]
    assert not lesions["validation"] & (lesions["train"] | lesions["test"])
    with next(published.glob("HAM10000_metadata.csv")).open("a") as table:  # the split of now would be another
        table.writelines(f"\nnew_{n},NEW_{n},nv,histo,50.0,male,back" for n in range(8))
    for n in range(8):
        noise = np.random.default_rng(n).integers(0, 256, (60, 80, 3)).astype(np.uint8)
        Image.fromarray(noise).save(published / "HAM10000_images_part_1" / f"NEW_{n}.jpg")
    for name in ("dataset_dir", "image_size"):  # as the run had them
        del options[name]
    run("ham10000", "train.yaml", "evaluate.yaml", run_id="evaluating", **options)
    check_evaluation(folder / "evaluation", names["test"], table_of(published), (60, 80))
    odd = tmp_path / "odd"
    odd.mkdir()
    image = Image.open(next(published.rglob("SYN_0000003.jpg")))
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    image.convert("L").save(odd / "gray.png")
    image.convert("P").save(odd / "palette.png")
    image.convert("RGBA").save(odd / "clear.png")
    image.convert("CMYK").save(odd / "print.jpg")
    image.save(odd / "up right.jpg", exif=turned)
    (odd / "notes.txt").write_text("no image")
    given = {"method": "hps", "run_dir": str(folder), "cache_dir": cache, "input": str(odd)}
    run("ham10000", "inference.yaml", run_id="inferring", kind="infer", **given)
    shapes = dict.fromkeys(["gray", "palette", "clear", "print"], (60, 80))
    check_inference(folder / "inference", {**shapes, "up_right": (80, 60)})
    (odd / "broken.jpg").write_bytes((odd / "print.jpg").read_bytes()[:500])
    with pytest.raises(RuntimeError) as caught:
        start(workflow("ham10000", "inference.yaml", run_id="inferring", kind="infer", **given))
    assert "broken.jpg (case broken): it is no JPEG or PNG, or was cut short" in str(find_ctan_error(caught.value))


@pytest.mark.slow
def test_evaluating_another_method_or_no_run_names_what_to_do(run, workflow, tmp_path, cache):
    options = {**SMALL, "cache_dir": cache, "output_dir": str(tmp_path / "run")}
    run("ham10000", "train.yaml", run_id="training", method="hps", **options)
    made = workflow("ham10000", "train.yaml", "evaluate.yaml", run_id="evaluating", method="ctan", **options)
    with pytest.raises(RuntimeError) as caught:
        made.initialize()
    assert "Pass --method hps" in str(find_ctan_error(caught.value))


def test_splits_that_are_not_independent_are_refused_before_training(workflow, tmp_path, published):
    table = table_of(published)
    twice = [row["lesion_id"] for row in table.values()]
    first, second = [name for name in table if twice.count(table[name]["lesion_id"]) > 1][:2]  # two views of one
    others = [name for name in table if table[name]["lesion_id"] != table[first]["lesion_id"]]
    chosen = {"train": [first, *others[:8]], "validation": others[8:10], "test": [second, others[10]]}
    (tmp_path / "datalist.json").write_text(json.dumps(chosen))
    options = {**SMALL, "dataset_dir": str(published), "cache_dir": str(tmp_path / "cache")}
    options |= {"datalist": str(tmp_path / "datalist.json"), "output_dir": str(tmp_path / "run")}
    with pytest.raises((DataError, RuntimeError)) as caught:
        start(workflow("ham10000", "train.yaml", run_id="training", **options))
    assert f"same lesion: {first} (train) and {second} (test)" in str(find_ctan_error(caught.value))
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_the_command_without_a_run_says_to_train_first(tmp_path):
    refused_without_run(BUNDLE, tmp_path)


@pytest.mark.slow
@pytest.mark.data
def test_real_images_are_trained_on_evaluated_and_inferred(run, tmp_path):
    if not REAL.is_dir():
        pytest.skip(f"no real HAM10000 images in {REAL}; set CTAN_TEST_DATA")
    table = table_of(REAL)
    of_class = {name: [image for image in table if table[image]["dx"] == name] for name in CLASSES}
    chosen = {"train": [], "validation": [], "test": []}
    for images in of_class.values():
        chosen["train"] += images[:3]
        chosen["validation"] += images[3:4]
        chosen["test"] += images[4:6]
    (tmp_path / "datalist.json").write_text(json.dumps(chosen))
    folder = tmp_path / "run"
    options = {**SMALL, "image_size": [96, 128], "batch_size": 7, "dataset_dir": str(REAL), "output_dir": str(folder)}
    options |= {"cache_dir": str(tmp_path / "cache"), "datalist": str(tmp_path / "datalist.json"), "amp": AMP}
    run("ham10000", "train.yaml", run_id="training", **options)
    run("ham10000", "train.yaml", "evaluate.yaml", run_id="evaluating", **options)
    check_evaluation(folder / "evaluation", chosen["test"], table, (150, 200))
    given = {"run_dir": str(folder), "cache_dir": str(tmp_path / "cache")}
    source = next(REAL.rglob(f"{chosen['test'][0]}.jpg"))
    run("ham10000", "inference.yaml", run_id="inferring", kind="infer", input=str(source), **given)
    check_inference(folder / "inference", {source.stem: (150, 200)})
