"""The tutorial on tabular datasets is run as it stands, only smaller; what it says about options holds."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from markdown_pages import ROOT, blocks, prose
from new_bundles import folder_of_new_bundles
from typer.testing import CliRunner

from ctan_monai.apps.main import app
from ctan_monai.data.datasets.tabular.layout import as_layout
from ctan_monai.data.datasets.tabular.rows import read_rows
from ctan_monai.tasks import Classification, Regression, Segmentation

PAGE = ROOT / "docs" / "tutorial-tabular-data.md"
PACKAGE, BUNDLE = "python -m ctan_monai ", "python -m monai.bundle run "
SMALL = {"encoder": "resnet18", "epochs": 1, "batch_size": 16, "patch_size": [32, 32], "slices": "labeled"}
LAYOUT = as_layout(
    [
        Segmentation("lesion", ["core", "edema"]),
        Classification("grade", ["low", "high"]),
        Regression("uptake", "SUV", 10.0),
    ],
    ["t1", "flair"],
)


def steps():
    """Return the commands of the page in their order."""
    found = []
    for block in blocks(PAGE):
        if block.language == "bash":
            found += block.code.replace("\\\n", " ").strip().splitlines()
    return found


def run_bundle(run, words):
    """Run a bundle's call in this process, with a small network."""
    run_id, options = words[0], dict(zip(words[1::2], words[2::2], strict=True))
    files = re.findall(r"(\w+)/configs/(\w+\.yaml)", options.pop("--config_file"))
    given_options = {name.removeprefix("--"): value for name, value in options.items()}
    small = SMALL if run_id == "training" else {"encoder": SMALL["encoder"]}
    root = Path(files[0][0]).resolve()
    kind = "infer" if run_id == "inferring" else "train"
    given = {
        **given_options,
        **small,
        "method": "hps",
        "bundle_root": str(root),
    }  # hps is the quickest; the page trains ctan
    run(root, *(name for _, name in files), run_id=run_id, kind=kind, **given)


@pytest.mark.slow
def test_every_step_of_the_tutorial_works_on_the_last_ones_results(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ctan_monai.data.datasets.tabular.synthetic.SIZES", {"train": 3, "validation": 1, "test": 1})
    for step in steps():
        if step.startswith(PACKAGE):
            done = CliRunner().invoke(app, shlex.split(step.removeprefix(PACKAGE)))
            assert done.exit_code == 0, done.output
        elif step.startswith(BUNDLE):
            run_bundle(run, shlex.split(step.removeprefix(BUNDLE)))
        else:
            subprocess.run(["bash", "-c", step], check=True)
    folder = tmp_path / "lesions" / "runs" / "hps"
    assert (folder / "evaluation" / "summary.json").is_file()
    assert len(list((folder / "inference").glob("synthetic_*/lesion.nii.gz"))) == 5
    assert (tmp_path / "lesions" / "runs" / "hps.1").is_dir()  # the first try, moved aside


def test_the_options_that_the_tutorial_names_are_those_of_the_bundle_that_it_makes():
    text = (folder_of_new_bundles(PAGE) / "lesions" / "configs" / "train.yaml").read_text()
    given_options = set(re.findall(r"^(\w+):", text, re.M))
    table = prose(PAGE).split("## 5.")[1]
    named = set(re.findall(r"`--(\w+)", table))
    assert len(named) > 5
    assert named <= given_options


def test_the_table_that_the_tutorial_shows_can_be_read(tmp_path):
    (shown,) = [block.code for block in blocks(PAGE) if block.language == "csv"]
    (tmp_path / "cases.csv").write_text(shown)
    for name in re.findall(r"[\w.]+\.nii\.gz", shown):
        (tmp_path / name).touch()
    rows = read_rows(tmp_path / "cases.csv", None, LAYOUT)
    assert [(row.case, row.group, row.split) for row in rows] == [
        ("p01a", "anna", "train"),
        ("p01b", "anna", "train"),
        ("p02", "bert", "test"),
    ]
    assert [sorted(row.maps | row.volumes | row.values) for row in rows] == [
        ["grade", "lesion", "uptake"],
        ["grade"],
        ["grade", "lesion", "uptake"],
    ]
