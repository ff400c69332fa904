"""Time of stochastic filter groups: a training step against HighResNet's, and inference pruned against masked.

    python benchmarks/filter_groups.py [--rounds 5] [--batch 2] [--size 128] [--layer_scale 1] [--threads 1]

A step is forward, backward and Adam on random images with two tasks (a value in a voxel, five exclusive labels); as
HighResNet of equal width stand MONAI's, with two residual blocks in a scale, and `grouping: shared`, which has SFG's
convolutions between the scales too. Inference is that of kernels that are split equally (`grouping: mask`): with masks,
and pruned as `for_inference` does. Rounds are interleaved; the value is the smallest processor time.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--batch", type=int, default=2)
parser.add_argument("--size", type=int, default=128)
parser.add_argument("--layer_scale", type=float, default=1.0)
parser.add_argument("--threads", type=int, default=1)
options = parser.parse_args()
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch loads: waiting threads must not count as work

import torch  # noqa: E402
from monai.networks.nets import HighResNet  # noqa: E402
from torch import nn  # noqa: E402

from ctan_monai.networks import create_network  # noqa: E402
from ctan_monai.networks.sfg import WIDTHS  # noqa: E402
from ctan_monai.tasks import Regression, Segmentation  # noqa: E402

TASKS = (Regression("ct", "HU", 300.0), Segmentation("organs", ["a", "b", "c", "d"]))


def sfg(grouping: str) -> nn.Module:
    """Make a network of filter groups."""
    torch.manual_seed(0)
    own = {"grouping": grouping, "layer_scale": options.layer_scale}
    return create_network("sfg", TASKS, network_options={"sfg": own}).to(memory_format=torch.channels_last)


def highresnet() -> nn.Module:
    """Make MONAI's HighResNet with the widths of SFG's layers."""
    widths = [max(1, round(width * options.layer_scale)) for width in WIDTHS]
    blocks = [
        {"name": f"res_{index}", "n_features": width, "kernels": (3, 3), "repeat": 2}
        for index, width in enumerate(widths[:3], start=1)
    ]
    first = {"name": "conv_0", "n_features": widths[0], "kernel_size": 3}
    last = [{"name": "conv_1", "n_features": widths[3], "kernel_size": 1}, {"name": "conv_2", "kernel_size": 1}]
    made = HighResNet(2, 1, 6, layer_params=(first, *blocks, *last))
    return made.to(memory_format=torch.channels_last)


def step_of(network: nn.Module, image: torch.Tensor) -> Callable[[], None]:
    """Return a function that does a training step."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        answers = network(image)
        parts = answers.values() if isinstance(answers, dict) else [answers]
        torch.stack([part.square().mean() for part in parts]).sum().backward()
        optimizer.step()

    return step


def inference_of(network: nn.Module, image: torch.Tensor) -> Callable[[], None]:
    """Return a function that predicts."""

    def predict() -> None:
        with torch.inference_mode():
            network(image)

    return predict


def measure(runs: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the smallest processor time of each, in seconds."""
    best = dict.fromkeys(runs, float("inf"))
    for number in range(options.rounds + 1):  # the first is to warm up
        for name, run in runs.items():
            started = time.process_time()
            run()
            if number:
                best[name] = min(best[name], (time.process_time() - started) / options.threads)
    return best


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(options.threads)
    image = torch.randn(options.batch, 1, options.size, options.size).to(memory_format=torch.channels_last)
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, {options}")
    networks = {"sfg": sfg("learned"), "sfg, shared": sfg("shared"), "HighResNet": highresnet()}
    steps = measure({name: step_of(network.train(), image) for name, network in networks.items()})
    for name, seconds in steps.items():
        print(f"step       {name:12s} {seconds:.3f} s   sfg takes {steps['sfg'] / seconds:.2f} times that")
    masked = sfg("mask").eval()
    pruned = masked.for_inference()  # type: ignore[operator]  # nn.Module's attributes are unknown
    away = max(float((masked(image)[name] - answer).abs().max()) for name, answer in pruned(image).items())
    found = measure({"masked": inference_of(masked, image), "pruned": inference_of(pruned, image)})
    for name, seconds in found.items():
        print(f"inference  {name:12s} {seconds:.3f} s   pruned is {seconds / found['pruned']:.2f} times as fast")
    print(f"           the two differ by {away:.1e} at most")


if __name__ == "__main__":
    main()
