"""Question: could zarr 3 (sharding, crc32c) hold the cached cases instead of the case files written by hand?

    pip install "zarr>=3" && OMP_NUM_THREADS=1 python benchmarks/zarr_cases.py

The six real OpenKBP patients of the bundle's sample, as case files and as zarr stores: one zip file, or one folder, per
case; an array per volume and one for the masks as bits; one shard per array with chunks of eight slices, each with its
own crc32c; compressed as the case files are (blosc, zstd level 5, shuffle). Sizes are those of the files, times CPU
milliseconds per patient, the best of ``--repeats``. Damage: one byte at a random place of a copy is changed (seed 0);
it was found if reading the whole case raised an error, harmless if what was read is equal, else silent.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import zarr
from cache_openkbp import cpu_ms
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec

from ctan_monai.data.cases.cache import read_case_file, read_slice, write_case
from ctan_monai.data.cases.case import Case

SAMPLE = Path(__file__).resolve().parents[1] / "bundles" / "openkbp" / "sample"
Arrays = dict[str, np.ndarray]


def write_zarr(path: Path, case: Case) -> None:
    """Write a case; a folder where the name does not end in .zip."""
    store = zarr.storage.ZipStore(path, mode="w") if path.suffix == ".zip" else zarr.storage.LocalStore(path)
    words = np.zeros(case.shape, np.uint16)
    for bit, mask in enumerate(case.masks.values()):
        words |= mask.astype(np.uint16) << np.uint16(bit)
    root = zarr.create_group(store)
    root.attrs.update({"masks": list(case.masks), "affine_ras": case.affine_ras.tolist()})
    for name, array in {**case.volumes, "masks": words}.items():
        packed = BloscCodec(cname="zstd", clevel=5, shuffle="shuffle", typesize=array.dtype.itemsize)
        inner = [BytesCodec(), packed, Crc32cCodec()]
        shard = ShardingCodec(
            chunk_shape=(*case.shape[:2], 8), codecs=inner, index_codecs=[BytesCodec(), Crc32cCodec()]
        )
        made = zarr.create(array.shape, chunks=array.shape, dtype=array.dtype, store=store, path=name, codecs=[shard],
                           zarr_format=3, fill_value=array.flat[0].item())  # fmt: skip
        made[:] = array
    store.close()


def read_zarr(path: Path, index: int | slice = slice(None)) -> Arrays:
    """Read all arrays of a case, or one slice of them."""
    store = zarr.storage.ZipStore(path, mode="r") if path.suffix == ".zip" else zarr.storage.LocalStore(path)
    try:
        root = zarr.open_group(store, mode="r")
        found = {name: array[..., index] for name, array in root.arrays()}
        words = found.pop("masks")
        return {**found, **{name: (words & (1 << bit)) != 0 for bit, name in enumerate(root.attrs["masks"])}}
    finally:
        store.close()


def read_ours(path: Path) -> Arrays:
    """Read all arrays of a case file."""
    case = read_case_file(path)
    return {**case.volumes, **case.masks}


def files_of(path: Path) -> list[Path]:
    """List the files that a case consists of."""
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def is_equal(found: Arrays, expected: Arrays) -> bool:
    """Compare all arrays bit for bit, and their types."""
    same = set(found) == set(expected)
    return same and all(
        found[name].dtype == array.dtype and np.array_equal(found[name], array) for name, array in expected.items()
    )


def damage(path: Path, scratch: Path, read: Callable[[Path], Arrays], expected: Arrays, count: int) -> Counter[str]:
    """Change one byte of a copy, ``count`` times, and count what came of it."""
    random, met = np.random.default_rng(0), Counter[str]()
    sizes = [file.stat().st_size for file in files_of(path)]
    for _ in range(count):
        copy = scratch / f"copy{path.suffix}"
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, copy)
        place = int(random.integers(sum(sizes)))
        at = next(n for n in range(len(sizes)) if place < sum(sizes[: n + 1]))
        file = files_of(copy)[at]
        content = bytearray(file.read_bytes())
        content[place - sum(sizes[:at])] ^= int(random.integers(1, 256))
        file.write_bytes(content)
        try:
            met["harmless" if is_equal(read(copy), expected) else "silent"] += 1
        except Exception:  # zarr, zipfile and json have no common base
            met["found"] += 1
        shutil.rmtree(copy) if copy.is_dir() else copy.unlink()
    return met


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--damages", type=int, default=200, help="per patient")
    options = parser.parse_args()
    repeats = options.repeats
    warnings.filterwarnings("ignore", category=UserWarning)  # zarr writes the metadata of a zip twice
    rows: dict[str, list[tuple[float, ...]]] = {}
    damages: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for source in sorted(SAMPLE.rglob("*.case")):
            case = read_case_file(source)
            expected, middle = {**case.volumes, **case.masks}, case.shape[-1] // 2
            write_case(scratch / "a.case", case)
            write_zarr(scratch / "a.zip", case)
            write_zarr(scratch / "a", case)
            for name, file, read, one in (
                ("case file", scratch / "a.case", read_ours, read_slice),
                ("zarr, one zip file", scratch / "a.zip", read_zarr, read_zarr),
                ("zarr, a folder", scratch / "a", read_zarr, read_zarr),
            ):
                assert is_equal(read(file), expected)
                times = [cpu_ms(partial(read, file), repeats), cpu_ms(partial(one, file, middle), repeats)]
                sizes = [sum(each.stat().st_size for each in files_of(file)) / 1000, len(files_of(file))]
                rows.setdefault(name, []).append((*times, *sizes))
                met = damage(file, scratch, read, expected, options.damages)
                damages[name] = damages.get(name, Counter()) + met
            for file in (scratch / "a.case", scratch / "a.zip"):
                file.unlink()
            shutil.rmtree(scratch / "a")
    print(f"zarr {zarr.__version__}; means over {len(rows['case file'])} patients")
    for name, values in rows.items():
        whole, one, size, count = np.mean(values, axis=0)
        met = ", ".join(f"{damages[name][kind]} {kind}" for kind in ("found", "harmless", "silent"))
        print(f"{name:20} {size:6.0f} kB in {count:.0f} files, {whole:6.2f} ms, one slice {one:5.2f} ms; {met}")


if __name__ == "__main__":
    main()
