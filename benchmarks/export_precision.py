"""What exporting in fewer bits costs and brings: answers, size and time of each precision and format of trained runs.

Every file is written and checked by ``ctan-monai export``'s own code with images of the run's validation. Times are the
smallest of several rounds, in each of which all files take their turn, against the network itself in PyTorch.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from ctan_monai.engines.runs.run_network import network_of_run
from ctan_monai.share import PRECISIONS, Exported, export_network, export_reduced, images_of_run
from ctan_monai.share.formats import read_exported

Run = Callable[[Tensor], dict[str, Tensor]]


def smallest_times(runs: dict[str, Run], image: Tensor, rounds: int) -> dict[str, float]:
    """Return the seconds that each takes for an image (B, C, *S)."""
    best = dict.fromkeys(runs, float("inf"))
    with torch.no_grad():
        for number in range(rounds + 1):  # the first warms up
            for name, run in runs.items():
                started = time.perf_counter()
                run(image)
                if number:
                    best[name] = min(best[name], time.perf_counter() - started)
    return best


def answers_of(entry: Exported) -> str:
    """Write the agreement of all tasks in a cell."""
    if not entry.agreements:
        return "the same"
    return ", ".join(
        f"{found.task}: error {found.error:.3f}, {found.measure} {found.value:.3f}" for found in entry.agreements
    )


def measure(folder: Path, rounds: int) -> None:
    """Print the table of one run."""
    network = network_of_run(folder)
    images = images_of_run(folder, network)
    size = tuple(images.validation[0].shape[2:])
    same = [image for image in images.validation if tuple(image.shape[2:]) == size]
    print(f"\n{folder.name}: {network.method}, {len(images.validation)} images of {size} to check with")
    print(
        "| file | MB | 1 image, ms | times | 8 images, ms | times | answers |\n|---|---|---|---|---|---|---|",
        flush=True,
    )
    runs: dict[str, Run] = {"PyTorch": network}
    entries: dict[str, Exported] = {}
    with tempfile.TemporaryDirectory() as out:
        for precision, formats in PRECISIONS.items():
            if precision == "fp32":
                written = export_network(network, out, formats, size)
            else:
                written = export_reduced(network, out, formats, precision, images)
            for entry in written:
                name = f"{entry.format} {precision}"
                runs[name], _ = read_exported(entry.path)
                entries[name] = entry
        sizes = {name: entry.path.stat().st_size / 1e6 for name, entry in entries.items()}
        one = smallest_times(runs, same[0], rounds)
        eight = smallest_times(runs, torch.cat((same * 8)[:8]), rounds)
    for name in runs:
        times = " | ".join(f"{1e3 * took[name]:.1f} | {took['PyTorch'] / took[name]:.2f}" for took in (one, eight))
        large = f"{sizes[name]:.0f}" if name in sizes else ""
        print(f"| {name} | {large} | {times} | {answers_of(entries[name]) if name in entries else ''} |", flush=True)


def main() -> None:
    """Measure the runs that are named, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, whose data are where they were")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime"))
    print(f"{packages}, CPU ({platform.machine()}), {torch.get_num_threads()} threads, {arguments.rounds} rounds")
    for folder in arguments.runs:
        measure(folder, arguments.rounds)


if __name__ == "__main__":
    main()
