"""Promise: contours become masks in less time than by plastimatch and dcmrtstruct2nii, and nearer to the truth.

    OMP_NUM_THREADS=1 PYTHONPATH=tests/helpers python benchmarks/contour_masks.py [--patients 4] [--rounds 3]
        [--plastimatch plastimatch] [--dcmrtstruct2nii ENV/bin/dcmrtstruct2nii]

Synthetic patients as DICOM: a CT of 256 x 256 x 60 voxels of 1 x 1 x 3 mm and 12 ellipsoids, whose contours of 200
points are drawn in each slice, then in every third slice only. All ways read the same folders and write a file for each
structure; the truth is the ellipsoids' formula at the centers of the voxels of what they write. ``plastimatch`` is
Debian's package; dcmrtstruct2nii 5 needs an environment of its own (pip install dcmrtstruct2nii). Ways that are not
named are left out. Values are the processor's seconds of the commands, imports included, by patient: the smallest of
the rounds, which take turns.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from dicom_phantoms import Ellipsoid, Patient

STRUCTURES = 12
STRUCTURE_SET = "rtstruct.dcm"


def make_patient(number: int) -> Patient:
    """Draw a patient's ellipsoids, each within the CT."""
    random = np.random.default_rng(number)
    shapes = {}
    for each in range(STRUCTURES):
        center = tuple(float(value) for value in random.uniform([-60, -60, -40], [60, 60, 40]))
        axes = tuple(float(value) for value in random.uniform(8, 40, 3))
        shapes[f"Organ_{number}_{each:02d}"] = (Ellipsoid(center, axes),)
    return Patient(
        patient_id=f"SYN{number}",
        rows=256,
        columns=256,
        slices=60,
        pixel_mm=(1.0, 1.0),
        spacing_mm=3.0,
        structures=shapes,
    )


def write_patients(folder: Path, patients: Iterable[Patient], step: int) -> None:
    """Write each patient into a folder of its own, contours in every ``step``-th slice."""
    for patient in patients:
        planes = range(0, patient.slices, step)
        contours = {name: patient.outlines(shapes, planes) for name, shapes in patient.structures.items()}
        place = folder / patient.patient_id
        place.mkdir(parents=True)
        for number, each in enumerate([patient.rtstruct(contours), *patient.ct()]):
            each.save_as(place / (f"{number:03d}.dcm" if number else STRUCTURE_SET), enforce_file_format=True)


def run(*command: object) -> None:
    """Run a command quietly; its own words are shown if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def by_ours(source: Path, out: Path) -> None:
    """Convert by `ctan-monai prepare dicom`, all patients in one call."""
    options = ["--in", source, "--out", out, "--format", "nifti", "--need", "structures", "--workers", "0"]
    run(sys.executable, "-m", "ctan_monai", "prepare", "dicom", *options)


def by_plastimatch(program: str, source: Path, out: Path) -> None:
    """Convert by plastimatch, a call for each patient."""
    for folder in sorted(source.iterdir()):
        run(program, "convert", "--input", folder, "--output-prefix", out / folder.name, "--prefix-format", "nii.gz")


def by_dcmrtstruct2nii(program: str, source: Path, out: Path) -> None:
    """Convert by dcmrtstruct2nii, a call for each patient; the CT itself is not written."""
    for folder in sorted(source.iterdir()):
        run(program, "convert", "-r", folder / STRUCTURE_SET, "-d", folder, "-o", out / folder.name, "-c", "False")


def points(image: sitk.Image) -> np.ndarray[Any, Any]:
    """Return the LPS position in mm of every voxel, (*S, 3) as the image's array has its axes."""
    index = np.stack(np.indices(image.GetSize()[::-1])[::-1], -1)  # x, y, z
    matrix = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    found: np.ndarray[Any, Any] = index @ matrix.T + np.array(image.GetOrigin())
    return found


def agreement(patients: Iterable[Patient], out: Path) -> str:
    """Compare masks with the formula: mean and smallest Dice, mean error of volume, and how many were found."""
    dice, errors = [], []
    for patient in patients:
        for name, (shape,) in patient.structures.items():
            for path in out.rglob(f"*{name}.nii.gz"):
                image = sitk.ReadImage(str(path))
                mask, truth = sitk.GetArrayFromImage(image) > 0, shape.inside(points(image))
                dice.append(2 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth)))
                errors.append(100 * abs(np.count_nonzero(mask) / np.count_nonzero(truth) - 1))
    return f"{statistics.mean(dice):9.4f}{min(dice):9.4f}{statistics.mean(errors):9.2f}{len(dice):7}"


def children_s() -> float:
    """Return the processor's seconds of the processes that this one waited for."""
    used = os.times()
    return used.children_user + used.children_system


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plastimatch", help="the program")
    parser.add_argument("--dcmrtstruct2nii", help="the program in its own environment")
    options = parser.parse_args()
    ways: dict[str, Callable[[Path, Path], None]] = {"ctan_monai": by_ours}
    if options.plastimatch:
        ways["plastimatch"] = partial(by_plastimatch, options.plastimatch)
    if options.dcmrtstruct2nii:
        ways["dcmrtstruct2nii"] = partial(by_dcmrtstruct2nii, options.dcmrtstruct2nii)
    patients = [make_patient(number) for number in range(options.patients)]
    print(f"{platform.machine()}, {os.cpu_count()} cores, {options.patients} patients, {options.rounds} rounds")
    print(f"{'contours in':14}{'way':17}{'s/patient':>9}{'Dice':>9}{'lowest':>9}{'volume %':>9}{'masks':>7}")
    for step, where in ((1, "each slice"), (3, "every third")):
        with tempfile.TemporaryDirectory() as name:
            source = Path(name) / "in"
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            write_patients(source, patients, step)
            for turn in range(options.rounds):
                for way, convert in ways.items():
                    began = children_s()
                    convert(source, Path(name) / f"{way}-{turn}")
                    seconds[way].append((children_s() - began) / options.patients)
            for way, found in seconds.items():
                print(f"{where:14}{way:17}{min(found):9.2f}{agreement(patients, Path(name) / f'{way}-0')}", flush=True)


if __name__ == "__main__":
    main()
