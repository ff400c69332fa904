"""A chest CT of 600 slices of 512 x 512 through the STOIC bundle's inference: time, and the most memory it held.

A synthetic CT is written as MetaImage. For each setting a new process reads it, cuts out the lungs, resamples them,
answers with an untrained network, and draws the image; it reports its largest resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
SHAPE = (512, 512, 600)  # rows, columns, slices
COARSE = (128, 128, 150)
LIMIT_GB = 4.0
GIB = 2**30  # bytes


def write_ct(path: Path, compress: bool) -> None:
    """Write a drawn chest, each voxel four times along each axis, with noise of its own."""
    from ctan_monai.data.datasets.stoic.synthetic import Chest, draw_chest, write_chest

    drawn = draw_chest("severe", 1, COARSE)
    factors = [side // coarse for side, coarse in zip(SHAPE, COARSE, strict=True)]
    random = np.random.default_rng(0)
    hu = np.empty(SHAPE, np.int16)
    for index in range(SHAPE[2]):
        plane = drawn.hu[..., index // factors[2]].repeat(factors[0], 0).repeat(factors[1], 1)
        hu[..., index] = plane + random.normal(0, 25, plane.shape)
    spacing_mm = [size / factor for size, factor in zip(drawn.spacing_mm, factors, strict=True)]
    write_chest(Chest(hu, drawn.lungs, drawn.opacities, tuple(spacing_mm)), path, compress=compress)


def infer(path: str, method: str, slice_mm: float | None) -> dict[str, float]:
    """Run the bundle's inference in this process, without weights, and measure it."""
    import resource

    import torch
    from monai.bundle import ConfigWorkflow

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    configs = ROOT / "bundles" / "stoic" / "configs"
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "input": path,
            "method": method,
            "cache_dir": folder,
            "output_dir": f"{folder}/out",
            "run_dir": folder,
        }
        options |= {"image_size": [160, 224], "slice_mm": slice_mm, "spatial_dims": 2, "depth": 64}
        options |= {
            "pooling": "mean",
            "top_fraction": 0.1,
            "initialize": [],
            "bundle_root": str(ROOT / "bundles" / "stoic"),
        }
        made = ConfigWorkflow(
            str(configs / "inference.yaml"), logging_file=False, run_id="inferring", workflow_type="infer", **options
        )
        made.initialize()
        imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        started = time.perf_counter()
        slices = made.parser.get_parsed_content("dataset")[0]["image"].shape[-1]  # reads the CT into the cache
        prepared = time.perf_counter()
        peak_of_reading = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        made.run()
        ended, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    return {
        "slices": slices,
        "read_s": prepared - started,
        "infer_s": ended - prepared,
        "cpu_s": cpu.ru_utime + cpu.ru_stime,
        "imported_gib": imported,
        "read_gib": peak_of_reading,
        "peak_gib": cpu.ru_maxrss / 2**20,
    }


def main() -> None:
    """Measure each setting in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="ctan")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        asked = json.loads(arguments.child)
        print(json.dumps(infer(asked["path"], arguments.method, asked["slice_mm"])))
        return
    print(f"{arguments.method}, resnet50, {os.environ.get('OMP_NUM_THREADS', 'all')} threads, {platform.machine()}")
    print("voxels      slice_mm slices  read s  infer s  cpu s  read GiB peak GiB")
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for compress in (True, False):
            path = Path(folder) / f"ct_{compress}.mha"
            write_ct(path, compress)
            for slice_mm in (3.0, None) if compress else (3.0,):
                asked = json.dumps({"path": str(path), "slice_mm": slice_mm})
                call = [sys.executable, __file__, "--method", arguments.method, "--child", asked]
                done = subprocess.run(call, capture_output=True, text=True, check=True)
                found = json.loads(done.stdout.strip().splitlines()[-1])
                worst = max(worst, found["peak_gib"])
                kind = "compressed" if compress else "plain"
                times = f"{found['read_s']:7.1f} {found['infer_s']:8.1f} {found['cpu_s']:6.0f}"
                memory = f"{found['read_gib']:9.2f} {found['peak_gib']:8.2f}"
                print(f"{kind:12}{slice_mm!s:>8} {found['slices']:6} {times} {memory}", flush=True)
    worst_gb = worst * GIB / 1e9
    print(f"most memory: {worst_gb:.2f} GB, {'within' if worst_gb <= LIMIT_GB else 'MORE THAN'} {LIMIT_GB:g} GB")


if __name__ == "__main__":
    main()
