"""Whole trainings on a GPU; what has a counterpart on the CPU runs there too."""

import copy
import json

import pytest
import torch
from engine_kit import TASKS, SmallNetwork, make_item, make_loader
from ignite.engine import Events
from monai.data import DataLoader
from run_kit import Run, same

from ctan_monai.engines import MultiTaskTrainer, NonFiniteError, seed_run
from ctan_monai.engines.runs.torch_file import load_checked
from ctan_monai.losses import MultiTaskLoss, create_weighting
from ctan_monai.losses.weighting import WEIGHTINGS
from ctan_monai.networks import create_network

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
AMP = ["bf16", "fp16"]
SOLVERS = {"upgrad", "mgda", "aligned_mtl", "imtl_g", "cagrad", "graddrop"}  # they read the Jacobian
OPTIONS = {"static": {"weights": {task.name: 1.0 for task in TASKS}}}


class Branching(SmallNetwork):
    """A SmallNetwork whose heads are called decoders, where a weighting may join gradients."""

    def __init__(self):
        super().__init__()
        self.decoders = self.heads


def small_trainer(device, loader, weighting="dwa", **options):
    torch.manual_seed(0)
    network = Branching().to(device)
    loss = MultiTaskLoss(TASKS, create_weighting(weighting, TASKS, **OPTIONS.get(weighting, {}))).to(device)
    optimizer = torch.optim.Adam([*network.parameters(), *loss.parameters()], lr=0.01, fused=True)
    return MultiTaskTrainer(device, 2, loader, network, optimizer, loss, **options)


def losses_of(folder):
    """Read a run's training losses and its validation's scores, epoch by epoch."""
    epochs = json.loads((folder / "metrics.json").read_text())["epochs"]
    return [epoch["train"]["loss"] for epoch in epochs], [epoch["validation"]["selection"] for epoch in epochs]


@pytest.mark.parametrize("device", DEVICES)
def test_a_training_with_validation_goes_as_on_the_cpu(device, tmp_path):
    Run(tmp_path / "cpu", weighting="dwa").go()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    run = Run(tmp_path / "device", device=device, fused=True, every=3).go()
    assert next(run.network.parameters()).device.type == device
    found, expected = losses_of(tmp_path / "device"), losses_of(tmp_path / "cpu")
    # dropout draws other masks on a GPU
    assert found[0] == pytest.approx(expected[0], rel=1e-4 if device == "cpu" else 0.5)
    assert len(found[1]) == len(expected[1]) == 4
    assert set(load_checked(tmp_path / "device" / "model.pt")) == set(run.network.state_dict())


@pytest.mark.parametrize(
    ("device", "amp_dtype"), [("cpu", "bf16"), *(pytest.param("cuda", dtype, marks=pytest.mark.gpu) for dtype in AMP)]
)
def test_a_run_of_the_cpu_goes_on_elsewhere_and_back(device, amp_dtype, tmp_path):
    Run(tmp_path, epochs=1).go()
    run = Run(tmp_path, epochs=2, resume=True, device=device, amp=True, amp_dtype=amp_dtype, fused=True).go()
    assert run.trainer.state.epoch == 2
    saved = load_checked(tmp_path / "last.pt")
    assert {value.device.type for value in saved["network"].values()} <= {"cpu", device}
    Run(tmp_path, epochs=3, resume=True).go()
    assert len(losses_of(tmp_path)[0]) == 3


@pytest.mark.parametrize("device", DEVICES)
def test_strict_determinism_repeats_to_the_bit(device, tmp_path, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    ends = []
    try:
        for name in ("one", "two"):
            seed_run(0, True)
            run = Run(tmp_path / name, epochs=2, device=device, fused=True).go()
            ends.append({key: value.cpu() for key, value in run.network.state_dict().items()})
    finally:
        torch.use_deterministic_algorithms(False)
    assert same(*ends) is None


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_pinned_memory(device, workers):
    items = [make_item(index) for index in range(6)]
    loader = DataLoader(items, batch_size=2, num_workers=workers, pin_memory=device == "cuda")
    trainer = small_trainer(device, loader)
    trainer.run()
    assert trainer.state.iteration == 6


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("weighting", sorted(WEIGHTINGS))
def test_every_weighting_trains(device, weighting):
    if weighting in SOLVERS:
        pytest.importorskip("torchjd")
    trainer = small_trainer(device, make_loader(6), weighting)
    trainer.run()
    assert trainer.state.output["loss"].isfinite()
    assert all(0 < weight < 100 for weight in trainer.loss_function.weighting.weights().values())


@pytest.mark.gpu
@pytest.mark.parametrize("weighting", sorted(set(WEIGHTINGS) - SOLVERS))
def test_no_step_waits_for_the_device(weighting):
    """CUDA's own watch on what makes the host wait, on a batch that lies on the device."""
    trainer = small_trainer("cuda", list(make_loader(6)), weighting)
    trainer.run()  # what is made once is made
    batch = {key: value.cuda() if isinstance(value, torch.Tensor) else value for key, value in make_batch().items()}
    trainer.state.iteration, trainer.state.batch = 1, batch
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer._iteration(trainer, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def make_batch():
    return next(iter(make_loader(2)))


def trained_losses(network, loader, **options):
    """Train a copy of a network for two epochs; return it and the loss of each step."""
    network = copy.deepcopy(network).cuda()
    loss = MultiTaskLoss(TASKS, create_weighting("dwa", TASKS, independent=network.independent_tasks))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    trainer = MultiTaskTrainer("cuda", 2, loader, network, optimizer, loss, **options)
    found = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: found.append(engine.state.output["loss"]))
    trainer.run()
    return network, torch.stack(found).tolist()


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
@pytest.mark.parametrize("method", ["ctan", "mtan", "hps", "stl"])
def test_a_compiled_training_goes_as_a_plain_one(method, mode):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    network = create_network(method, TASKS, "resnet18", in_channels=1)
    items = [make_item(index, (32, 32)) for index in range(10)]
    loader = DataLoader(items, batch_size=4, drop_last=False)  # the last batch has another shape
    plain, expected = trained_losses(network, loader)
    compiled, found = trained_losses(network, loader, compile_mode=mode)
    assert len(found) == 6
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found == pytest.approx(expected, rel=1e-2)
    buffers = dict(plain.named_buffers())
    for name, value in compiled.named_buffers():
        torch.testing.assert_close(value, buffers[name], rtol=0.01, atol=0.01)


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_not_finite_is_named_and_changes_nothing(device):
    items = [make_item(index) for index in range(8)]
    items[3]["image"][0, 0, 0] = float("nan")
    trainer = small_trainer(device, DataLoader(items, batch_size=2), finite_check_every=20)
    with pytest.raises(NonFiniteError, match=r"iteration 2,.*image of pt_3 holds"):
        trainer.run()
    one = small_trainer(device, DataLoader(items[:2], batch_size=2))
    one.run()  # two epochs of the first batch
    other = small_trainer(device, DataLoader(items[:2], batch_size=2))
    other.state.max_epochs = 1
    other.run()
    found, expected = trainer.network.state_dict(), other.network.state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert not all(torch.equal(found[key], value) for key, value in one.network.state_dict().items())
