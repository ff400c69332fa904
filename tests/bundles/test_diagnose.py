"""`diagnose` on the smallest runs of every bundle and method, against their own evaluation."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ctan_monai.apps.main import app
from ctan_monai.data.datasets.mr_ct.synthetic import write_pelvis_pairs
from ctan_monai.data.datasets.stoic.synthetic import write_chest_phantoms
from ctan_monai.data.phantom import PhantomGrid
from ctan_monai.engines.diagnosis.diagnose import Options, diagnose_run
from ctan_monai.errors import CheckpointError, ConfigError, DataError
from ctan_monai.networks.registry import own_backbone

ROOT = Path(__file__).parents[2]
GRID = {"rows": 60, "columns": 90, "slices": 12, "row_mm": 5.0, "column_mm": 5.0, "slice_mm": 8.0}
SMALL = {"encoder": "resnet18", "epochs": 1, "batch_size": 4}
FEW = {
    "openkbp": {"train": ["pt_74"], "validation": ["pt_226"], "test": ["pt_232", "pt_25"]},
    "ham10000": {
        split: [f"SYN_{number:07}" for number in numbers]
        for split, numbers in {"train": (2, 3, 4, 5), "validation": (6, 7), "test": (8, 9, 10, 11)}.items()
    },
}
SIZES = {
    "ham10000": {"image_size": [64, 64]},
    "busi": {"image_size": [64, 64]},
    "stoic": {"image_size": [64, 64], "slices": 2},
    "prostate": {
        "pixel_mm": 6.0,
        "image_size": [64, 64],
        "phantoms": 8,
        "split_fractions": [0.5, 0.25, 0.25],
        "phantom_grid": {"_target_": "ctan_monai.data.PhantomGrid", **GRID},
    },
    "openkbp": {"slices": "dose"},
    "mr_ct": {"phantoms": 8, "patch_size": [40, 56], "split_fractions": [0.5, 0.25, 0.25]},
}


@pytest.fixture(scope="session")
def caches(tmp_path_factory):
    """A cache for each bundle, with small synthetic CTs in that of stoic."""
    root = tmp_path_factory.mktemp("caches")
    write_chest_phantoms(
        root / "stoic" / "synthetic", patients={"negative": 6, "mild": 4, "severe": 4}, shape=(64, 64, 12)
    )
    grid = PhantomGrid(rows=40, columns=60, slices=12, row_mm=7.9, column_mm=7.6, slice_mm=8.0)
    write_pelvis_pairs(root / "mr_ct" / "synthetic", 8, grid=grid)
    return root


@pytest.fixture
def make_run(workflow, tmp_path, caches):
    """Make the folder of a run as `monai.bundle run` leaves it, trained for one epoch or not at all."""

    def make(bundle, method, trained=False):
        folder = tmp_path / bundle / method
        options = {**SMALL, **SIZES[bundle], "method": method, "cache_dir": str(caches / bundle)}
        if own_backbone(method):
            del options["encoder"]
        if bundle in FEW:
            path = tmp_path / "few.json"
            path.write_text(json.dumps(FEW[bundle]))
            options["datalist"] = str(path)
        made = workflow(bundle, "train.yaml", run_id="training", output_dir=str(folder), **options)
        made.initialize()
        if trained:
            made.run()
        else:
            torch.manual_seed(0)
            torch.save(made.parser.get_parsed_content("network").state_dict(), folder / "model.pt")
        shutil.copyfile(ROOT / "bundles" / bundle / "configs" / "train.yaml", folder / "configs" / "train.yaml")
        overrides = {key: value for key, value in options.items() if key in ("cache_dir", "phantom_grid", "datalist")}
        return folder, {**overrides, "bundle_root": str(ROOT / "bundles" / bundle)}

    return make


def of(found, kind, **names):
    """Find the experiments of a kind of part."""
    tried = [entry for entry in found["experiments"] if entry["kind"] == kind]
    return [entry for entry in tried if all(entry[name] == value for name, value in names.items())]


@pytest.mark.slow
def test_a_run_is_diagnosed_by_the_command_and_agrees_with_its_own_evaluation(make_run, run):
    folder, overrides = make_run("ham10000", "ctan", trained=True)
    options = {**SMALL, "method": "ctan", "cache_dir": overrides["cache_dir"], "output_dir": str(folder)}
    run("ham10000", "train.yaml", "evaluate.yaml", run_id="evaluating", amp=False, overlays=0, **options)
    flags = [part for name, value in overrides.items() for part in (f"--{name}", value)]
    command = ["diagnose", str(folder), "--cases", "0", "--batches", "1", "--", *flags]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = json.loads((folder / "diagnosis" / "diagnosis.json").read_text())
    expected = json.loads((folder / "evaluation" / "summary.json").read_text())["metrics"]
    measured = {name: value for name, value in found["metrics"].items() if value is not None}
    assert measured == pytest.approx({name: expected[name] for name in measured}, abs=1e-4)
    check_tables(folder / "diagnosis", found)
    page = (folder / "diagnosis" / "diagnosis.html").read_text()
    assert "Does each part act? ctan" in page
    assert page.count("data:image/png;base64") == 5
    before = (folder / "diagnosis" / "diagnosis.json").stat().st_mtime_ns
    again = CliRunner().invoke(app, command)
    assert "has this already" in again.output
    assert (folder / "diagnosis" / "diagnosis.json").stat().st_mtime_ns == before


def check_tables(folder, found):
    """See that the tables hold the cases, each once for each experiment, and that changes are those of the cases."""
    with (folder / "per_case.csv").open() as file:
        rows = list(csv.DictReader(file))
    cases = {row["case"] for row in rows}
    assert len(rows) == len(cases) * (1 + len(found["experiments"]))
    by_case = {(row["part"], row["replaced by"], row["case"]): row["lesion_dice"] for row in rows}
    for tried in found["experiments"]:
        changes = [
            float(by_case[tried["part"], tried["replacement"], case]) - float(by_case["none", "nothing", case])
            for case in cases
        ]
        assert tried["metrics"]["lesion_dice"]["change"] == pytest.approx(sum(changes) / len(changes), abs=1e-9)
    for name in ("effects.csv", "variance_shares.csv", "features.csv", "masks.csv", "gradients.csv"):
        assert len((folder / name).read_text().splitlines()) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bundle", "method"),
    [
        ("ham10000", "mtan"),
        ("ham10000", "hps"),
        ("stoic", "ctan"),
        ("prostate", "hps"),
        ("openkbp", "ctan"),
        ("busi", "hybrid_mt_estan"),
        ("mr_ct", "hps"),
    ],
)
def test_every_bundle_and_method_is_diagnosed(make_run, bundle, method):
    folder, overrides = make_run(bundle, method)
    kinds = ("query", "cross", "features", "shared") if bundle in ("openkbp", "prostate") else ()
    found = diagnose_run(folder, Options(cases=2, every=16, batches=1, draws=50, parts=kinds, overrides=overrides))
    assert found["applies"]
    assert found["cases"] == 2
    tasks = set(found["main"])
    assert {entry["task"] for entry in of(found, "query")} == tasks
    assert bool(of(found, "cross")) is (method == "ctan")
    assert bool(found["masks"]) is (method in ("ctan", "mtan") and not kinds)
    for entry in of(found, "query"):
        assert set(entry["variance_share"]) <= tasks
        others = tasks - {entry["task"]}
        assert all(entry["variance_share"].get(task, 0.0) == 0.0 for task in others)
    for row in found["gradients"]:
        assert all(norm is None or norm >= 0 for norm in row["norm"].values())
        assert all(-1.000001 <= cosine <= 1.000001 for cosine in row["cosine"].values() if cosine == cosine)
    assert any(all(norm > 0 for norm in row["norm"].values()) for row in found["gradients"])


def test_a_network_that_shares_nothing_is_told_so(make_run):
    folder, _ = make_run("ham10000", "stl")
    done = CliRunner().invoke(app, ["diagnose", str(folder)])
    assert done.exit_code == 0, done.output
    assert "stl shares nothing between its tasks" in done.output
    assert not (folder / "diagnosis").exists()


def test_what_cannot_be_diagnosed_is_named(make_run, tmp_path):
    folder, overrides = make_run("ham10000", "hps")
    with pytest.raises(ConfigError, match=r"'train' is unknown.*test"):
        diagnose_run(folder, Options(split="train", overrides=overrides))
    with pytest.raises(ConfigError, match=r"\['decoders'\] is unknown"):
        Options(parts=("decoders",))
    with pytest.raises(DataError, match=r"two are needed: try another --split.* -- --datalist"):
        diagnose_run(folder, Options(cases=1, overrides=overrides))
    with pytest.raises(CheckpointError, match="there is no trained network"):
        diagnose_run(tmp_path, Options())
    (folder / "configs" / "train.yaml").unlink()
    with pytest.raises(CheckpointError, match="the run has no copy of its config"):
        diagnose_run(folder, Options(overrides=overrides))
