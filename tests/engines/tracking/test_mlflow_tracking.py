"""What MLflow's own client finds in a local store after runs that end well, badly, and again."""

import json
import logging
import shutil
import sqlite3
from pathlib import Path

import mlflow
import pytest
from engine_kit import SmallNetwork, make_loader, make_loss, make_trainer
from ignite.engine import Events
from monai.handlers import MLFlowHandler

from ctan_monai.engines import History, MultiTaskEvaluator
from ctan_monai.engines.tracking.mlflow_run import RECORD_FILE, find_run, make_store, open_run
from ctan_monai.engines.tracking.mlflow_tracking import metrics_of, publish_evaluation, publish_run
from ctan_monai.errors import ConfigError


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """A store with MLflow's tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store, tmp_path):
    """A store of this test's own: (address, file)."""
    path = shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{path}", path


def monai_handler(address, **options):
    """What `--tracking mlflow` adds to a trainer's handlers."""
    return MLFlowHandler(tracking_uri=address, close_on_complete=True, **options)


def train(address, folder, epochs=2, settings=None, resumed=(), at=None):
    """Train a small network for some epochs, tracked; ``at`` is (event, function) to interfere with.

    ``resumed`` are the epochs that a checkpoint would bring back.
    """
    folder.mkdir(exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings or {"seed": 0}))
    history = History(folder)
    history.load_state_dict({"epochs": list(resumed)})
    handlers = [monai_handler(address), history]
    trainer = make_trainer(SmallNetwork(), make_loader(2), epochs, make_loss(), train_handlers=handlers)
    if at is not None:
        trainer.add_event_handler(*at)
    if resumed:
        trainer.load_state_dict({"epoch_length": 1, "max_epochs": epochs, "iteration": len(resumed)})
    trainer.run()
    return history


def runs_of(address):
    client = mlflow.MlflowClient(address)
    experiments = [entry.experiment_id for entry in client.search_experiments()]
    return client, {run.info.run_name: run for run in client.search_runs(experiments)}


def curve(client, run, name):
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def test_the_metrics_of_every_epoch_are_those_of_the_history(store, tmp_path):
    history = train(store[0], tmp_path / "ctan", epochs=3)
    client, runs = runs_of(store[0])
    assert list(runs) == ["ctan"]
    assert runs["ctan"].info.status == "FINISHED"
    for name in ("loss", "oar", "dose", "grade"):
        expected = [(record["epoch"], record["train"][name]) for record in history.epochs]
        assert curve(client, runs["ctan"], "train/loss" if name == "loss" else f"train/loss_{name}") == expected
    assert curve(client, runs["ctan"], "weight/dose") == [(1, 1.0), (2, 1.0), (3, 1.0)]
    assert len(curve(client, runs["ctan"], "learning_rate")) == 3


def test_parameters_are_the_settings_the_versions_and_the_data(store, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "data.json").write_text('{"synthetic": true, "cases": {"train": 2}}')
    train(
        store[0],
        tmp_path / "run",
        settings={"method": "ctan", "split_fractions": {"train": 0.7}, "datalist": "x" * 900},
    )
    params = runs_of(store[0])[1]["run"].data.params
    assert params["method"] == "ctan"
    assert params["split_fractions.train"] == "0.7"
    assert params["datalist"] == "x" * 500  # the most that every server takes
    assert params["data.synthetic"] == "True"
    assert params["data.cases.train"] == "2"
    assert "version.torch" in params


def test_a_resumed_run_continues_its_own_and_says_what_changed(store, tmp_path):
    history = train(store[0], tmp_path / "a", settings={"seed": 0, "epochs": 2})
    train(store[0], tmp_path / "b")
    train(store[0], tmp_path / "a", epochs=3, settings={"seed": 0, "epochs": 3}, resumed=history.epochs)
    client, runs = runs_of(store[0])
    assert sorted(runs) == ["a", "b"]
    assert runs["a"].info.status == "FINISHED"
    assert [step for step, _ in curve(client, runs["a"], "train/loss")] == [1, 2, 3]
    assert [step for step, _ in curve(client, runs["b"], "train/loss")] == [1, 2]
    assert runs["a"].data.params["epochs"] == "2"
    assert runs["a"].data.tags["resumed.epochs"] == "3"
    assert "resumed.seed" not in runs["a"].data.tags


@pytest.mark.parametrize(("error", "status"), [(SystemExit(143), "KILLED"), (RuntimeError("full"), "FAILED")])
def test_a_run_that_ends_before_its_time_says_so_and_is_not_taken_over(store, tmp_path, error, status):
    def end(engine):
        if engine.state.epoch == 2:
            raise error

    with pytest.raises(type(error)):
        train(store[0], tmp_path / "ended", at=(Events.EPOCH_STARTED, end))
    train(store[0], tmp_path / "next")
    client, runs = runs_of(store[0])
    assert runs["ended"].info.status == status
    assert runs["next"].info.status == "FINISHED"
    assert [step for step, _ in curve(client, runs["ended"], "train/loss")] == [1]


def test_metrics_that_the_store_refused_come_with_the_next_epoch(store, tmp_path, caplog):
    """The store's table of metrics is away while the first epoch ends."""

    def take_away(engine):
        names = ("metrics", "taken") if engine.state.epoch == 1 else ("taken", "metrics")
        with sqlite3.connect(store[1]) as base:
            base.execute("ALTER TABLE {} RENAME TO {}".format(*names))

    with caplog.at_level(logging.WARNING):
        history = train(store[0], tmp_path / "run", at=(Events.EPOCH_STARTED, take_away))
    client, runs = runs_of(store[0])
    assert "could not be written" in caplog.text
    assert len(history.epochs) == 2
    assert curve(client, runs["run"], "train/loss") == [(r["epoch"], r["train"]["loss"]) for r in history.epochs]


def test_metrics_of_the_last_epoch_that_the_store_refused_come_at_the_end(store, tmp_path):
    names = [("taken", "metrics"), ("metrics", "taken")]

    def take_away_and_bring_back(engine):
        if engine.state.epoch == 2:
            with sqlite3.connect(store[1]) as base:
                base.execute("ALTER TABLE {} RENAME TO {}".format(*names.pop()))

    history = train(store[0], tmp_path / "run", at=(Events.EPOCH_STARTED | Events.COMPLETED, take_away_and_bring_back))
    client, runs = runs_of(store[0])
    assert not names
    assert runs["run"].info.status == "FINISHED"
    assert curve(client, runs["run"], "train/loss") == [(r["epoch"], r["train"]["loss"]) for r in history.epochs]


def test_a_store_that_is_not_there_at_the_start_is_an_error_that_names_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConfigError, match=r"--tracking mlflow: MLflow's store at http://127.0.0.1:9 does not answer"):
        train("http://127.0.0.1:9", tmp_path / "run")


def test_an_address_with_a_password_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="holds a password") as caught:
        train("http://me:secret@127.0.0.1:9", tmp_path / "run")
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "run" / RECORD_FILE).exists()


def test_a_finished_run_gets_its_files_and_its_evaluation(store, tmp_path):
    folder = tmp_path / "run"
    train(store[0], folder)
    evaluation = folder / "evaluation"
    for name in ("model.pt", "configs/train.yaml", "report.html", "images/curves.png", "evaluation/p1/overlay.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    publish_run(folder, [folder / "report.html", folder / "images" / "curves.png"])
    metrics = {"dose_mae_volume": 2.5, "oar_dice": None, "PTV D95%": float("nan"), "PTV D2%": 71.0}
    publish_evaluation(evaluation, metrics, [evaluation / "p1" / "overlay.png"])
    client, runs = runs_of(store[0])
    found = {key: value for key, value in runs["run"].data.metrics.items() if key.startswith("evaluation")}
    assert found == {"evaluation/dose_mae_volume": 2.5, "evaluation/PTV D2_percent": 71.0}
    for name in (
        "run/model.pt",
        "run/settings.json",
        "run/configs/train.yaml",
        "report/report.html",
        "report/images/curves.png",
        "evaluation/p1/overlay.png",
    ):
        path = Path(client.download_artifacts(runs["run"].info.run_id, name, str(tmp_path)))
        assert path.read_text() in (name.split("/", 1)[1], name, '{"seed": 0}')


def test_a_run_that_was_not_tracked_stays_so(tmp_path):
    publish_run(tmp_path, [])
    publish_evaluation(tmp_path / "evaluation", {"dice": 1.0}, [])
    assert find_run(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_a_store_that_went_away_is_a_warning_when_files_are_to_be_added(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / RECORD_FILE).write_text('{"tracking_uri": "http://127.0.0.1:9", "run_id": "0"}')
    publish_evaluation(tmp_path / "evaluation", {"dice": 1.0}, [])
    assert "MLflow's store at http://127.0.0.1:9 could not be written" in caplog.text


def test_without_a_history_monai_s_handler_does_what_it_does(store):
    handler = monai_handler(store[0], run_name="monai", output_transform=lambda output: output["loss"].item())
    make_trainer(SmallNetwork(), make_loader(2), 1, make_loss(), train_handlers=[handler]).run()
    client, runs = runs_of(store[0])
    assert runs["monai"].info.status == "FINISHED"
    assert curve(client, runs["monai"], "Loss")


def test_nothing_is_reported_to_mlflow_s_makers(store, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    train(store[0], tmp_path / "run")
    assert mlflow.environment_variables.MLFLOW_DISABLE_TELEMETRY.get()


def test_the_name_of_the_user_is_not_recorded(store, tmp_path, monkeypatch):
    monkeypatch.setenv("LOGNAME", "dr_who")
    train(store[0], tmp_path / "run")
    assert b"dr_who" not in store[1].read_bytes()


def test_unknown_metrics_of_an_epoch_are_left_out(store, tmp_path):
    record = {"epoch": 1, "seconds": 1.0, "train": {"loss": None}, "validation": {"dice": float("inf"), "mae": 2.0}}
    train(store[0], tmp_path / "run", epochs=1)
    run = find_run(tmp_path / "run")
    run.log_metrics(metrics_of(record), 2)
    client, runs = runs_of(store[0])
    assert curve(client, runs["run"], "validation/mae") == [(2, 2.0)]
    assert curve(client, runs["run"], "validation/dice") == []
    assert [step for step, _ in curve(client, runs["run"], "train/loss")] == [1]


def test_groupings_are_metrics_by_layer_and_group():
    layer = {"mean": {"ct": 0.25, "shared": 0.75}, "kernels": {"ct": 1, "shared": 3}, "entropy": 0.4}
    found = metrics_of({"epoch": 1, "groupings": {"conv_0": layer}})
    assert found == {"grouping/conv_0/ct": 0.25, "grouping/conv_0/shared": 0.75, "grouping/conv_0/entropy": 0.4}


def test_an_evaluator_leaves_monai_s_handler_out(store):
    network = SmallNetwork()
    handler = monai_handler(store[0])
    MultiTaskEvaluator("cpu", make_loader(2), network, val_handlers=[handler]).run()
    assert runs_of(store[0])[1] == {}


def test_a_name_that_is_given_is_the_run_s(store, tmp_path):
    handlers = [monai_handler(store[0], run_name="ctan-seed1"), History(tmp_path / "run")]
    make_trainer(SmallNetwork(), make_loader(2), 1, make_loss(), train_handlers=handlers).run()
    assert list(runs_of(store[0])[1]) == ["ctan-seed1"]


def test_an_experiment_that_another_process_makes_in_between_is_used(store, tmp_path):
    class Slower(mlflow.MlflowClient):
        def get_experiment_by_name(self, name):
            found = super().get_experiment_by_name(name)
            if found is None:
                mlflow.MlflowClient(store[0]).create_experiment(name)
            return found

    open_run(Slower(store[0]), "new", None, tmp_path / "a")
    open_run(mlflow.MlflowClient(store[0]), "new", None, tmp_path / "b")
    runs = runs_of(store[0])[1]
    assert sorted(runs) == ["a", "b"]
    assert runs["a"].info.experiment_id == runs["b"].info.experiment_id


def test_a_store_is_made_before_it_is_needed_or_what_is_wrong_is_said(tmp_path, monkeypatch):
    make_store(f"sqlite:///{tmp_path}/sub/mlflow.db")
    with sqlite3.connect(tmp_path / "sub" / "mlflow.db") as base:
        assert ("metrics",) in base.execute("SELECT name FROM sqlite_master").fetchall()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"MLflow's store at http://127.0.0.1:9 does not answer"):
        make_store(f"sqlite:///{tmp_path}/mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()
