import logging

import pytest
from engine_kit import SeparateNetworks, SmallNetwork, make_evaluator, make_loader, make_trainer
from ignite.engine import Engine, Events
from monai.handlers import ValidationHandler

from ctan_monai.engines import EarlyStopping, StopTraining
from ctan_monai.errors import ConfigError

NAN = float("nan")


def validate(early_stopping, scores, key="selection"):
    """Let an evaluator report one score after the other; say after which one everything had stopped."""
    evaluator = Engine(lambda engine, batch: None)
    early_stopping.attach(evaluator)
    for number, score in enumerate(scores, start=1):
        evaluator.state.epoch, evaluator.state.metrics = number, score if isinstance(score, dict) else {key: score}
        evaluator.fire_event(Events.COMPLETED)
        if early_stopping.finished:
            return number
    return None


def test_patience_counts_validations_since_the_last_improvement():
    assert validate(EarlyStopping(SmallNetwork(), patience=2), [0.1, 0.5, 0.4, 0.6, 0.5, 0.6, 0.7]) == 6


def test_an_improvement_must_exceed_min_delta_over_the_best():
    creeping = [0.50, 0.54, 0.58, 0.62]
    assert validate(EarlyStopping(SmallNetwork(), patience=2), creeping) is None
    assert validate(EarlyStopping(SmallNetwork(), patience=1, min_delta=0.05), creeping) == 2
    assert validate(EarlyStopping(SmallNetwork(), patience=2, min_delta=0.05), creeping) is None  # 0.58 > 0.50 + 0.05


@pytest.mark.parametrize("unknown", [NAN, None, {}])
def test_a_score_that_is_not_known_does_not_count(unknown):
    assert validate(EarlyStopping(SmallNetwork(), patience=1), [0.5, unknown, unknown, 0.6, 0.6]) == 5


def test_independent_tasks_stop_each_alone_and_the_last_one_ends_it():
    scores = [
        {"selection_oar": 0.5, "selection_dose": 0.1, "selection_grade": 0.5},
        {"selection_oar": 0.4, "selection_dose": 0.2, "selection_grade": 0.6},
        {"selection_oar": 0.9, "selection_dose": 0.3, "selection_grade": 0.6},
        {"selection_oar": 0.9, "selection_dose": 0.3, "selection_grade": 0.9},
    ]
    early_stopping = EarlyStopping(SeparateNetworks(), patience=1)
    assert validate(early_stopping, scores[:2]) is None
    assert [early_stopping.has_stopped(task) for task in ("oar", "dose", "grade")] == [True, False, False]
    assert validate(early_stopping, scores[2:]) == 2
    assert early_stopping.best == {"oar": 0.5, "dose": 0.3, "grade": 0.6}  # 0.9 came after oar and grade had stopped


def test_a_task_of_a_shared_network_never_stops_alone():
    early_stopping = EarlyStopping(SmallNetwork(), patience=1)
    validate(early_stopping, [{"selection": 0.1, "selection_oar": 0.5}, {"selection": 0.2, "selection_oar": 0.1}])
    assert not early_stopping.has_stopped("oar")
    assert not early_stopping.finished


def test_its_state_carries_best_scores_and_patience_over():
    first = EarlyStopping(SmallNetwork(), patience=2)
    validate(first, [0.5, 0.4])
    second = EarlyStopping(SmallNetwork(), patience=2)
    second.load_state_dict(first.state_dict())
    assert validate(second, [0.45]) == 1


def test_without_patience_it_never_stops():
    assert validate(EarlyStopping(SmallNetwork(), patience=None), [0.5] * 50) is None


@pytest.mark.parametrize("options", [{"patience": 0}, {"patience": 1, "min_delta": -0.1}])
def test_options_out_of_range_are_errors(options):
    with pytest.raises(ConfigError, match="early stopping"):
        EarlyStopping(SmallNetwork(), **options)


class FixedScores:
    """Reports a score per validation."""

    def __init__(self, *scores):
        self.scores = iter(scores)

    def attach(self, engine):
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine):
        engine.state.metrics["selection"] = next(self.scores)


def test_a_training_ends_after_the_epoch_in_which_patience_is_used_up(caplog):
    network = SmallNetwork()
    early_stopping = EarlyStopping(network, patience=2)
    # before the handler that computes the score in the list: it waits for the end of the validation
    evaluator = make_evaluator(network, make_loader(1), early_stopping, FixedScores(0.1, 0.2, 0.1, 0.2, 0.3))
    completed = []
    handlers = [ValidationHandler(1, evaluator), StopTraining(early_stopping)]
    trainer = make_trainer(network, make_loader(2), epochs=9, train_handlers=handlers)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: completed.append(trainer.state.epoch))
    with caplog.at_level(logging.INFO):
        trainer.run()
    assert completed == [1, 2, 3, 4]
    assert "epoch 4: the network has not improved for 2 validations and stops" in caplog.text
