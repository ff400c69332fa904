import itertools
import logging
import math
import socket

import pytest
from engine_kit import TASKS, SmallNetwork, make_evaluator, make_loader, make_trainer
from monai.handlers import ValidationHandler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ctan_monai.engines import MetricsLogger, MultiTaskMetrics
from ctan_monai.engines.handlers import loss_logging_handler
from ctan_monai.engines.handlers.loss_logging_handler import ScalarWriter


def test_each_validation_is_a_point_in_tensorboard_and_a_line_on_the_console(tmp_path, caplog):
    network = SmallNetwork()
    evaluator = make_evaluator(network, make_loader(2), MultiTaskMetrics(TASKS))
    handlers = [MetricsLogger(evaluator, tmp_path, show=("oar_dice",)), ValidationHandler(2, evaluator)]
    with caplog.at_level(logging.INFO):
        make_trainer(network, make_loader(2), epochs=4, train_handlers=handlers).run()
    events = EventAccumulator(str(tmp_path / "tensorboard" / "validation"))
    events.Reload()
    points = events.Scalars("epoch/selection")
    assert [point.step for point in points] == [2, 4]
    assert abs(points[1].value - evaluator.state.metrics["selection"]) < 1e-6
    assert "epoch/dose_mae_region" not in events.Tags()["scalars"]  # no region in these samples: unknown
    lines = [record.message for record in caplog.records if "validation:" in record.message]
    assert len(lines) == 2
    assert lines[1].startswith("epoch 4, validation: oar_dice ")
    assert f"selection {evaluator.state.metrics['selection']:.4g}" in lines[1]


def test_the_console_calls_what_is_not_known_unknown(caplog):
    evaluator = make_evaluator(SmallNetwork(), make_loader(2))
    make_trainer(evaluator.network, make_loader(2), train_handlers=[MetricsLogger(evaluator)])
    evaluator.state.metrics["selection"] = float("nan")
    with caplog.at_level(logging.INFO):
        evaluator.run(7)
    assert "epoch 7, validation: selection unknown" in caplog.text


@pytest.mark.parametrize("number", [0, 9, 99], ids=lambda number: f"after file {number}")
def test_event_files_name_neither_the_machine_nor_the_user_and_a_resumed_run_replaces_later_steps(
    tmp_path, monkeypatch, number
):
    monkeypatch.setattr(loss_logging_handler, "_numbers", itertools.count(number))
    writer = ScalarWriter(tmp_path)
    for step in (1, 2, 3):
        writer.write({"loss": float(step), "lost": math.nan}, step)
    writer.close()
    writer.write({"loss": 20.0}, 2)  # again from step 2, in a second file
    writer.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    for path in files:
        assert socket.gethostname() not in path.name
        assert socket.gethostname().encode() not in path.read_bytes()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["scalars"] == ["loss"]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1.0), (2, 20.0)]
