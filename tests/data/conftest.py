"""Cases to test the data layer with: random ones, the committed sample, the golden set and real data outside."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ctan_monai.data.cases.case import Case

_REPOSITORY = Path(__file__).parents[2]

MakeCase = Callable[..., Case]
SameCase = Callable[[Case, Case], None]
WritePatient = Callable[..., Path]


@pytest.fixture(scope="session")
def sample_dir() -> Path:
    return _REPOSITORY / "bundles" / "openkbp" / "sample"


@pytest.fixture(scope="session")
def real_openkbp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw files of six real patients; skips where they are not on this machine."""
    shared = Path(os.environ.get("CTAN_TEST_DATA", _REPOSITORY.parent / "shared" / "data"))
    archives = sorted((shared / "openkbp").glob("*validation*.tar.xz"))
    if not archives:
        pytest.skip(f"no real OpenKBP data in {shared}; set CTAN_TEST_DATA")
    folder = tmp_path_factory.mktemp("openkbp")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def make_case() -> MakeCase:
    """Make a case with a CT and a dose inside a box, and masks of which some overlap and the last is empty."""

    def make(shape: tuple[int, ...] = (9, 7, 21), masks: int = 3, seed: int = 0, case: str = "pt_1") -> Case:
        random = np.random.default_rng(seed)
        inside = np.zeros(shape, bool)
        inside[tuple(slice(side // 4, side // 4 + max(1, side // 2)) for side in shape)] = True
        ct_hu = np.where(inside, random.integers(-1000, 3000, shape), -1024).astype(np.int16)
        dose_gy = np.where(inside, random.integers(0, 70_000, shape) / 1000, 0).astype(np.float32)
        drawn = {f"m{number}": inside & (random.random(shape) < 0.3) for number in range(masks)}
        if drawn:
            drawn[f"m{masks - 1}"] = np.zeros(shape, bool)
        affine_ras = np.array([[0, -2.5, 0, 10], [-1.5, 0, 0, 20], [0, 0, -3.0, 30], [0, 0, 0, 1.0]])
        values = {"grade": 2, "risk": 0.1, "findings": [0.0, 1.0]}
        return Case(case, {"ct": ct_hu, "dose": dose_gy}, drawn, affine_ras, values, {"site": "neck", "n": [1, 2]})

    return make


@pytest.fixture(scope="session")
def same_case() -> SameCase:
    """Assert that two cases are equal in every bit."""

    def compare(found: Case, expected: Case) -> None:
        assert found.case == expected.case
        assert found.affine_ras.tobytes() == expected.affine_ras.tobytes()
        assert (found.values, found.meta) == (expected.values, expected.meta)
        for mine, theirs in ((found.volumes, expected.volumes), (found.masks, expected.masks)):
            assert list(mine) == list(theirs)
            for name, array in theirs.items():
                assert (mine[name].dtype, mine[name].shape) == (array.dtype, array.shape)
                assert mine[name].tobytes() == array.tobytes(), name

    return compare


@pytest.fixture
def dice():
    return lambda one, other: 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


@pytest.fixture
def write_patient(tmp_path: Path) -> WritePatient:
    """Write a small patient in OpenKBP's format; a keyword replaces a file's text, None leaves the file out."""
    good = {
        "ct": ",data\n100,1024.0\n101,2000.0\n5000,1.0\n",
        "dose": ",data\n100,70.125\n101,0.0\n",
        "possible_dose_mask": ",data\n100,\n101,\n102,\n",
        "Brainstem": ",data\n101,\n",
        "voxel_dimensions": "3.906\n3.906\n2.5\n",
    }

    def write(name: str = "pt_1", **files: str | None) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for file, text in {**good, **files}.items():
            if text is not None:
                (folder / f"{file}.csv").write_bytes(text.encode("latin-1"))
        return folder

    return write
