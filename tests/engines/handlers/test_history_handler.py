"""metrics.json says what each epoch measured."""

import json

import pytest
from ignite.engine import Events
from run_kit import Run, TinySeparate


def read(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_training_losses_are_means_over_the_steps_of_the_epoch(tmp_path):
    run = Run(tmp_path, epochs=2)
    seen = {1: [], 2: []}

    @run.trainer.on(Events.ITERATION_COMPLETED)
    def look(engine):
        losses = {name: value.item() for name, value in run.loss.latest.items()}
        seen[engine.state.epoch].append({"loss": engine.state.output["loss"].item(), **losses})

    run.go()
    for record in read(tmp_path)["epochs"]:
        steps = seen[record["epoch"]]
        assert record["train"] == {
            name: pytest.approx(sum(step[name] for step in steps) / 3, rel=1e-6) for name in ("oar", "dose", "loss")
        }


def test_a_step_without_any_label_of_a_task_does_not_count_for_it(tmp_path):
    run = Run(tmp_path, epochs=1)
    for item in run.data[:4]:
        item["dose_present"] = item["dose_present"] & False
    known = []
    run.trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda: known.append(run.loss.latest["dose"].item()) if run.loss.observed["dose"] else None,
    )
    run.go()
    assert 0 < len(known) < 3
    assert read(tmp_path)["epochs"][0]["train"]["dose"] == pytest.approx(sum(known) / len(known), rel=1e-6)


def test_weights_and_learning_rate_are_those_the_epoch_was_trained_with(tmp_path):
    run = Run(tmp_path, epochs=4, schedule="step").go()
    epochs = read(tmp_path)["epochs"]
    assert [epoch["learning_rate"] for epoch in epochs] == [0.01, 0.005, 0.0025, 0.00125]
    assert [epoch["weights"]["oar"] == 1.0 for epoch in epochs] == [True, True, False, False]
    assert sum(epochs[3]["weights"].values()) == pytest.approx(2)
    assert epochs[3]["weights"] != run.loss.weighting.weights()  # those are for a fifth epoch
    assert all(epoch["seconds"] > 0 for epoch in epochs)


def test_validation_metrics_and_the_best_epoch_are_there_and_unknown_is_null(tmp_path):
    run = Run(tmp_path, epochs=3).go()
    found = read(tmp_path)
    scores = [epoch["validation"]["selection"] for epoch in found["epochs"]]
    assert scores[2] == run.evaluator.state.metrics["selection"]
    assert found["best"]["all"] == {"epoch": scores.index(max(scores)) + 1, "score": max(scores)}
    assert found["epochs"][0]["validation"]["dose_mae_region"] is None


def test_independent_tasks_have_a_best_epoch_each(tmp_path):
    Run(tmp_path, epochs=2, network=TinySeparate).go()
    assert set(read(tmp_path)["best"]) == {"oar", "dose"}


def test_a_resumed_run_drops_what_was_measured_in_the_epoch_that_is_repeated(tmp_path):
    Run(tmp_path, epochs=3).go()
    (tmp_path / "last.pt").unlink()  # killed after metrics.json, before last.pt
    assert len(read(tmp_path)["epochs"]) == 3
    resumed = Run(tmp_path, epochs=3, resume=True)
    assert [epoch["epoch"] for epoch in read(tmp_path)["epochs"]] == [1, 2]
    assert read(tmp_path)["best"]["all"] == resumed.best.summary()["all"]
    resumed.go()
    assert [epoch["epoch"] for epoch in read(tmp_path)["epochs"]] == [1, 2, 3]
