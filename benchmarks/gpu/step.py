"""Training steps on a device: how fast, how busy it is, what is left when nothing has to be launched.

    python benchmarks/gpu/step.py [--out steps.json] [--device cuda] [--seconds 200] [--cases DIR] [--quick]

OpenKBP's two tasks on random images of 128 x 128 (ResNet-50), in the precisions and batch sizes that matter. Sections
are in the order of importance and end when the time is up; after each the file is written anew. A step is forward pass,
loss, backward pass and Adam; *host* is what the processor needs to hand it over, where it does not wait.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ctan_monai.engines import MultiTaskTrainer, create_dataloader
from ctan_monai.engines.distributed.processes import to_channels_last
from ctan_monai.engines.loop.bf16_guard import choose_precision
from ctan_monai.losses import MultiTaskLoss, create_weighting
from ctan_monai.networks import create_network
from ctan_monai.tasks import Regression, Segmentation

OAR = ["Brainstem", "SpinalCord", "RightParotid", "LeftParotid"]
TASKS = (Segmentation("oar", OAR, overlapping=True), Regression("dose", "Gy", 70.0, nonnegative=True))
METHODS = ("ctan", "mtan", "hps", "stl")
OPTIONS = {"oar": {"positive_weight": 20.0}}


class Bench:
    """What the sections share."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.device = options, torch.device(options.device)
        self.cuda = self.device.type == "cuda"
        self.size, self.encoder = (32, "resnet18") if options.quick else (128, "resnet50")
        self.batches = (2, 4) if options.quick else (8, 32, 128)
        self.most = 8 if options.quick else 512  # where a large GPU is full
        self.end = time.monotonic() + options.seconds
        self.found: dict[str, Any] = {"torch": torch.__version__}
        self.found["device"] = torch.cuda.get_device_name() if self.cuda else "cpu"

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.end - time.monotonic()

    def say(self, text: str) -> None:
        """Print with the seconds since the start."""
        print(f"[{self.options.seconds - self.left():5.0f} s] {text}", flush=True)

    def sync(self) -> None:
        """Wait for the device."""
        if self.cuda:
            torch.cuda.synchronize()

    def data(self, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Draw images and labels."""
        made = torch.Generator().manual_seed(1)
        shape = (self.size, self.size)
        targets = {
            "oar": (torch.rand(batch, 4, *shape, generator=made) > 0.97).to(torch.uint8),
            "oar_present": torch.ones(batch, 4, dtype=torch.bool),
            "dose": 70 * torch.rand(batch, 1, *shape, generator=made),
            "dose_present": torch.ones(batch, dtype=torch.bool),
        }
        image = torch.rand(batch, 1, *shape, generator=made)
        return image.to(self.device), {key: value.to(self.device) for key, value in targets.items()}

    def make(self, method: str, channels_last: bool = True) -> tuple[Any, MultiTaskLoss]:
        """Build network and loss."""
        torch.manual_seed(0)
        network: Any = create_network(
            method, TASKS, self.encoder, in_channels=1, decoder_options={"full_resolution": True}
        )
        network.to(self.device).train()
        if channels_last:
            to_channels_last(network)
        weighting = create_weighting("dwa", TASKS, independent=network.independent_tasks)
        return network, MultiTaskLoss(TASKS, weighting, OPTIONS).to(self.device)

    def step(
        self, method: str, precision: str, batch: int, channels_last: bool = True, compiled: bool = False
    ) -> Callable[[], None]:
        """Return a function that makes one step."""
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "fp32"
        network, loss = self.make(method, channels_last)
        called = torch.compile(network) if compiled else network
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
        image, targets = self.data(batch)
        chosen = choose_precision(self.device, precision == "bf16", "bf16" if precision == "bf16" else "auto")

        def act() -> None:
            optimizer.zero_grad(set_to_none=True)
            with chosen.autocast():
                outputs = called(image)
            torch.autograd.backward(loss(outputs, targets))
            optimizer.step()

        return act

    def gflop_per_image(self, method: str) -> float:
        """Count a training step's floating point operations: two for each multiplication with its addition."""
        act = self.step(method, "fp32", 2)
        with FlopCounterMode(display=False) as counted:
            act()
        return float(counted.get_total_flops()) / 2e9

    def seconds_of(self, act: Callable[[], None]) -> tuple[float, float]:
        """Return the median seconds of a step, and those of the host alone."""
        for _ in range(2 if self.options.quick else 5):
            act()
        self.sync()
        wall, host = [], []
        for _ in range(3 if self.options.quick else 10):
            start = time.perf_counter()
            act()
            host.append(time.perf_counter() - start)
            self.sync()
            wall.append(time.perf_counter() - start)
        return statistics.median(wall), statistics.median(host)


def steps(bench: Bench) -> None:
    """Every method in bf16, CTAN in the other precisions and layouts too."""
    each = bench.found["gflop_per_image"] = {method: bench.gflop_per_image(method) for method in METHODS}
    bench.say("; ".join(f"{method} {gflop:.1f} GFLOP an image" for method, gflop in each.items()))
    small, large = bench.batches[0], bench.batches[-1]
    grid = [("ctan", "bf16", True, batch) for batch in (*bench.batches, bench.most)]
    grid += [(method, "bf16", True, batch) for method in METHODS[1:] for batch in (small, large)]
    grid += [("ctan", precision, last, large) for precision, last in (("tf32", True), ("fp32", True), ("bf16", False))]
    grid += [(method, "tf32", True, large) for method in METHODS[1:]]
    rows = bench.found["steps"] = []
    for method, precision, last, batch in grid:
        if bench.left() < 20:
            return
        if bench.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        wall, host = bench.seconds_of(bench.step(method, precision, batch, last))
        peak = torch.cuda.max_memory_allocated() / 2**30 if bench.cuda else None
        row = {"method": method, "precision": precision, "channels_last": last, "batch": batch, "ms": 1e3 * wall}
        tflops = each[method] * batch / wall / 1e3
        rows.append({**row, "host_ms": 1e3 * host, "images_s": batch / wall, "tflop_s": tflops, "peak_gib": peak})
        layout = "NHWC" if last else "NCHW"
        timed = f"{1e3 * wall:8.2f} ms, host {1e3 * host:8.2f} ms, {batch / wall:7.0f} images/s, {tflops:6.2f} TFLOP/s"
        bench.say(f"{method:5}{precision:5}{layout} batch {batch:4}: {timed}")


def busy(bench: Bench) -> None:
    """Measure the fraction of a step in which kernels run."""
    if not bench.cuda:
        return
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    for batch in (bench.batches[0], bench.batches[-1]):
        act = bench.step("ctan", "bf16", batch)
        wall, _ = bench.seconds_of(act)
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as record:
            for _ in range(5):
                act()
            bench.sync()
        kinds = [
            event for event in record.key_averages() if event.device_type == DeviceType.CUDA
        ]  # not what began them
        events = sorted(kinds, key=lambda event: -event.self_device_time_total)
        kernels = sum(event.self_device_time_total for event in events) / 5e6
        longest = {event.key[:90]: event.self_device_time_total / 5e3 for event in events[:15]}
        found = {"wall_ms": 1e3 * wall, "kernels_ms": 1e3 * kernels, "busy": kernels / wall, "longest_ms": longest}
        bench.found[f"busy, batch {batch}"] = found
        bench.say(f"batch {batch}: kernels {1e3 * kernels:.2f} of {1e3 * wall:.2f} ms")


def graph(bench: Bench) -> None:
    """Time the step as one CUDA graph."""
    if not bench.cuda:
        return
    for batch in bench.batches:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        network, loss = bench.make("ctan")
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, capturable=True, fused=True)
        parts = (network, loss, optimizer, *bench.data(batch))

        def act(parts: Any = parts) -> None:
            network, loss, optimizer, image, targets = parts
            with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
                outputs = network(image)
            torch.autograd.backward(loss(outputs, targets))
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)

        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                act()
        torch.cuda.current_stream().wait_stream(side)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            act()
        wall, _ = bench.seconds_of(captured.replay)
        bench.found[f"graph, batch {batch}"] = {"ms": 1e3 * wall, "images_s": batch / wall}
        bench.say(f"CUDA graph, batch {batch}: {1e3 * wall:.2f} ms, {batch / wall:.0f} images/s")
        del captured, network, optimizer, parts
        torch.cuda.empty_cache()


def trainer_with_loader(bench: Bench) -> None:
    """Time the bundle's own dataset, loader and trainer: with data on the device, with no, 8 and all workers."""
    if not bench.options.cases:
        return
    from ignite.engine import Events
    from monai.bundle import ConfigParser
    from monai.data import DataLoader

    root = Path(__file__).resolve().parents[2] / "bundles" / "openkbp"
    config = ConfigParser()
    config.read_config(str(root / "configs" / "train.yaml"))
    config["bundle_root"], config["datalists#sample_dir"] = str(root), str(bench.options.cases)
    dataset = config.get_parsed_content("train#dataset")
    rows = bench.found["trainer with loader"] = []
    batch = bench.batches[-1]  # what a large GPU is kept busy by
    several = (1,) if bench.options.quick else (8, max(os.cpu_count() or 1, 2) - 1)
    for workers in (*("reduce-overhead",) * bench.cuda, "device", 0, *several):
        if bench.left() < 15:
            return
        network, loss = bench.make("ctan")
        if not isinstance(workers, int):
            loader = create_dataloader(dataset, "device", bench.device, batch_size=batch, shuffle=True)
        else:
            loader = DataLoader(
                dataset,
                batch_size=batch,
                shuffle=True,
                drop_last=True,
                num_workers=workers,
                persistent_workers=workers > 0,
                pin_memory=bench.cuda,
            )
        wanted = 6 if bench.options.quick else (1000 if workers == 0 else 6000) // batch
        length = min(wanted, len(loader))
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
        trainer = MultiTaskTrainer(
            bench.device,
            -(-wanted // length),  # epochs
            loader,
            network,
            optimizer,
            loss,
            amp=bench.cuda,
            channels_last=True,
            epoch_length=length,
            compile_mode=workers if workers == "reduce-overhead" else False,
        )
        stamps: list[float] = []
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine, kept=stamps: kept.append(time.perf_counter())
        )
        trainer.run()
        bench.sync()
        stamps.append(time.perf_counter())
        tail = stamps[len(stamps) // 2 :]  # the first half warms up
        rate = (len(tail) - 1) * batch / (tail[-1] - tail[0])
        loaded = isinstance(workers, int)
        rows.append({"data_on": "loader" if loaded else "device", "workers": workers if loaded else 0})
        rows[-1] |= {"compiled": workers == "reduce-overhead", "batch": batch, "images_s": rate}
        where = f"{workers} workers" if loaded else "data on the device" + ", compiled" * (workers == "reduce-overhead")
        bench.say(f"trainer, {where}, batch {batch}: {rate:.0f} images/s")


def compiled(bench: Bench) -> None:
    """Time the step with torch.compile."""
    for batch in (bench.batches[-1], bench.batches[0]) if bench.cuda else ():
        if bench.left() < 60:
            return
        act = bench.step("ctan", "bf16", batch, compiled=True)
        start = time.perf_counter()
        act()
        bench.sync()
        first = time.perf_counter() - start
        wall, host = bench.seconds_of(act)
        found = {"first_s": first, "ms": 1e3 * wall, "host_ms": 1e3 * host, "images_s": batch / wall}
        bench.found[f"compiled, batch {batch}"] = found
        bench.say(f"compiled, batch {batch}: first step {first:.0f} s, then {1e3 * wall:.2f} ms")


def main() -> None:
    """Do the sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("steps.json"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=200)
    parser.add_argument("--cases", type=Path, help="OpenKBP's case files, for the loader: DIR/train/*.case ...")
    parser.add_argument("--quick", action="store_true", help="ResNet-18, 32 pixels, few steps: to try it on a CPU")
    bench = Bench(parser.parse_args())
    failed = 0
    for section in (steps, busy, trainer_with_loader, graph, compiled):
        if bench.left() < 10:
            bench.say(f"no time left for {section.__name__}")
            continue
        try:
            section(bench)
        except Exception as error:  # the other sections shall run on a machine that is lent for minutes
            failed += 1
            bench.found[f"{section.__name__} failed"] = repr(error)[:500]
            bench.say(f"{section.__name__} FAILED: {error!r}"[:600])
        bench.options.out.write_text(json.dumps(bench.found, indent=1))
    raise SystemExit(min(failed, 1))


if __name__ == "__main__":
    main()
