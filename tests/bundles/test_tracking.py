"""`--tracking mlflow`: training, evaluation and inference of a bundle, and what MLflow has of them."""

import json
import shutil
from pathlib import Path

import mlflow
import pytest

OPTIONS = {"encoder": "resnet18", "method": "hps", "image_size": [64, 64]}


@pytest.mark.slow
def test_mlflow_has_settings_metrics_images_and_a_network_that_predicts(run, tmp_path, monkeypatch):
    address, folder = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "run"
    given_options = {**OPTIONS, "cache_dir": str(tmp_path / "cache"), "output_dir": str(folder)}
    run("ham10000", "train.yaml", tracking="mlflow", tracking_uri=address, epochs=2, batch_size=16, **given_options)
    run("ham10000", "train.yaml", "evaluate.yaml", run_id="evaluating", overlays=1, **given_options)
    client = mlflow.MlflowClient(address)
    (experiment,) = [entry for entry in client.search_experiments() if entry.name == "monai_experiment"]
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == "run"
    assert found.info.status == "FINISHED"

    settings = json.loads((folder / "settings.json").read_text())
    assert {name: found.data.params[name] for name in settings} == {name: str(v) for name, v in settings.items()}
    assert found.data.params["data.synthetic"] == "True"

    epochs = json.loads((folder / "metrics.json").read_text())["epochs"]
    for group, name, key in [("train", "lesion", "train/loss_lesion"), ("train", "diagnosis", "train/loss_diagnosis")]:
        history = client.get_metric_history(found.info.run_id, key)
        assert [(point.step, point.value) for point in history] == [(e["epoch"], e[group][name]) for e in epochs]
    dice = client.get_metric_history(found.info.run_id, "validation/lesion_dice")
    assert [point.value for point in dice] == [epoch["validation"]["lesion_dice"] for epoch in epochs]
    measured = json.loads((folder / "evaluation" / "summary.json").read_text())["metrics"]
    assert found.data.metrics["evaluation/lesion_dice"] == measured["lesion_dice"]

    got = Path(client.download_artifacts(found.info.run_id, "", str(tmp_path / "got")))
    images = sorted(path.relative_to(got).parts[0] for path in got.rglob("*.png"))
    assert images.count("report") >= 2
    assert images.count("evaluation") == 1
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in got.rglob("*.png"))
    assert (got / "report" / "report.html").is_file()
    assert not list(folder.glob("config_*.json"))  # the run's folder has configs/

    images_dir = tmp_path / "images"
    images_dir.mkdir()
    shutil.copy(next((tmp_path / "cache").rglob("*.jpg")), images_dir / "new.jpg")
    answers = []
    for source in (folder, got / "run"):
        out = tmp_path / f"out{len(answers)}"
        options = {"method": "hps", "run_dir": str(source), "output_dir": str(out)}
        run("ham10000", "inference.yaml", kind="infer", input=str(images_dir), **options)
        answers.append((out / "predictions.csv").read_text())
    assert "new" in answers[0]
    assert answers[0] == answers[1]
