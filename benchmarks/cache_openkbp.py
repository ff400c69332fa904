"""Promise: a cached OpenKBP patient loads at least ten times faster than the official files, in under 1 MB.

    OMP_NUM_THREADS=1 python benchmarks/cache_openkbp.py --dataset_dir path/to/open-kbp

Every way reads the same patients in the same run: the official loader's way (pandas, one CSV file after another,
scattered into float64 tensors with a channel per structure), the same into one array per file, npz, NIfTI, and this
package's case files, whole and slice by slice. What comes out is compared bit for bit. Times are CPU milliseconds per
patient, the best of ``--repeats``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from ctan_monai.data.cases.cache import check_case_file, read_case_file, read_slice, write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.openkbp.reader import OARS, PTVS, find_patients, read_case

Arrays = dict[str, np.ndarray]
SHAPE = (128, 128, 128)
STRUCTURES = (*OARS, *PTVS)


def dense_way(folder: Path) -> Arrays:
    """Read each file with pandas and scatter it into a dense array of its own."""
    arrays: Arrays = {}
    for path in folder.glob("*.csv"):
        if path.stem == "voxel_dimensions":
            continue
        table = pd.read_csv(path, index_col=0)
        values = 1 if table.isnull().to_numpy().any() else table["data"].to_numpy()
        arrays[path.stem] = np.zeros(SHAPE)
        np.put(arrays[path.stem], table.index.to_numpy(), values)
    return arrays


def official_way(folder: Path) -> Arrays:
    """Read a patient into what the challenge's loader hands out: float64, channels last, in a batch of one."""
    tables = {path.stem: pd.read_csv(path, index_col=0) for path in folder.glob("*.csv") if "voxel" not in path.stem}
    shaped = {name: np.zeros((*SHAPE, 1)) for name in ("ct", "dose", "possible_dose_mask")}
    for name, array in shaped.items():
        table = tables[name]
        np.put(array, table.index.to_numpy(), 1 if table.isnull().to_numpy().any() else table["data"].to_numpy())
    shaped["structure_masks"] = np.zeros((*SHAPE, len(STRUCTURES)))
    for number, name in enumerate(STRUCTURES):
        if name in tables:
            np.put(shaped["structure_masks"], len(STRUCTURES) * tables[name].index.to_numpy() + number, 1)
    batch = {name: np.zeros((1, *array.shape)) for name, array in shaped.items()}
    for name, array in shaped.items():
        batch[name][0] = array
    return batch


def arrays_of(case: Case) -> Arrays:
    """Return a case's arrays under the names and in the terms of the official files."""
    named = {"ct": case.volumes["ct"].astype(np.float64) + 1024, "dose": case.volumes["dose"]}
    masks = {"possible_dose_mask" if name == "dose_region" else name: mask for name, mask in case.masks.items()}
    return {**named, **masks}


def equal(case: Case, dense: Arrays) -> bool:
    """Compare every array with what pandas read, the dose as float32, without any tolerance."""
    mine = arrays_of(case)
    return set(mine) == set(dense) and all(
        np.array_equal(mine[name], dense[name].astype(mine[name].dtype)) for name in mine
    )


def write_npz(path: Path, case: Case) -> None:
    """Write all arrays of a case into one compressed file."""
    np.savez_compressed(path, **case.volumes, **case.masks)


def read_npz(path: Path) -> Arrays:
    """Read all arrays."""
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def write_nifti(path: Path, case: Case) -> None:
    """Write CT, dose, and the masks as the bits of one image."""
    bits = sum((mask.astype(np.uint16) << bit for bit, mask in enumerate(case.masks.values())), np.zeros(SHAPE, "u2"))
    for name, array in {**case.volumes, "bits": bits}.items():
        nib.save(nib.Nifti1Image(array, case.affine_ras), path / f"{name}.nii.gz")


def read_nifti(path: Path) -> Arrays:
    """Read CT and dose, and take the masks apart."""
    arrays = {file.name[:-7]: np.asarray(nib.load(file).dataobj) for file in path.glob("*.nii.gz")}
    bits = arrays.pop("bits")
    return {**arrays, **{str(bit): (bits & (1 << bit)) != 0 for bit in range(int(bits.max()).bit_length())}}


def cpu_ms(function: Callable[[], object], repeats: int) -> float:
    """Return the CPU time of the fastest of several calls."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def size_kb(path: Path) -> float:
    """Return the size of a file, or of the files in a folder."""
    files = [path] if path.is_file() else list(path.iterdir())
    return sum(file.stat().st_size for file in files) / 1000


def measure(folder: Path, scratch: Path, repeats: int) -> dict[str, tuple[float, float]]:
    """Return (ms, kB) of each way for one patient, and check that nothing is lost."""
    case, dense = read_case(folder), dense_way(folder)
    whole, packed, nifti = scratch / "a.case", scratch / "a.npz", scratch / "nifti"
    nifti.mkdir(exist_ok=True)
    write_case(whole, case)
    write_npz(packed, case)
    write_nifti(nifti, case)
    if not equal(case, dense) or not equal(read_case_file(whole), dense):
        sys.exit(f"{folder}: what was read differs from the official files")
    middle = SHAPE[-1] // 2
    return {
        "official way": (cpu_ms(lambda: official_way(folder), repeats), size_kb(folder)),
        "pandas, dense arrays": (cpu_ms(lambda: dense_way(folder), repeats), size_kb(folder)),
        "read_case (CSV, once)": (cpu_ms(lambda: read_case(folder), repeats), size_kb(folder)),
        "npz": (cpu_ms(lambda: read_npz(packed), repeats), size_kb(packed)),
        "nii.gz": (cpu_ms(lambda: read_nifti(nifti), repeats), size_kb(nifti)),
        "case file": (cpu_ms(lambda: read_case_file(whole), repeats), size_kb(whole)),
        "case file, checked only": (cpu_ms(lambda: check_case_file(whole), repeats), size_kb(whole)),
        "case file, one slice": (cpu_ms(lambda: read_slice(whole, middle), repeats), size_kb(whole)),
    }


def main() -> int:
    """Measure, print a table, and return 1 if the promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", required=True, help="folder with OpenKBP's provided-data")
    parser.add_argument("--patients", type=int, default=0, help="how many patients; all by default")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    folders = [folder for split in find_patients(options.dataset_dir).values() for folder in split]
    folders = folders[: options.patients or None]
    with tempfile.TemporaryDirectory() as scratch:
        rows = [measure(folder, Path(scratch), options.repeats) for folder in folders]
    print(f"{len(rows)} patients, equal in every bit; CPU ms and kB per patient: mean (largest)")
    means = {}
    for way in rows[0]:
        times, sizes = np.array([row[way] for row in rows]).T
        means[way] = times.mean()
        ratio = means["official way"] / means[way]
        print(
            f"{way:24} {times.mean():8.2f} ({times.max():6.1f}) ms {sizes.mean():8.0f} ({sizes.max():5.0f}) kB"
            f" {ratio:6.1f} x"
        )
    largest_kb = max(row["case file"][1] for row in rows)
    kept = means["official way"] >= 10 * means["case file"] and largest_kb <= 1000
    print("promise kept" if kept else "PROMISE BROKEN: 10 times faster than the official way, at most 1000 kB")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
