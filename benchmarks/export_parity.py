"""How closely exported files answer like the network: every method as TorchScript, ONNX and torch.export.

Each file is written and read back by ``ctan-monai export``'s own code, and asked for images of two sizes, one of them
odd. The value is the largest difference of a logit, relative to the largest logit (or to 1).
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
import warnings
from importlib.metadata import version

import torch

from ctan_monai.networks import create_network
from ctan_monai.share import FORMATS, export_network
from ctan_monai.tasks import Classification, Regression, Segmentation

TASKS = (
    Segmentation("organs", ("Rectum", "Bladder"), overlapping=True),
    Regression("dose", "Gy", 60.0, nonnegative=True),
    Classification("grade", ("low", "middle", "high")),
)


def main() -> None:
    """Export each method, and print a line of Markdown for each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--methods", default="ctan,mtan,hps,stl")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(
        f"{arguments.encoder}, three tasks, torch {version('torch')}, onnxruntime {version('onnxruntime')}, CPU", end=""
    )
    print(f" ({platform.machine()}), seed {arguments.seed}\n")
    tasks = " | ".join(task.name for task in TASKS)
    print(f"| method | format | MB | s | {tasks} |\n|---|---|---|---|{'---|' * len(TASKS)}", flush=True)
    for method in arguments.methods.split(","):
        torch.manual_seed(arguments.seed)
        network = create_network(method, TASKS, arguments.encoder).eval()
        for name in FORMATS:
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter()
                (written,) = export_network(network, folder, [name], [arguments.size] * 2, arguments.seed)
                seconds = time.perf_counter() - started
                differences = " | ".join(f"{written.largest_difference[task.name]:.0e}" for task in TASKS)
                size = written.path.stat().st_size / 1e6
            print(f"| {method} | {name} | {size:.0f} | {seconds:.0f} | {differences} |", flush=True)


if __name__ == "__main__":
    main()
