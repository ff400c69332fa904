"""Time and memory of a training step and of inference, beside the machine's own limit and two separate U-Nets.

    python benchmarks/step_time.py [--networks hps,mtan,ctan] [--input 3x128x128] [--batch 8] [--precision fp32,bf16]
        [--threads 1] [--rounds 8] [--contiguous] [--before] [--no-memory]

All networks learn the same two tasks (5-class segmentation by cross-entropy, one-channel regression by L1) from
random images, with Adam, on the CPU, and have the plain decoder of the specification, which ends at a quarter of the
image's size. With ``--before`` each also runs as it was before decoders projected their skips (docs/adr/0029). Weights
lie channels last, as the bundles' trainers have them, unless ``--contiguous``; bf16 is autocast. ``--networks all`` are
all architectures, those with a backbone of their own at full size.

Rounds of all networks and of a product of two matrices of 2,048 x 2,048 take turns. Values are the smallest processor
time divided by the number of threads, which other programs disturb less than the clock's. *of limit* is the operations
of the step (forward and backward, a multiplication with its addition as two) by its time, relative to those of the
matrix product in the same precision: 1 is all that the machine gives. *peak MB* is what two steps add to the resident
memory of a new process that has the network already.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--networks", default="hps,mtan,ctan", help="names of architectures, separated by commas; or all")
parser.add_argument("--input", default="3x128x128", help="channels x rows x columns")
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--precision", default="fp32", help="fp32, bf16 or both, separated by commas")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=8)
parser.add_argument("--encoder", default="resnet50")
parser.add_argument("--contiguous", action="store_true", help="the default memory format instead of channels last")
parser.add_argument("--before", action="store_true", help="also the form of earlier runs")
parser.add_argument("--no-memory", action="store_true", help="leave out the peaks, each of which takes two steps")
parser.add_argument("--peak", help=argparse.SUPPRESS)  # of the process that measures one network's memory
options = parser.parse_args()
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read when torch loads: waiting threads must not count as work

import torch  # noqa: E402
from monai.networks.nets import FlexibleUNet  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from ctan_monai.networks import create_network, methods  # noqa: E402
from ctan_monai.networks.forms import record_before, take_form  # noqa: E402
from ctan_monai.networks.registry import own_backbone  # noqa: E402
from ctan_monai.tasks import Regression, Segmentation  # noqa: E402

TASKS = (Segmentation("oar", ["a", "b", "c", "d"]), Regression("dose", "Gy", 70.0))
LAYOUT = torch.contiguous_format if options.contiguous else torch.channels_last
CHANNELS, *SIZE = map(int, options.input.split("x"))
PEER, BEFORE, LIMIT = "two FlexibleUNet", " before", "matrix product"


class TwoUNets(nn.Module):
    """MONAI's FlexibleUNet twice, one for each task."""

    def __init__(self) -> None:
        super().__init__()
        shared = {"in_channels": CHANNELS, "backbone": options.encoder, "pretrained": False}
        self.oar, self.dose = FlexibleUNet(out_channels=5, **shared), FlexibleUNet(out_channels=1, **shared)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return both networks' answers."""
        return {"oar": self.oar(image), "dose": self.dose(image)}


class Measured:
    """A network with its optimizer, as it is stepped and asked."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        method = name.removesuffix(BEFORE)
        if name == PEER:
            self.network: nn.Module = TwoUNets()
        else:
            encoder = None if own_backbone(method) else options.encoder
            self.network = create_network(method, TASKS, encoder, in_channels=CHANNELS)
            if name != method:
                take_form(self.network, record_before(self.network))
        self.network.to(memory_format=LAYOUT)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4)
        self.image = torch.randn(options.batch, CHANNELS, *SIZE).contiguous(memory_format=LAYOUT)
        self.label = torch.randint(0, 5, (options.batch, *SIZE))
        self.dose = torch.rand(options.batch, 1, *SIZE)

    def step(self, precision: str) -> None:
        """Make a training step."""
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            answers = self.network(self.image)
        loss = F.cross_entropy(answers["oar"].float(), self.label) + F.l1_loss(answers["dose"].float(), self.dose)
        loss.backward()
        self.optimizer.step()

    def infer(self, precision: str) -> None:
        """Answer a batch."""
        self.network.eval()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            self.network(self.image)


def operations(act: Callable[[str], None]) -> float:
    """Count a call's floating point operations in GFLOP."""
    with FlopCounterMode(display=False) as counter:
        act("fp32")
    return float(counter.get_total_flops()) / 1e9


def seconds(act: Callable[[], object]) -> tuple[float, float]:
    """Return the processor's seconds by threads, and the clock's."""
    wall, busy = time.perf_counter(), time.process_time()
    act()
    return (time.process_time() - busy) / options.threads, time.perf_counter() - wall


def resident(field: str) -> float:
    """Return a field of this process's memory in MB (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


def peak(name: str, precision: str) -> float:
    """Return the MB that two steps add, measured in a process of its own."""
    command = [sys.executable, *sys.argv, "--peak", f"{name}/{precision}"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(networks: dict[str, Measured], precisions: list[str]) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Return the smallest seconds by network, precision and what is done."""
    factors = [torch.randn(2048, 2048), torch.randn(2048, 2048)]
    lower = [factor.bfloat16() for factor in factors]
    acts: dict[tuple[str, str, str], Callable[[], object]] = {}
    for precision in precisions:
        pair = lower if precision == "bf16" else factors
        acts[LIMIT, precision, "product"] = lambda pair=pair: pair[0] @ pair[1]  # type: ignore[misc]
        for name, network in networks.items():
            acts[name, precision, "step"] = lambda network=network, p=precision: network.step(p)  # type: ignore[misc]
            acts[name, precision, "infer"] = lambda network=network, p=precision: network.infer(p)  # type: ignore[misc]
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {key: [] for key in acts}
    for turn in range(options.rounds + 1):
        for key, act in acts.items():
            took = seconds(act)
            if turn:  # the first round warms up
                found[key].append(took)
    return {key: (min(busy for busy, _ in times), min(wall for _, wall in times)) for key, times in found.items()}


def main() -> None:
    """Measure and print the table."""
    torch.set_num_threads(options.threads)
    precisions = options.precision.split(",")
    if options.peak:
        name, precision = options.peak.split("/")
        network, before = Measured(name), resident("VmRSS")
        for _ in range(2):
            network.step(precision)
        print(resident("VmHWM") - before)
        return
    names = methods() if options.networks == "all" else options.networks.split(",")
    names += [name + BEFORE for name in names] if options.before else []
    networks = {name: Measured(name) for name in [*names, PEER]}
    counts = {name: (operations(network.step), operations(network.infer)) for name, network in networks.items()}
    best = measure(networks, precisions)

    print(f"torch {torch.__version__}, {options.threads} threads, {platform.machine()}, {os.cpu_count()} cores")
    print(f"batch {options.batch}, {options.input}, {options.encoder}, {options.rounds} rounds, smallest")
    for precision in precisions:
        print(f"{precision}: {2 * 2.048**3 / best[LIMIT, precision, 'product'][0]:.0f} GFLOP/s in a matrix product")
    head = f"{'network':20}{'':5}{'params M':>9}{'GFLOPs':>8}{'step s':>8}{'wall s':>8}{'of limit':>9}{'/2 UNets':>9}"
    print(head + f"{'infer s':>9}{'of limit':>9}{'/2 UNets':>9}" + ("" if options.no_memory else f"{'peak MB':>9}"))
    for name, network in networks.items():
        millions = sum(value.numel() for value in network.network.parameters()) / 1e6
        for precision in precisions:
            limit = 2 * 2.048**3 / best[LIMIT, precision, "product"][0]
            (busy, wall), (quick, _) = best[name, precision, "step"], best[name, precision, "infer"]
            whole, answer = counts[name]
            print(f"{name:20}{precision:5}{millions:9.2f}{answer / options.batch:8.2f}{busy:8.3f}{wall:8.3f}", end="")
            print(f"{whole / busy / limit:9.2f}{busy / best[PEER, precision, 'step'][0]:9.2f}", end="")
            print(f"{quick:9.3f}{answer / quick / limit:9.2f}{quick / best[PEER, precision, 'infer'][0]:9.2f}", end="")
            print("" if options.no_memory else f"{peak(name, precision):9.0f}", flush=True)


if __name__ == "__main__":
    main()
