import logging
import math

import pytest
from engine_kit import TASKS, SmallNetwork, make_loader, make_loss, make_trainer
from ignite.engine import Events

from ctan_monai.engines import WeightingHandler


def test_dynamic_weight_average_gets_the_epoch_means_of_the_unweighted_losses(caplog):
    loss = make_loss(weighting="dwa")
    means, weights = [], []
    trainer = make_trainer(SmallNetwork(), make_loader(4), epochs=3, loss=loss)
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda: means.append(dict.fromkeys(loss.weighting.names, 0.0)))

    @trainer.on(Events.ITERATION_COMPLETED)
    def add():
        for name, value in loss.latest.items():
            means[-1][name] += value.item() / 2  # two batches

    WeightingHandler(loss).attach(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: weights.append(loss.weighting.weights()))
    with caplog.at_level(logging.INFO):
        trainer.run()
    assert weights[0] == dict.fromkeys(loss.weighting.names, 1.0)
    powers = {name: math.exp(means[2][name] / means[1][name] / 2.0) for name in loss.weighting.names}
    expected = {name: len(TASKS) * power / sum(powers.values()) for name, power in powers.items()}
    assert weights[2] == pytest.approx(expected, rel=1e-5)
    assert caplog.text.count("next weights: oar") == 2  # after epochs 2 and 3, whose losses have a predecessor


def test_weights_that_stay_are_not_logged(caplog):
    loss = make_loss(weighting="equal")
    with caplog.at_level(logging.INFO):
        make_trainer(SmallNetwork(), make_loader(2), loss=loss, train_handlers=[WeightingHandler(loss)]).run()
    assert "next weights" not in caplog.text
