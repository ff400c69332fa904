"""Disks that are full, cannot be written or fail: an error, the previous checkpoint, and no debris."""

import os
import random
import subprocess

import pytest
import torch
from mutants import one_bit, truncated
from run_kit import Run, same

from ctan_monai.data.cases.cache import read_case_file, write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.engines.runs.resume import newest_checkpoint
from ctan_monai.engines.runs.torch_file import load_checked, save_atomic
from ctan_monai.errors import CheckpointError, DataError

pytestmark = pytest.mark.faults
PAGE = 4096
STEP = {"schedule": "step"}  # the same whatever the number of epochs that was asked for at first


def state(number):
    return {"number": number, "weights": torch.full((100_000,), float(number))}  # 400 kB


def fill_but(folder, free_bytes):
    """Fill a disk up to this many bytes."""
    filler = folder / "filler"
    filler.unlink(missing_ok=True)
    available = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, available - free_bytes))


@pytest.mark.promise(2, "a disk that is full at every 5 % of a save: an error, both checkpoints load, no debris")
def test_a_disk_that_fills_up_at_any_part_of_a_save(tmp_path, small_disk, record):
    save_atomic(state(0), tmp_path / "measure.pt")
    size = (tmp_path / "measure.pt").stat().st_size
    disk = small_disk(8 << 20)
    last, previous = disk / "last.pt", disk / "last.prev.pt"
    for number in (1, 2):
        save_atomic(state(number), last, previous)
    failed = 0
    for percent in range(0, 101, 5):
        fill_but(disk, size * percent // 100 // PAGE * PAGE)
        if percent < 100:
            with pytest.raises(CheckpointError, match=r"last\.pt: it could not be written \(No space left on device\)"):
                save_atomic(state(3), last, previous)
            failed += 1
        assert sorted(os.listdir(disk)) == ["filler", "last.prev.pt", "last.pt"]
        assert [load_checked(path)["number"] for path in (previous, last)] == [1, 2]
    (disk / "filler").unlink()
    save_atomic(state(3), last, previous)
    assert [load_checked(path)["number"] for path in (previous, last)] == [2, 3]
    record(f"{failed} of {failed} saves failed aloud, {2 * (failed + 1)} of {2 * (failed + 1)} checkpoints loaded")


@pytest.mark.promise(2, "a training whose disk fills up ends with an error, and goes on to the bit when there is space")
@pytest.mark.parametrize("every", [0, 1e-9], ids=["at once", "by a thread"])
def test_a_training_whose_disk_fills_up_goes_on_when_there_is_space(tmp_path, small_disk, every):
    disk = small_disk(4 << 20)
    Run(tmp_path / "whole", epochs=4, **STEP).go()
    Run(disk / "run", epochs=2, **STEP).go()
    fill_but(disk, PAGE)
    with pytest.raises((CheckpointError, OSError), match=r"could not be written|No space"):
        Run(disk / "run", epochs=4, resume=True, checkpoint_every=every, **STEP).go()
    assert newest_checkpoint(disk / "run")[1]["epoch"] == 2
    (disk / "filler").unlink()
    Run(disk / "run", epochs=4, resume=True, **STEP).go()
    networks = [load_checked(folder / "last.pt")["network"] for folder in (disk / "run", tmp_path / "whole")]
    assert same(*networks) is None
    assert sorted(os.listdir(disk / "run")) == sorted(os.listdir(tmp_path / "whole"))


@pytest.mark.promise(2, "a folder that became read-only: an error, both checkpoints load, no debris")
def test_a_disk_that_becomes_read_only(small_disk):
    disk = small_disk(4 << 20)
    for number in (1, 2):
        save_atomic(state(number), disk / "last.pt", disk / "last.prev.pt")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(CheckpointError, match=r"last\.pt: it could not be written \(Read-only file system\)"):
        save_atomic(state(3), disk / "last.pt", disk / "last.prev.pt")
    assert sorted(os.listdir(disk)) == ["last.prev.pt", "last.pt"]
    assert [load_checked(disk / name)["number"] for name in ("last.prev.pt", "last.pt")] == [1, 2]


@pytest.mark.promise(2, "a sync that fails during a training ends it with an error, and the run resumes to the bit")
@pytest.mark.parametrize("every", [0, 1e-9], ids=["at once", "by a thread"])
@pytest.mark.parametrize("call", range(6))
def test_a_sync_that_fails_ends_a_training_and_loses_nothing(tmp_path, monkeypatch, call, every):
    Run(tmp_path / "whole", epochs=3, **STEP).go()
    Run(tmp_path / "run", epochs=1, **STEP).go()
    real, calls = os.fsync, []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == call + 1:
            raise OSError(5, "Input/output error")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(CheckpointError, match=r"could not be written \(Input/output error\)"):
            Run(tmp_path / "run", epochs=3, resume=True, checkpoint_every=every, **STEP).go()
    assert newest_checkpoint(tmp_path / "run")[1]["epoch"] >= 1
    Run(tmp_path / "run", epochs=3, resume=True, checkpoint_every=every, **STEP).go()
    networks = [load_checked(tmp_path / name / "last.pt")["network"] for name in ("run", "whole")]
    assert same(*networks) is None


@pytest.mark.promise(2, "a damaged last.pt falls back to the checkpoint before, with a warning that names both")
def test_every_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, count, caplog, record):
    Run(tmp_path, epochs=2, **STEP).go()
    last, draw = tmp_path / "last.pt", random.Random(1)  # noqa: S311
    intact, before = last.read_bytes(), load_checked(tmp_path / "last.prev.pt")
    total = count(20, 200)
    for number in range(total):
        last.write_bytes((one_bit if number % 2 else truncated)(intact, draw))
        caplog.clear()
        path, found = newest_checkpoint(tmp_path)
        assert path.name == "last.prev.pt"
        assert same(found, before) is None
        assert f"{last}: " in caplog.text
        assert "Falling back to last.prev.pt" in caplog.text
    record(f"{total} of {total} damaged files")


@pytest.mark.promise(5, "a disk that is full at every 5 % of writing a case: an error, the old case, no debris")
def test_a_case_is_whole_or_the_old_one_on_a_disk_that_fills_up(small_disk):
    disk, random_state = small_disk(8 << 20), torch.Generator().manual_seed(0)
    hu = torch.randint(-1000, 2000, (64, 64, 40), generator=random_state).to(torch.int16).numpy()
    old = Case("a", {"ct": hu[..., :2]}, {}, torch.eye(4).numpy())
    new = Case("a", {"ct": hu}, {}, torch.eye(4).numpy())
    write_case(disk / "new.case", new)
    size = (disk / "new.case").stat().st_size
    (disk / "new.case").unlink()
    write_case(disk / "a.case", old)
    for percent in range(0, 100, 5):
        fill_but(disk, size * percent // 100 // PAGE * PAGE)
        with pytest.raises(DataError, match=r"a\.case: it cannot be written \(No space left on device\)"):
            write_case(disk / "a.case", new)
        assert sorted(os.listdir(disk)) == ["a.case", "filler"]
        assert read_case_file(disk / "a.case").shape == old.shape
