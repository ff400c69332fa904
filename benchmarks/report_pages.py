"""Promise: the report of 100 patients with organs and dose takes a minute.

    OMP_NUM_THREADS=1 python benchmarks/report_pages.py [--patients 100] [--workers 2] [--gamma] [--profile] [--out DIR]

Patients are those of OpenKBP's small sample again and again, each as a case of its own; "predicted" are their organs
moved by one voxel and their doses with noise of 1 Gy. The page of the cohort, a page of each patient and the tables are
made as after the bundle's evaluation, pages of patients by ``--workers`` processes. Seconds are the processor's of all
processes, and the clock's.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import platform
import pstats
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from monai.bundle import ConfigParser

from ctan_monai.data.cases.cache import read_case_file, write_case
from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.engines.predictions.predictions_index import PredictedCase, write_index
from ctan_monai.report import report_predictions
from ctan_monai.tasks import Regression, Segmentation

BUNDLE = Path(__file__).parents[1] / "bundles" / "openkbp"
TARGETS = ("PTV56", "PTV63", "PTV70")


def sample_cases(folder: Path) -> tuple[list[Path], list[str]]:
    """Read the sample's patients into a cache; return their files, and the organs' names."""
    config = ConfigParser()
    config.read_config(str(BUNDLE / "configs" / "train.yaml"))
    config.update({"bundle_root": str(BUNDLE), "cache_dir": str(folder), "output_dir": str(folder / "run")})
    lists = config.get_parsed_content("datalists")
    organs = next(task for task in config.get_parsed_content("tasks") if isinstance(task, Segmentation))
    return sorted({Path(item["file"]) for items in lists.values() for item in items}), list(organs.labels)


def write_predictions(folder: Path, patients: int) -> None:
    """Write cases, and what predicting them leaves."""
    files, organs = sample_cases(folder / "cache")
    random, entries = np.random.default_rng(0), []
    for number in range(patients):
        case = replace(read_case_file(files[number % len(files)]), case=f"patient_{number + 1}")
        source, written = folder / "cases" / f"{case.case}.case", {}
        source.parent.mkdir(exist_ok=True)
        write_case(source, case)
        for name in organs:
            if name in case.masks:
                written[name] = folder / "predictions" / case.case / f"{name}.nii.gz"
                write_nifti(np.roll(case.masks[name], 1, 0).astype(np.uint8), case.affine_ras, written[name])
        dose = np.asarray(case.volumes["dose"], np.float32)
        noisy = np.where(dose > 0, np.maximum(dose + random.standard_normal(dose.shape, np.float32), 0), 0)
        path = folder / "predictions" / case.case / "dose.nii.gz"
        write_nifti(noisy.astype(np.float32), case.affine_ras, path)
        entries.append(PredictedCase(case.case, source, {"oar": written, "dose": {"dose": path}}))
    tasks = (Segmentation("oar", organs, overlapping=True), Regression("dose", "Gy", 70.0, region="mask"))
    write_index(folder / "predictions", tasks, entries)


def processor_s() -> float:
    """Return the processor's seconds of this process and of those that it waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--gamma", action="store_true", help="gamma pass rates too")
    parser.add_argument("--profile", action="store_true", help="print what takes the time (which doubles it)")
    parser.add_argument("--out", type=Path, help="keep the pages here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        write_predictions(folder, options.patients)
        profile = cProfile.Profile()
        clock, busy = time.perf_counter(), processor_s()
        if options.profile:
            profile.enable()
        report_predictions(folder / "predictions", gamma=options.gamma, workers=options.workers, targets=TARGETS)
        profile.disable()
        clock, busy = time.perf_counter() - clock, processor_s() - busy
        pages = list((folder / "predictions").rglob("*.html"))
        megabytes = sum(page.stat().st_size for page in pages) / 1e6
    print(f"{platform.machine()}, {os.environ.get('OMP_NUM_THREADS', 'all')} threads, {os.cpu_count()} cores")
    print(f"{options.patients} patients, {options.workers} workers: {clock:.1f} s, {busy:.1f} s of the processor")
    print(f"{busy / options.patients:.2f} s a patient; {len(pages)} pages, {megabytes:.0f} MB")
    if options.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats("ctan_monai", 40)


if __name__ == "__main__":
    main()
