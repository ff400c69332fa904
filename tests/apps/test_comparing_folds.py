"""Cross-validation by ``compare --folds``: every bundle's folds divide its cases, and what is pooled was measured."""

import csv
import json
import math
from pathlib import Path

import pytest

from ctan_monai.apps.comparing.bundle import Bundle
from ctan_monai.apps.comparing.folds import check_folds
from ctan_monai.apps.comparing.plan import Plan, Row
from ctan_monai.apps.main import app
from ctan_monai.data.datasets.stoic.synthetic import write_chest_phantoms
from ctan_monai.errors import DataError

ROOT = Path(__file__).parents[2]
COARSE = {"rows": 60, "columns": 90, "slices": 12, "row_mm": 5.0, "column_mm": 5.0, "slice_mm": 8.0}
SMALL = {
    "prostate": {"phantoms": 4, **{f"phantom_grid#{name}": value for name, value in COARSE.items()}},
    "mr_ct": {"phantoms": 4},
}
CHESTS = {"negative": 4, "mild": 4, "severe": 4}


def planned(folds, bundle="b"):
    return Plan(str(bundle), (Row("stl", "stl"),), (0, 1), (), 1, "stl", "ctan", (), folds=folds)


@pytest.mark.parametrize("name", ["busi", "ham10000", "mr_ct", "openkbp", "prostate", "stoic"])
def test_the_folds_of_every_bundle_test_each_case_once(tmp_path, name):
    given = {"cache_dir": tmp_path / "cache", **SMALL.get(name, {})}
    if name == "stoic":
        write_chest_phantoms(tmp_path / "cache" / "synthetic", patients=CHESTS, shape=(64, 64, 12))
    options = [word for option, value in given.items() for word in (f"--{option}", str(value))]
    made = Bundle(str(ROOT / "bundles" / name), options)
    check_folds(planned(3), tmp_path, made)
    groups = json.loads((tmp_path / "groups.json").read_text())
    assert len(groups) >= 4
    assert set(groups.values()) <= set(groups)


def test_runs_are_in_folders_of_their_folds_and_get_the_same_ones_in_every_seed(tmp_path):
    runs = list(planned(2).runs(tmp_path))
    assert [run.name for run in runs] == [f"stl, seed {seed}, fold {fold}" for seed in (0, 1) for fold in (0, 1)]
    assert runs[1].folder == tmp_path / "runs" / "stl" / "seed0" / "fold1"
    for run in runs:
        for command in run.commands.values():
            assert " ".join(("--folds 2 --fold", str(run.fold))) in " ".join(command)
    assert all("--fold" not in run.commands["training"] for run in planned(None).runs(tmp_path))


def test_a_table_whose_folds_part_a_group_is_refused_before_anything_runs(tmp_path, run):
    from tabular_data import ramp, save_volume, write_json

    files = [save_volume(tmp_path / f"c{n}.nii.gz", ramp() + n) for n in range(6)]
    rows = [{"image": file, "grade": "low", "group": f"p{n // 2}", "fold": n % 2} for n, file in enumerate(files)]
    write_json(tmp_path / "cases.json", rows)
    new = ["new", "own", "--out", str(tmp_path), "--image", "ct", "--task", "classification:grade=low,high"]
    code, _, error = run(app, *new)
    assert code == 0, error
    made = Bundle(str(tmp_path / "own"), ["--datalist", str(tmp_path / "cases.json")])
    with pytest.raises(DataError, match="which is not independent of it"):
        check_folds(planned(2), tmp_path, made)


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--", "--fold", "1"], "chooses it"), (["--", "--folds", "3"], "chooses it")]
)
def test_folds_are_not_given_twice(tmp_path, run, arguments, words):
    options = ("--bundle", ROOT / "bundles" / "busi", "--out", tmp_path / "out", "--methods", "stl", "--folds", "3")
    code, _, error = run(app, "compare", *options, *arguments)
    assert code == 2
    assert words in " ".join(error.split())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pooled_figures_are_those_computed_by_hand_from_the_folds_files(tmp_path, run):
    """Two folds of one method on synthetic ultrasound: each image once, Dice its mean, AUROC over all pairs."""
    small = ["--image_size", "[32,32]", "--epochs", "1", "--cache_dir", tmp_path / "cache", "--encoder", "resnet18"]
    options = ("--bundle", ROOT / "bundles" / "busi", "--out", tmp_path / "out", "--threads", "1", "--jobs", "2")
    code, _, error = run(app, "compare", *options, "--methods", "hps", "--seeds", "1", "--folds", "2", "--", *small)
    assert code == 0, error
    rows = []
    for fold in (0, 1):
        path = tmp_path / "out" / "runs" / "hps" / "seed0" / f"fold{fold}" / "run" / "evaluation" / "per_case.csv"
        with path.open(newline="") as file:
            rows += list(csv.DictReader(file))
    groups = json.loads((tmp_path / "out" / "groups.json").read_text())
    assert sorted(row["case"] for row in rows) == sorted(groups)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    found = summary["rows"]["hps"]["tasks"]
    dice = [float(row["tumor_dice"]) for row in rows if row["tumor_dice"]]
    assert found["tumor"]["value"] == pytest.approx(100 * math.fsum(dice) / len(dice))
    probs = [(float(row["diagnosis_prob_malignant"]), row["diagnosis_label_malignant"] == "1.0") for row in rows]
    pairs = [(a > b) + (a == b) / 2 for a, sick in probs if sick for b, other in probs if not other]
    assert found["diagnosis"]["value"] == pytest.approx(100 * math.fsum(pairs) / len(pairs))
    assert summary["folds"] == 2
    assert summary["cases"] == len(rows)
    assert summary["naive_baselines"]["tumor"]["value"] == 0.0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "2-fold cross-validation" in page
    assert "runs/hps/seed0/fold1/commands.sh" in page
