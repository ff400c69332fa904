"""Promise: from a CT as DICOM to RTSTRUCT and RTDOSE takes at most 1.25 times reading the CT and the network alone.

    OMP_NUM_THREADS=1 python benchmarks/dicom_inference.py --run_dir RUN [--patients 4] [--profile]

``RUN`` is a run of the prostate bundle. Synthetic patients are made as DICOM. The bundle's inference reads and predicts
them, without the images of its page; then loading and network are repeated alone on the same patients, in turns. CPU
seconds of this process: headers that others read for it count on neither side.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor

from ctan_monai.data.phantom.cohort import PhantomGrid, make_cohort

ROOT = Path(__file__).parents[1]


def workflow(run_dir: Path, source: Path, out: Path) -> ConfigParser:
    """Read the bundle's inference with its options, and load the weights."""
    parser = ConfigParser()
    parser.read_config(str(ROOT / "bundles" / "prostate" / "configs" / "inference.yaml"))
    parser.update({"bundle_root": str(ROOT / "bundles" / "prostate"), "run_dir": str(run_dir), "input": str(source)})
    parser.update({"output_dir": str(out), "formats": ["rtstruct", "rtdose"], "cache_dir": str(out / "cache")})
    parser.update({"goals": None, "device": "$torch.device('cpu')"})
    parser["handlers"] = [parser["handlers"][0]]  # WriteDicom
    parser.get_parsed_content("initialize")
    return parser


def seconds(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run_dir", type=Path, required=True)
    parser.add_argument("--patients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="print where the time of the whole way goes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {"whole": [], "read": [], "network": []}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_cohort(place / "dicom", options.patients, grid=PhantomGrid(slices=64, slice_mm=3.0), progress=False)
        profile = cProfile.Profile()
        for turn in range(options.rounds + 1):
            parts = workflow(options.run_dir, place / "dicom", place / f"out{turn}")
            read = seconds(lambda parts=parts: parts.get_parsed_content("dataloader"))  # the CTs, into the cache
            evaluator, loader = parts.get_parsed_content("evaluator"), parts.get_parsed_content("dataloader")
            network, inferer = parts.get_parsed_content("network").eval(), parts.get_parsed_content("inferer")
            batches: list[Any] = []
            if options.profile and turn == options.rounds:
                profile.enable()
            whole = read + seconds(evaluator.run)
            profile.disable()
            read += seconds(lambda loader=loader, batches=batches: batches.extend(loader))
            images = [batch["image"].contiguous(memory_format=torch.contiguous_format) for batch in batches]

            def predict(images: list[Tensor] = images, network: Any = network, inferer: Any = inferer) -> None:
                with torch.inference_mode():
                    for image in images:
                        inferer(image, network)

            if turn:  # the first round imports and warms up
                for name, value in (("whole", whole), ("read", read), ("network", seconds(predict))):
                    found[name].append(value / options.patients)
    medians = {name: statistics.median(values) for name, values in found.items()}
    print(f"torch {torch.__version__}, {options.patients} patients, {options.rounds} rounds; median CPU s a patient")
    print(", ".join(f"{name} {value:.2f}" for name, value in medians.items()))
    print(f"whole / (read + network): {medians['whole'] / (medians['read'] + medians['network']):.2f}")
    if options.profile:
        pstats.Stats(profile).sort_stats("cumtime").print_stats(45)


if __name__ == "__main__":
    main()
