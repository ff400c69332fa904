"""Processes of a comparison: done once, continued, side by side, ended with it; also as jobs of a cluster."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctan_monai.apps.comparing.bundle import Bundle
from ctan_monai.apps.comparing.plan import Plan, Row, Run, kept_threads, save_plan
from ctan_monai.apps.comparing.runs import is_done, last_error, run_all
from ctan_monai.apps.comparing.show import Progress, state_of
from ctan_monai.errors import ConfigError

ROOT = Path(__file__).parents[2]


def make(folder, training="pass", evaluating="pass", name="row"):
    """Make a run whose steps are a line of Python each."""
    row = Row(name, "stl")
    commands = {"training": ("python", "-c", training), "evaluating": ("python", "-c", evaluating)}
    return Run(row, 0, folder / name, commands)


def note(path, word):
    return f"open({str(path)!r}, 'a').write({word!r} + '\\n')"


def do(runs, jobs=1):
    return run_all(runs, jobs, 1, lambda: None, 0.01)


def test_a_run_trains_then_evaluates_and_neither_is_done_again(tmp_path):
    run = make(tmp_path, note(tmp_path / "log", "trained"), note(tmp_path / "log", "evaluated"))
    assert state_of(run) == "waiting"
    assert do([run]) == []
    assert do([run]) == []
    assert (tmp_path / "log").read_text() == "trained\nevaluated\n"
    assert state_of(run) == "done"
    mark = json.loads((run.folder / "training.json").read_text())
    assert mark["command"] == list(run.commands["training"])
    if hasattr(os, "wait4"):  # Windows does not tell
        assert 0 < mark["peak_memory_mb"] < 200
        assert mark["cpu_seconds"] > 0


def test_off_a_terminal_each_epoch_is_a_line(tmp_path, capsys):
    run = make(tmp_path)
    with Progress([run], tmp_path) as progress:
        progress()
        run.folder.mkdir(exist_ok=True)
        (run.folder / "training.log").touch()
        run.output_dir.mkdir()
        (run.output_dir / "settings.json").write_text('{"epochs": 3}')
        for epochs in (1, 1, 2):
            (run.output_dir / "metrics.json").write_text(json.dumps({"epochs": [{}] * epochs}))
            progress._next_s = 0.0  # a second later
            progress()
    assert capsys.readouterr().err.splitlines() == [
        f"{run.name}: {state}" for state in ("waiting", "epoch 1/3", "epoch 2/3")
    ]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is looked up in /proc")
def test_the_memory_of_a_run_is_its_own_and_not_that_of_the_comparison(tmp_path):
    held = bytearray(os.urandom(1 << 20)) * 1500  # of this process, which forks
    small = make(tmp_path, "import time; time.sleep(0.5)", name="small")
    brief = make(tmp_path, name="brief")
    large = make(tmp_path, "held = bytearray(b'x' * (300 << 20)); import time; time.sleep(0.5)", name="large")
    lines = Path("/proc/self/status").read_text().splitlines()
    most_mb = next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM:")) + 200
    larger = make(tmp_path, f"held = b'x' * ({most_mb} << 20)", name="larger")  # than this process ever was, and brief
    runs = [small, brief, large, larger]
    assert do(runs) == []
    peaks = [json.loads((run.folder / "training.json").read_text())["peak_memory_mb"] for run in runs]
    assert len(held) > 1.5e9
    assert 1 < peaks[0] < 100
    assert 0 < peaks[1] < 100
    assert 300 < peaks[2] < 700
    assert most_mb < peaks[3] < most_mb + 100


def test_a_failure_is_told_with_its_reason_and_the_others_go_on(tmp_path):
    bad = make(tmp_path, "raise ValueError('no such lesion')", name="bad")
    good = make(tmp_path, name="good")
    assert do([bad, good]) == [bad]
    assert last_error(bad) == "ValueError: no such lesion"
    assert not is_done(bad, "training")
    assert is_done(good, "evaluating")


def test_a_failed_step_is_tried_again_by_the_next_comparison(tmp_path):
    run = make(tmp_path, f"import os; assert os.path.exists({str(tmp_path / 'mended')!r})")
    assert do([run]) == [run]
    (tmp_path / "mended").touch()
    assert do([run]) == []


def test_two_jobs_run_at_the_same_time_and_no_third(tmp_path):
    count = (
        "import pathlib, time; p = pathlib.Path({here!r}); (p / {name!r}).touch()\n"
        "n, until = 0, time.monotonic() + 20\n"
        "while n < 2 and time.monotonic() < until:\n"  # for another to begin, however busy the machine is
        "    time.sleep(0.4); n = max(n, len(list(p.glob('run*'))))\n"
        "open(p / 'seen', 'a').write(str(n) + ' '); (p / {name!r}).unlink()"
    )
    runs = [make(tmp_path, count.format(here=str(tmp_path), name=f"run{k}"), name=f"r{k}") for k in range(4)]
    assert do(runs, jobs=2) == []
    assert max(map(int, (tmp_path / "seen").read_text().split())) == 2


def test_each_run_has_the_threads_that_were_asked_for(tmp_path):
    run = make(
        tmp_path,
        "import os; open('threads', 'w').write(os.environ['OMP_NUM_THREADS'])".replace(
            "'threads'", repr(str(tmp_path / "threads"))
        ),
    )
    run_all([run], 1, 3, lambda: None, 0.01)
    assert (tmp_path / "threads").read_text() == "3"


def test_another_command_in_the_same_folder_is_refused(tmp_path):
    do([make(tmp_path)])
    with pytest.raises(ConfigError, match="made by another command"):
        do([make(tmp_path, training="print(1)")])


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends children with their parent")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_ends_the_comparison_ends_its_runs(tmp_path, number):
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_comparing_runs import do, make
pid = {str(tmp_path / "pid")!r}
wait = f"import os, time; open({{pid!r}}, 'w').write(str(os.getpid())); time.sleep(60)"
do([make(Path({str(tmp_path)!r}), wait)])
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    wait_for(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
    child = int((tmp_path / "pid").read_text())
    process.send_signal(number)
    process.wait(30)
    wait_for(lambda: not alive(child))
    assert not (tmp_path / "row" / "training.json").exists()


def wait_for(happened, seconds=60):
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.05)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


@pytest.mark.slow
def test_submitit_does_the_same_as_jobs_of_a_cluster(tmp_path):
    pytest.importorskip("submitit")
    from ctan_monai.apps.comparing.slurm import submit_all

    run = make(tmp_path, note(tmp_path / "log", "trained"), "raise ValueError('no')")
    assert submit_all([run], 1, tmp_path, "local", lambda: None) == [run]
    assert is_done(run, "training")
    assert not is_done(run, "evaluating")
    assert (tmp_path / "log").read_text() == "trained\n"
    assert last_error(run) == "ValueError: no"


def test_without_a_cluster_slurm_is_refused_in_a_sentence(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    from ctan_monai.apps.comparing.slurm import submit_all

    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="--slurm"):
        submit_all([make(tmp_path)], 1, tmp_path, "partition=gpu", lambda: None)


PLAN = Plan("b", (Row("stl", "stl"),), (0,), ("--epochs", "2"), 2, "stl", "ctan", ())


def test_rows_and_seeds_may_be_added_to_a_comparison(tmp_path):
    from dataclasses import replace

    save_plan(PLAN, tmp_path)
    more = replace(PLAN, rows=(*PLAN.rows, Row("ctan", "ctan", "dwa")), seeds=(0, 1, 2))
    save_plan(more, tmp_path)
    assert kept_threads(tmp_path) == 2
    assert len(json.loads((tmp_path / "compare.json").read_text())["rows"]) == 2
    assert [(run.row.name, run.seed) for run in more.runs(tmp_path)][:3] == [("stl", 0), ("ctan", 0), ("stl", 1)]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"overrides": ("--epochs", "3")}, "overrides"), ({"threads": 1}, "threads"), ({"bundle": "c"}, "bundle")],
)
def test_nothing_else_may_change(tmp_path, change, words):
    from dataclasses import replace

    save_plan(PLAN, tmp_path)
    with pytest.raises(ConfigError, match=f"holds another comparison: {words}"):
        save_plan(replace(PLAN, **change), tmp_path)


def test_the_commands_are_those_of_monai_with_both_configs_for_the_evaluation(tmp_path):
    (run,) = PLAN.runs(tmp_path)
    training, evaluating = (" ".join(run.commands[step]) for step in ("training", "evaluating"))
    assert training.startswith("python -m monai.bundle run training --config_file b/configs/train.yaml ")
    assert "--config_file ['b/configs/train.yaml','b/configs/evaluate.yaml']" in evaluating
    for command in (training, evaluating):
        assert "--method stl" in command
        assert "--epochs 2" in command
        assert "--weighting" not in command  # nothing is shared, so none applies


@pytest.mark.parametrize("given", [("--tracking", "mlflow"), ("--tracking=mlflow",)])
def test_a_tracked_comparison_gives_each_run_a_name_of_its_own(tmp_path, given):
    from dataclasses import replace

    assert "--run_name" not in " ".join(next(PLAN.runs(tmp_path)).commands["training"])
    tracked = replace(PLAN, rows=(*PLAN.rows, Row("ctan", "ctan", "dwa")), seeds=(0, 1), overrides=given)
    commands = [run.commands["training"] for run in tracked.runs(tmp_path)]
    names = [command[command.index("--run_name") + 1] for command in commands]
    assert names == ["stl-seed0", "ctan-seed0", "stl-seed1", "ctan-seed1"]


def test_options_of_tracking_are_no_unknown_entries():
    bundle = Bundle(
        str(ROOT / "bundles" / "ham10000"), ["--tracking", "mlflow", "--experiment_name", "skin", "--epochs", "1"]
    )
    assert bundle.overrides["tracking"] == "mlflow"
    assert [task.name for task in bundle.tasks] == ["lesion", "diagnosis"]


def test_the_store_of_a_tracked_comparison_is_there_before_its_runs(tmp_path):
    """MLflow's tables cannot be made by two runs at once."""
    folder, file = str(ROOT / "bundles" / "ham10000"), tmp_path / "mlflow.db"
    Bundle(folder, ["--tracking_uri", f"sqlite:///{file}"]).make_store()
    assert not file.exists()
    Bundle(folder, ["--tracking", "mlflow", "--tracking_uri", f"sqlite:///{file}"]).make_store()
    assert file.stat().st_size > 0
