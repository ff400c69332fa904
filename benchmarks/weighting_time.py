"""Time and memory of one training step: weightings that join gradients against the plain sum of losses.

    python benchmarks/weighting_time.py [--weightings pcgrad,upgrad] [--rounds 8] [--batch 4] [--size 128] [--threads 1]

Each step is the trainer's own, forward, backward and Adam, on random images with two tasks (segmentation in 5 classes,
dose), decoders at full resolution, memory channels last. The rounds are interleaved; the value is the smallest
processor time divided by the number of threads, on a GPU the smallest wall time. Weightings other than `pcgrad` need
torchjd (`pip install -e ".[mtl]"`).
"""

from __future__ import annotations

import argparse
import os
import platform
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--methods", default="hps,mtan,ctan")
parser.add_argument("--weightings", default="pcgrad")
parser.add_argument("--rounds", type=int, default=8)
parser.add_argument("--batch", type=int, default=4)
parser.add_argument("--size", type=int, default=128)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--encoder", default="resnet50")
parser.add_argument("--device", default="cpu")
parser.add_argument("--amp", action="store_true")
parser.add_argument("--deterministic", action="store_true", help="a row more: equal weights, as --deterministic trains")
options = parser.parse_args()
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch loads: waiting threads must not count as work

import torch  # noqa: E402

from ctan_monai.engines import MultiTaskTrainer, seed_run  # noqa: E402
from ctan_monai.losses import MultiTaskLoss, create_weighting  # noqa: E402
from ctan_monai.networks import create_network  # noqa: E402
from ctan_monai.tasks import Regression, Segmentation  # noqa: E402

TASKS = (Segmentation("oar", ["a", "b", "c", "d"]), Regression("dose", "Gy", 70.0))
ON_GPU = options.device.startswith("cuda")


def make_batch() -> dict[str, object]:
    """Make a random batch, on the device."""
    size = (options.batch, 1, options.size, options.size)
    owner = torch.randint(0, 5, size)
    return {
        "case": [f"pt_{k}" for k in range(options.batch)],
        "image": torch.randn(size, device=options.device),
        "oar": torch.cat([owner == k for k in range(1, 5)], 1).float().to(options.device),
        "oar_present": torch.ones(options.batch, 4, dtype=torch.bool, device=options.device),
        "dose": 70 * torch.rand(size, device=options.device),
        "dose_present": torch.ones(options.batch, dtype=torch.bool, device=options.device),
    }


def make_trainer(method: str, weighting: str, batch: dict[str, object]) -> MultiTaskTrainer:
    """Make a trainer whose epochs are one step; the same weights for each weighting."""
    torch.manual_seed(0)
    network = create_network(method, TASKS, options.encoder, decoder_options={"full_resolution": True})
    network.to(options.device)
    return MultiTaskTrainer(
        options.device,
        1,
        [batch],
        network,
        torch.optim.Adam(network.parameters(), lr=1e-4),
        MultiTaskLoss(TASKS, create_weighting(weighting, TASKS)),
        amp=options.amp,
        channels_last=True,
    )


def step(trainer: MultiTaskTrainer, deterministic: bool) -> tuple[float, float]:
    """Make a step; return seconds (wall on a GPU, else the processor's by threads) and the GPU's peak GiB."""
    trainer.state.max_epochs = trainer.state.epoch + 1
    seed_run(0, deterministic)
    if ON_GPU:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    clock = time.perf_counter if ON_GPU else time.process_time
    begin = clock()
    trainer.run()
    if ON_GPU:
        torch.cuda.synchronize()
    taken = clock() - begin
    return (taken if ON_GPU else taken / options.threads), torch.cuda.max_memory_allocated() / 2**30 if ON_GPU else 0.0


def main() -> None:
    """Measure and print a table."""
    torch.set_num_threads(options.threads)
    batch = make_batch()
    names = ["equal", *filter(None, options.weightings.split(",")), *["deterministic"] * options.deterministic]
    where = torch.cuda.get_device_name() if ON_GPU else f"{options.threads} threads, {platform.machine()}"
    print(f"torch {torch.__version__}, {where}, amp {options.amp}")
    print(
        f"batch {options.batch}, 1x{options.size}x{options.size}, {options.encoder}, {options.rounds} rounds, smallest"
    )
    print(f"{'network':10}{'weighting':14}{'step s':>9}{'/equal':>8}{'peak GiB':>10}")
    for method in options.methods.split(","):
        trainers = {name: make_trainer(method, {"deterministic": "equal"}.get(name, name), batch) for name in names}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for turn in range(options.rounds + 2):
            for name, trainer in trainers.items():
                times = step(trainer, name == "deterministic")
                if turn > 1:  # the first rounds warm up
                    found[name].append(times)
        best = {name: min(seconds for seconds, _ in values) for name, values in found.items()}
        for name, values in found.items():
            memory = f"{max(peak for _, peak in values):10.2f}" if ON_GPU else f"{'':10}"
            print(f"{method:10}{name:14}{best[name]:9.4f}{best[name] / best['equal']:8.2f}{memory}")


if __name__ == "__main__":
    main()
