"""MONAI's LrScheduleHandler does what the bundles need: its schedule is an object of its own, whose state is kept."""

import pytest
import torch
from engine_kit import SmallNetwork, make_loader, make_trainer
from ignite.engine import Events
from monai.handlers import LrScheduleHandler

SCHEDULES = {
    "cosine": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6),
    "polynomial": lambda optimizer: torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=6, power=0.9),
    "step": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5),
}


def learning_rates(make_schedule, epochs, state=None, optimizer_state=None):
    """Train and return the learning rate of each epoch, and the states of schedule and optimizer at the end."""
    trainer = make_trainer(SmallNetwork(), make_loader(4), epochs)
    schedule = make_schedule(trainer.optimizer)
    if state is not None:
        trainer.optimizer.load_state_dict(optimizer_state)
        schedule.load_state_dict(state)
    rates = []
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda: rates.append(trainer.optimizer.param_groups[0]["lr"]))
    LrScheduleHandler(schedule, print_lr=False).attach(trainer)
    trainer.run()
    return rates, schedule.state_dict(), trainer.optimizer.state_dict()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_continues_from_its_state(name, tmp_path):
    whole = learning_rates(SCHEDULES[name], 6)[0]
    assert len(set(whole)) > 1
    first, *states = learning_rates(SCHEDULES[name], 3)
    torch.save(states, tmp_path / "states.pt")
    second = learning_rates(SCHEDULES[name], 3, *torch.load(tmp_path / "states.pt", weights_only=True))[0]
    assert [*first, *second] == pytest.approx(whole)
