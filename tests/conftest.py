"""What all tests share: where the repository is, golden data, and rules about randomness and devices."""

import ctypes
import gc
import os
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import settings

# Tests are small: threads gain little, and on cores that others use too they wait for each other, which made some
# take five times as long; and a process that is forked from one with several hangs in OpenMP. Set before anything
# imports torch, and inherited by the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

REPOSITORY = Path(__file__).resolve().parents[1]
pytest_plugins = ["promises"]

settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("repeatable")


def pytest_report_header():
    """Say on what processor the suite runs: kernels, and so faults and last bits, differ between them."""
    from ctan_monai.engines.runs.versions import versions

    wanted = ("torch", "cpu", "cpu_features", "cpu_limits", "onednn", "threads", "gpu")
    found = versions()
    return "machine: " + ", ".join(f"{name} {found[name] or 'none'}" for name in wanted)


def pytest_ignore_collect(collection_path, config):
    """Import under ``-m gpu`` files with such tests only: a machine with a GPU needs what training needs, no more."""
    if config.getoption("markexpr") != "gpu" or collection_path == REPOSITORY:
        return None
    files = collection_path.rglob("test_*.py") if collection_path.is_dir() else [collection_path]
    return None if any("mark.gpu" in file.read_text("utf-8") for file in files) else True


def pytest_configure(config):
    """Let pytest-xdist, where it is installed, hand out files in the order of `pytest_collection_modifyitems`."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(config, items):
    """Begin with files of slow tests where workers share them; skip what needs a CUDA device where there is none."""
    if hasattr(config, "workerinput"):  # of pytest-xdist: a long file at the end is one worker's, and the others wait
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu:
        import torch

        if not torch.cuda.is_available():
            for item in on_gpu:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


_KEPT_MIB = 512
_resident_mib = 0


def pytest_runtest_logfinish():
    """Give freed memory back to the system: glibc keeps it, and a process that ran half of all tests had 9 GB."""
    global _resident_mib
    if sys.platform == "linux" and _resident() > _resident_mib + _KEPT_MIB:
        gc.collect()
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # not in musl
            libc.malloc_trim(0)
        _resident_mib = _resident()


def _resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


@pytest.fixture(autouse=True)
def closed_log():
    """Close the log that a run in this process left open: its folder goes with the test."""
    yield
    if module := sys.modules.get("ctan_monai.engines.runs.run_folder"):
        module.end_log()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def golden(tmp_path_factory) -> Path:
    """The patient-free OpenKBP set with the official evaluator's numbers, unpacked."""
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(REPOSITORY / "tests" / "golden" / "openkbp" / "synthetic.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "synthetic"
