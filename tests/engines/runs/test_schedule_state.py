"""Schedules continue as they were, or as the longer run's schedule stands at that point."""

import pytest
import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from ctan_monai.engines.runs.resume import load_schedule
from ctan_monai.engines.runs.torch_file import load_checked, save_atomic

SCHEDULES = {
    "cosine": lambda optimizer, epochs: CosineAnnealingLR(optimizer, epochs),
    "polynomial": lambda optimizer, epochs: PolynomialLR(optimizer, epochs, power=0.9),
    "lambda": lambda optimizer, epochs: LambdaLR(optimizer, lambda epoch: 1 - epoch / epochs),
    "steps": lambda optimizer, epochs: MultiStepLR(optimizer, [1, 3], 0.1),
    "one cycle": lambda optimizer, epochs: OneCycleLR(optimizer, 0.1, total_steps=epochs + 1),
    "plateau": lambda optimizer, epochs: ReduceLROnPlateau(optimizer, patience=0),
    "warm-up": lambda optimizer, epochs: SequentialLR(
        optimizer, [LambdaLR(optimizer, lambda epoch: 0.1), CosineAnnealingLR(optimizer, epochs)], [1]
    ),
}


class Training:
    """An optimizer and its schedule."""

    def __init__(self, make, epochs):
        self.optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
        self.schedule = make(self.optimizer, epochs)
        self.is_plateau = isinstance(self.schedule, ReduceLROnPlateau)

    def rates(self, epochs):
        found = []
        for _ in range(epochs):
            found.append(self.optimizer.param_groups[0]["lr"])
            self.optimizer.step()
            self.schedule.step(*([1.0] if self.is_plateau else []))
        return found

    def resume(self, other, path, stretch):
        save_atomic([other.optimizer.state_dict(), other.schedule.state_dict()], path)
        optimizer, schedule = load_checked(path)
        self.optimizer.load_state_dict(optimizer)
        load_schedule(self.schedule, schedule, stretch)
        return self


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_an_interrupted_schedule_goes_on_as_if_it_had_not_been(tmp_path, make):
    whole = Training(make, 4).rates(4)
    first = Training(make, 4)
    assert first.rates(2) == whole[:2]
    assert Training(make, 4).resume(first, tmp_path / "last.pt", stretch=False).rates(2) == whole[2:]


@pytest.mark.parametrize("name", ["cosine", "polynomial", "lambda", "steps"])
def test_a_longer_run_takes_the_longer_schedules_rates_from_there_on(tmp_path, name):
    make = SCHEDULES[name]
    first = Training(make, 2)
    first.rates(2)
    longer = Training(make, 6).resume(first, tmp_path / "last.pt", stretch=True)
    assert longer.rates(4) == pytest.approx(Training(make, 6).rates(6)[2:])


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_a_longer_run_never_runs_out_of_schedule(tmp_path, make):
    first = Training(make, 2)
    first.rates(2)
    rates = Training(make, 6).resume(first, tmp_path / "last.pt", stretch=True).rates(4)
    assert max(rates[1:]) > 0
