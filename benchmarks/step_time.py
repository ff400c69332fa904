"""Time and memory of one training step: CTAN against hard parameter sharing and against two separate U-Nets.

    python benchmarks/step_time.py [--rounds 8] [--batch 8] [--size 128] [--threads 2] [--contiguous] [--before]

All networks learn the same two tasks (5-class segmentation by cross-entropy, one-channel regression by L1) from
random images, with Adam, on the CPU. Ours have the plain decoder of the specification, which ends at a quarter of the
image's size. With ``--before`` each of our methods runs a second time as it was before decoders projected their skips
(docs/adr/0029). Memory is laid out channels last, as the bundles' trainers do, unless ``--contiguous``. The rounds of
all networks are interleaved, and the value is the smallest processor time divided by the number of threads, which
other programs on the machine disturb less than wall time (given beside it).
"""

from __future__ import annotations

import argparse
import os
import platform
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=8)
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--size", type=int, default=128)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--encoder", default="resnet50")
parser.add_argument("--contiguous", action="store_true", help="the default memory format instead of channels last")
parser.add_argument("--before", action="store_true", help="also the form of earlier runs")
options = parser.parse_args()
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch loads: waiting threads must not count as work

import torch  # noqa: E402
from monai.networks.nets import FlexibleUNet  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from ctan_monai.networks import create_network  # noqa: E402
from ctan_monai.networks.forms import record_before, take_form  # noqa: E402
from ctan_monai.tasks import Regression, Segmentation  # noqa: E402

TASKS = (Segmentation("oar", ["a", "b", "c", "d"]), Regression("dose", "Gy", 70.0))
LAYOUT = torch.contiguous_format if options.contiguous else torch.channels_last


class TwoUNets(nn.Module):
    """MONAI's FlexibleUNet twice, one for each task."""

    def __init__(self) -> None:
        super().__init__()
        shared = {"in_channels": 3, "backbone": options.encoder, "pretrained": False}
        self.oar, self.dose = FlexibleUNet(out_channels=5, **shared), FlexibleUNet(out_channels=1, **shared)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return both networks' answers."""
        return {"oar": self.oar(image), "dose": self.dose(image)}


def build() -> dict[str, nn.Module]:
    """Make the networks that are compared."""
    ours = {name: create_network(name, TASKS, options.encoder, in_channels=3) for name in ("hps", "mtan", "ctan")}
    if options.before:
        for name in list(ours):
            old = create_network(name, TASKS, options.encoder, in_channels=3)
            take_form(old, record_before(old))
            ours[f"{name} before"] = old
    networks: dict[str, nn.Module] = {**ours, "two FlexibleUNet": TwoUNets()}
    return {name: network.to(memory_format=LAYOUT) for name, network in networks.items()}


def main() -> None:
    """Measure and print the table."""
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    image = torch.randn(options.batch, 3, options.size, options.size).contiguous(memory_format=LAYOUT)
    label = torch.randint(0, 5, (options.batch, options.size, options.size))
    dose = torch.rand(options.batch, 1, options.size, options.size)
    networks = build()
    optimizers = {name: torch.optim.Adam(network.parameters(), lr=1e-4) for name, network in networks.items()}

    def step(name: str) -> None:
        answers = networks[name](image)
        loss = F.cross_entropy(answers["oar"], label) + F.l1_loss(answers["dose"], dose)
        optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        optimizers[name].step()

    def infer(name: str) -> None:
        with torch.inference_mode():
            networks[name](image)

    def measure(work: object, name: str) -> tuple[float, float]:
        wall, busy = time.perf_counter(), time.process_time()
        work(name)  # type: ignore[operator]
        return (time.process_time() - busy) / options.threads, time.perf_counter() - wall

    times: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for turn in range(options.rounds + 1):
        for name, network in networks.items():
            network.train()
            stepped = measure(step, name)
            network.eval()
            inferred = measure(infer, name)
            if turn:  # the first round warms up
                times.setdefault((name, "step"), []).append(stepped)
                times.setdefault((name, "infer"), []).append(inferred)

    print(f"torch {torch.__version__}, {options.threads} threads, {platform.machine()}, {os.cpu_count()} cores")
    print(
        f"batch {options.batch}, 3x{options.size}x{options.size}, {options.encoder}, {options.rounds} rounds, smallest"
    )
    print(f"{'network':18}{'params M':>9}{'GFLOPs':>8}{'step s':>8}{'wall s':>8}{'infer s':>8}{'wall s':>8}", end="")
    print(f"{'step/HPS':>10}{'step/2 UNets':>14}{'infer/HPS':>11}")
    best = {key: (min(a for a, _ in found), min(b for _, b in found)) for key, found in times.items()}
    for name, network in networks.items():
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            network(image[:1])
        millions = sum(value.numel() for value in network.parameters()) / 1e6
        (busy, wall), (quick, quick_wall) = best[name, "step"], best[name, "infer"]
        print(f"{name:18}{millions:9.2f}{counter.get_total_flops() / 1e9:8.2f}", end="")
        print(f"{busy:8.3f}{wall:8.3f}{quick:8.3f}{quick_wall:8.3f}", end="")
        ratios = busy / best["hps", "step"][0], busy / best["two FlexibleUNet", "step"][0]
        print(f"{ratios[0]:10.2f}{ratios[1]:14.2f}{quick / best['hps', 'infer'][0]:11.2f}")


if __name__ == "__main__":
    main()
