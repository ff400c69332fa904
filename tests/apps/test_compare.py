"""The whole command on synthetic images: killed, continued, side by side; what it writes, and what it refuses."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctan_monai.apps.main import app

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "ham10000"
CHOICE = {  # of the synthetic images: two of each class to train on, one of each to test on
    "train": [5, 8, 20, 21, 29, 31, 39, 40, 46, 47, 52, 53, 58, 59],
    "validation": [11, 34],
    "test": [15, 25, 37, 44, 50, 56, 62],
}


@pytest.fixture(scope="module")
def run_options(tmp_path_factory):
    """Make a run as small as it can be."""
    folder = tmp_path_factory.mktemp("data")
    names = {split: [f"SYN_{number:07d}" for number in numbers] for split, numbers in CHOICE.items()}
    (folder / "choice.json").write_text(json.dumps(names))
    return [
        *("--encoder", "resnet18", "--epochs", "1", "--image_size", "[64,64]", "--cache_dir", str(folder / "cache")),
        *("--datalist", str(folder / "choice.json")),
    ]


def options(out, methods, seeds, jobs, run_options):
    methods = ("--methods", methods, "--seeds", str(seeds), "--jobs", str(jobs), "--threads", "1")
    return ["compare", "--bundle", str(BUNDLE), "--out", str(out), *methods, "--", *run_options]


def start_and_kill(arguments, done, log):
    """Start a comparison and kill it as soon as a training is done and another run's log is there."""
    process = subprocess.Popen([sys.executable, "-m", "ctan_monai", *arguments], cwd=ROOT, start_new_session=True)
    until = time.monotonic() + 300
    while not (done.is_file() and log.is_file()):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()


def answers(out):
    """Read what every run answered, by row and seed."""
    found = {}
    for path in sorted(out.glob("runs/*/seed*/run/evaluation/per_case.csv")):
        found[path.parts[-5], path.parts[-4]] = path.read_text()
    return found


@pytest.fixture(scope="module")
def compared(tmp_path_factory, run_options):
    """Compare two methods with two seeds side by side, killed in the middle and continued; then one run alone."""
    from typer.testing import CliRunner

    folder = tmp_path_factory.mktemp("compared")
    beside, alone = folder / "beside", folder / "alone"
    arguments = options(beside, "stl,ctan", 2, 2, run_options)
    mark = beside / "runs" / "ctan" / "seed0" / "training.json"
    start_and_kill(arguments, mark, beside / "runs" / "ctan" / "seed0" / "evaluating.log")
    before = mark.stat().st_mtime_ns
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 0, ended.output
    assert mark.stat().st_mtime_ns == before
    assert (
        CliRunner().invoke(app, ["compare", "--no-report", *options(alone, "ctan", 1, 1, run_options)[1:]]).exit_code
        == 0
    )
    return beside, alone


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_comparison_goes_on_and_side_by_side_gives_the_same_to_the_bit(compared):
    beside, alone = map(answers, compared)
    assert list(beside) == [(row, seed) for row in ("ctan", "stl") for seed in ("seed0", "seed1")]
    assert beside["ctan", "seed0"] == alone["ctan", "seed0"]
    assert beside["ctan", "seed0"] != beside["ctan", "seed1"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_folder_holds_tables_and_a_page_that_needs_nothing_else(compared):
    out = compared[0]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["seeds"] == [0, 1]
    assert summary["missing"] == []
    assert set(summary["rows"]) == {"stl", "ctan"}
    assert summary["rows"]["ctan"]["against_reference"]["with"] == "stl"
    assert summary["rows"]["stl"]["against_reference"] is None
    assert summary["naive_baselines"]["lesion"]["value"] == 0.0
    assert summary["naive_baselines"]["diagnosis"]["value"] == pytest.approx(100 / 7)
    assert summary["rows"]["ctan"]["cost"]["parameters"] > 1e7
    rows = list(csv.DictReader((out / "per_case.csv").open()))
    assert len(rows) == 2 * 2 * len(CHOICE["test"])
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 4
    assert "src=" not in page.replace('src="data:image/png;base64,', "")
    table = (out / "table.md").read_text()
    assert "| CTAN | mean |" in table  # the paper's, beside ours
    assert "1 of the 5 seeds" not in table
    assert "Only 2 of the 5 seeds" in table


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_is_made_again_from_the_files(compared):
    from typer.testing import CliRunner

    out = compared[0]
    before = (out / "summary.json").read_text()
    (out / "report.html").unlink()
    assert CliRunner().invoke(app, ["report", str(out)]).exit_code == 0
    assert (out / "summary.json").read_text() == before
    assert (out / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_run_says_how_to_repeat_it(compared):
    script = (compared[0] / "runs" / "ctan" / "seed1" / "commands.sh").read_text()
    assert "python -m monai.bundle run training" in script
    assert "--method ctan" in script
    assert "--seed 1" in script
    assert "OMP_NUM_THREADS=1" in script


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_finished_run_keeps_its_model_and_not_what_only_continues_it(compared):
    run = compared[0] / "runs" / "stl" / "seed0" / "run"
    assert [path.name for path in sorted(run.glob("*.pt"))] == ["model.pt"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_another_comparison_is_refused_where_one_is(compared, run_options, run):
    changed = [*options(compared[0], "stl,ctan", 2, 2, run_options), "--learning_rate", "0.5"]
    code, _, error = run(app, *changed)
    assert code == 2
    assert "holds another comparison" in " ".join(error.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "stl,unet"], "'unet' is unknown"),
        (["--methods", "stl,stl"], "names one twice"),
        (["--weighting", "equal,luck"], "'luck' is unknown"),
        (["--preset", "no_coffee"], "'no_coffee' is unknown"),
        (["--candidate", "mtan", "--methods", "stl,ctan"], "'mtan' is not among"),
        (["--", "--epoch", "3"], "has no such entry"),
        (["--", "--seed", "3"], "the comparison chooses it"),
        (["--", "3"], "it belongs to no --name"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(tmp_path, run, arguments, words):
    ours = [] if "--methods" in arguments else ["--methods", "stl"]
    code, _, error = run(app, "compare", "--bundle", BUNDLE, "--out", tmp_path / "out", *ours, *arguments)
    assert code == 2
    assert words in " ".join(error.split())
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path, run):
    (tmp_path / "thesis.txt").write_text("precious")
    small = ["--encoder", "resnet18", "--cache_dir", tmp_path / "cache"]
    code, _, error = run(
        app, "compare", "--bundle", BUNDLE, "--out", tmp_path, "--methods", "stl", "--no-report", "--", *small
    )
    assert code == 2
    assert "holds something else" in " ".join(error.split())
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_seeds_may_begin_elsewhere_and_a_run_that_fails_is_said(tmp_path, run):
    small = ["--encoder", "resnet18", "--cache_dir", tmp_path / "cache", "--learning_rate", "nan"]
    seeds = ["--methods", "stl", "--seeds", "1", "--first-seed", "100", "--no-report"]
    code, _, error = run(app, "compare", "--bundle", BUNDLE, "--out", tmp_path / "out", *seeds, "--", *small)
    assert code == 1
    assert "stl, seed 100 failed: " in error
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["seeds"] == [100]
    assert "--seed 100" in (tmp_path / "out" / "runs" / "stl" / "seed100" / "commands.sh").read_text()
