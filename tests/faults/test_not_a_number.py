"""A loss that is not a number ends a training, and what was good before stays."""

import logging

import pytest
import torch
from ignite.engine import Events
from run_kit import Run, same

from ctan_monai.engines.loop.finite import NonFiniteError
from ctan_monai.engines.runs.torch_file import load_checked

pytestmark = pytest.mark.faults


@pytest.mark.promise(3, "a loss that is NaN ends training with the batch's cases named; the last good checkpoint stays")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_nan_ends_training_and_the_last_good_checkpoint_is_kept_and_goes_on(tmp_path, value, caplog):
    Run(tmp_path / "whole", epochs=3).go()
    run = Run(tmp_path / "run", epochs=3)
    names = []

    @run.trainer.on(Events.ITERATION_STARTED(once=5))  # in the second epoch
    def damage(engine):
        engine.state.batch["image"][1, 0, 3, 3] = value
        names.extend(engine.state.batch["case"])

    with caplog.at_level(logging.CRITICAL), pytest.raises(NonFiniteError) as caught:
        run.go()
    assert caught.value.cases == tuple(names)
    assert f"image of {names[1]} holds values that are not finite" in str(caught.value)
    saved = load_checked(tmp_path / "run" / "last.pt")
    assert saved["epoch"] == 1
    assert all(value.isfinite().all() for value in saved["network"].values() if isinstance(value, torch.Tensor))
    Run(tmp_path / "run", epochs=3, resume=True).go()
    networks = [load_checked(tmp_path / name / "last.pt")["network"] for name in ("run", "whole")]
    assert same(*networks) is None
