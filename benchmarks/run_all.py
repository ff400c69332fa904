"""Run the benchmarks that need no other project's code and no data but the samples, in their short forms.

    python benchmarks/run_all.py [--out benchmark-results] [--only step_time,growth] [--list]

One after another, with one thread; what each prints goes to the console and to ``<out>/<name>.txt``, plots beside it.
Long forms, peers and the last figures are in benchmarks/README.md. The exit code is 1 if one of them failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "step_time": ["step_time.py", "--rounds", "2", "--batch", "4", "--no-memory", "--precision", "fp32,bf16"],
    "filter_groups": ["filter_groups.py", "--rounds", "3"],
    "swin_time": ["swin_time.py", "--rounds", "3", "--batch", "1"],
    "weighting_time": ["weighting_time.py", "--rounds", "2", "--methods", "ctan"],
    "data_path": ["data_path.py", "--samples", "32", "--rounds", "3"],
    "epoch_time": ["epoch_time.py", "--bundles", "openkbp,ham10000", "--steps", "2"],
    "decoder_share": ["decoder_share.py", "--bundles", "openkbp", "--joins", "project", "--seeds", "2"],
    "export_parity": ["export_parity.py", "--methods", "ctan"],
    "prepare_dicom": ["prepare_dicom.py", "--patients", "6"],
    "report_pages": ["report_pages.py", "--patients", "10"],
    "soak": ["soak.py", "--epochs", "30"],
    "verdict_coverage": ["verdict_coverage.py", "--trials", "5000"],
    "contour_masks": ["contour_masks.py", "--patients", "2", "--rounds", "2"],
    "growth": ["growth.py", "--rounds", "1", "--out", "{out}"],
}


def run(name: str, out: Path) -> tuple[int, float]:
    """Run one, and return its exit code and seconds."""
    script, *rest = (part.replace("{out}", str(out)) for part in COMMANDS[name])
    command = [sys.executable, str(ROOT / "benchmarks" / script), *rest]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "tests/helpers:tests/networks"}  # two need them
    began = time.monotonic()
    print(f"\n== python benchmarks/{script} {' '.join(rest)}", flush=True)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    (out / f"{name}.txt").write_text(done.stdout, encoding="utf-8")
    print(done.stdout.rstrip())
    if done.returncode:
        print(done.stderr[-4000:])
    print(f"-- {seconds:.0f} s, exit code {done.returncode}", flush=True)
    return done.returncode, seconds


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--only", default=",".join(COMMANDS), help="names, separated by commas")
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := sorted(set(chosen) - set(COMMANDS)):
        parser.error(f"--only: {', '.join(unknown)} is unknown; there are {', '.join(COMMANDS)}")
    if options.list:
        print("\n".join(f"python benchmarks/{' '.join(COMMANDS[name])}" for name in chosen))
        return
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    found = {name: run(name, out) for name in chosen}
    failed = [name for name, (code, _) in found.items() if code]
    used = os.times()
    minutes = sum(seconds for _, seconds in found.values()) / 60
    busy = (used.children_user + used.children_system) / 60
    print(f"\n{len(found)} benchmarks in {minutes:.1f} min, {busy:.1f} of the processor; results are in {options.out}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
