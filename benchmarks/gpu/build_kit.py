"""Build a folder with everything that a machine with a GPU and no network needs to test, time and train.

    python benchmarks/gpu/build_kit.py OUT [--openkbp provided-data | --cases DIR] [--ham10000 DIR] [--no-wheels]

OUT gets wheels.tar, openkbp-1.tar ..., ham10000-1.tar ... and SHA256SUMS, each file below ``--part-mib``; the parts may
be taken there one after the other. Wheels are those that a machine with torch, numpy, pandas, scipy, matplotlib,
pillow, tensorboard, pytest and rich lacks, in the versions that are installed here, for Linux x86_64; neither ITK nor
SimpleITK is among them: training, evaluation and the tests for a GPU from case files need neither.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

from ctan_monai.data.cases.file_write import write_case
from ctan_monai.data.datasets.openkbp.reader import find_patients, read_case

PACKAGES = (
    *("monai", "pytorch-ignite", "nibabel", "pydicom", "fire", "termcolor", "contourpy", "typer", "safetensors"),
    *("blosc2", "ndindex", "numexpr", "pydantic", "pydantic-core", "annotated-types", "typing-inspection"),
    *("hypothesis", "sortedcontainers", "pytest-timeout"),
)
GLIBC = ("2_28", "2_27", "2_24", "2_17", "2014")  # pip matches each tag to the letter
_RESERVE = 20480  # bytes that the end of an archive needs


def download_wheels(out: Path, python: str) -> Path:
    """Download the wheels and put them into one archive."""
    platforms = [f"--platform=manylinux{'' if tag == '2014' else '_'}{tag}_x86_64" for tag in GLIBC]
    wanted = [f"{name}=={version(name)}" for name in PACKAGES]
    options = ["-q", "--no-deps", "--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    folder = out / "wheels"
    subprocess.run([sys.executable, "-m", "pip", "download", *options, *platforms, "-d", folder, *wanted], check=True)
    archive = out / "wheels.tar"
    pack(archive, [(path, f"wheels/{path.name}") for path in sorted(folder.iterdir())])
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    return archive


def write_cases(openkbp: Path, folder: Path) -> None:
    """Read OpenKBP's CSV files once and write them as the package's case files."""
    jobs = [
        (patient, folder / split / f"{patient.name}.case")
        for split, patients in find_patients(openkbp).items()
        for patient in patients
    ]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_write_one, jobs))


def _write_one(job: tuple[Path, Path]) -> None:
    source, path = job
    path.parent.mkdir(parents=True, exist_ok=True)
    write_case(path, read_case(source), fingerprint="OpenKBP")


def pack(archive: Path, files: Iterable[tuple[Path, str]]) -> None:
    """Write an uncompressed archive that says nothing about this machine or its user."""
    with tarfile.open(archive, "w") as tar:
        for path, name in files:
            entry = tarfile.TarInfo(name)
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(entry, file)


def split(files: Iterable[tuple[Path, str]], limit: int) -> Iterator[list[tuple[Path, str]]]:
    """Group whole files so that the archive of each group stays below a limit in bytes."""
    group: list[tuple[Path, str]] = []
    size = 0
    for path, name in files:
        need = 1024 + -(-path.stat().st_size // 512) * 512
        if group and size + need > limit - _RESERVE:
            yield group
            group, size = [], 0
        group.append((path, name))
        size += need
    if group:
        yield group


def pack_parts(out: Path, name: str, files: list[tuple[Path, str]], limit: int) -> list[Path]:
    """Pack files into ``name-1.tar``, ``name-2.tar`` ..., each of which can be unpacked alone."""
    made = []
    for number, group in enumerate(split(files, limit), 1):
        made.append(out / f"{name}-{number}.tar")
        pack(made[-1], group)
    return made


def main() -> None:
    """Build the kit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--openkbp", type=Path, help="OpenKBP's provided-data")
    parser.add_argument("--cases", type=Path, help="case files instead: DIR/{train,validation,test}/pt_N.case")
    parser.add_argument("--ham10000", type=Path, help="folder with images/, masks/, HAM10000_metadata.csv")
    parser.add_argument("--no-wheels", action="store_true")
    parser.add_argument("--python", default="3.12", help="of the machine with the GPU")
    parser.add_argument("--part-mib", type=int, default=46)
    options = parser.parse_args()
    options.out.mkdir(parents=True)  # an old kit would be mixed with the new one
    limit = options.part_mib << 20

    made = [] if options.no_wheels else [download_wheels(options.out, options.python)]
    cases = options.cases
    if options.openkbp:
        cases = options.out / "cases"
        write_cases(options.openkbp, cases)
    if cases:
        order = [path for part in ("validation", "train", "test") for path in sorted((cases / part).glob("*.case"))]
        made += pack_parts(options.out, "openkbp", [(p, f"openkbp/{p.relative_to(cases)}") for p in order], limit)
    if options.openkbp:
        for path in sorted(cases.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        cases.rmdir()
    if root := options.ham10000:
        found = [root / "HAM10000_metadata.csv", *sorted(root.glob("masks/*")), *sorted(root.glob("images/*"))]
        made += pack_parts(options.out, "ham10000", [(p, f"ham10000/{p.relative_to(root)}") for p in found], limit)
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made)
    (options.out / "SHA256SUMS").write_text(sums)
    for path in made:
        print(f"{path.stat().st_size / 2**20:8.1f} MiB  {path.name}")
    if too_large := [path.name for path in made if path.stat().st_size > limit]:
        sys.exit(f"over {options.part_mib} MiB: {', '.join(too_large)}")


if __name__ == "__main__":
    main()
