"""Torch files that are never wrong in silence and never run what they contain."""

import hashlib
import os
import pickle
import random
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from mutants import one_bit, truncated
from run_kit import same

from ctan_monai.engines.runs.torch_file import load_checked, plain, save_atomic
from ctan_monai.errors import CheckpointError

STATE = {
    "weights": {"a": torch.arange(300, dtype=torch.float32), "b": torch.tensor([True, False])},
    "numbers": [1, 0.1, True, None, "text", (2, 3.5)],
    0: {"step": torch.tensor(4.0)},
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "last.pt"
    save_atomic(STATE, path)
    return path


def test_what_is_saved_comes_back_to_the_bit(file):
    assert same(load_checked(file), STATE) is None


def test_plain_torch_reads_the_file_too(file):
    assert same(torch.load(file, weights_only=True), STATE) is None
    assert same(torch.load(file, weights_only=True, mmap=True), STATE) is None


def test_the_checksum_is_the_sha256_of_what_torch_wrote(file):
    comment = zipfile.ZipFile(file).comment
    torch_bytes = file.read_bytes()[: -len(comment) - 2] + b"\0\0"
    assert comment == b"ctan-monai-1 sha256=" + hashlib.sha256(torch_bytes).hexdigest().encode()


@pytest.mark.promise(2, "a truncated or bit-flipped checkpoint is refused by name, never loaded as something else")
def test_every_damaged_file_is_refused_by_name(file, record):
    intact, draw = file.read_bytes(), random.Random(0)  # noqa: S311
    for number in range(200):
        file.write_bytes((one_bit if number % 2 else truncated)(intact, draw))
        with pytest.raises(CheckpointError, match=r"last\.pt: .*Remedy"):
            load_checked(file)
    record("200 of 200 damaged files")


def test_the_checksum_itself_is_covered_too(file):
    intact = file.read_bytes()
    for bit in range(8 * (len(intact) - 90), 8 * len(intact), 5):
        damaged = bytearray(intact)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load_checked(file)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"case,dose\npt_1,3\n", pickle.dumps({"a": 1})])
def test_a_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    for needs_checksum in (True, False):
        with pytest.raises(CheckpointError, match=r"model\.pt"):
            load_checked(tmp_path / "model.pt", needs_checksum)


def test_a_torch_file_of_another_program_is_read_where_no_checksum_is_needed_but_checked_by_its_crc(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(STATE, path)
    assert same(load_checked(path, needs_checksum=False), STATE) is None
    with pytest.raises(CheckpointError, match="no checksum"):
        load_checked(path)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(STATE["weights"]["a"].numpy().tobytes()) + 40] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="changed or damaged"):
        load_checked(path, needs_checksum=False)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(CheckpointError, match=r"no such file.*--output_dir"):
        load_checked(tmp_path / "last.pt")


class Reduces:
    """Unpickles to a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "attack",
    [
        lambda canary: Reduces(os.system, f"touch {canary}"),
        lambda canary: Reduces(open, str(canary), "w"),
        lambda canary: Reduces(eval, f"open({str(canary)!r}, 'w')"),
        lambda canary: Reduces(exec, f"open({str(canary)!r}, 'w')"),
        lambda canary: Reduces(os.mkdir, str(canary)),
        lambda canary: Reduces(getattr, Reduces(__import__, "os"), "system"),
        lambda canary: {"a": [torch.ones(1), Reduces(os.mkdir, str(canary))]},
        lambda canary: OrderedDict(a=Reduces(os.mkdir, str(canary))),
        lambda canary: Reduces(torch.load, str(canary)),
        lambda canary: Reduces(__import__, "antigravity"),
        lambda canary: Reduces(map, os.mkdir, [str(canary)]),
        lambda canary: Reduces(np.save, str(canary), [1]),
    ],
)
@pytest.mark.promise(2, "a malicious pickle never runs, even with a right checksum")
def test_a_malicious_file_never_runs_even_with_a_right_checksum(tmp_path, monkeypatch, attack):
    monkeypatch.setattr("ctan_monai.engines.runs.torch_file.plain", lambda value: value)
    canary, path = tmp_path / "canary", tmp_path / "last.pt"
    save_atomic(attack(canary), path)
    for needs_checksum in (True, False):
        with pytest.raises(CheckpointError, match="cannot be read as plain tensors"):
            load_checked(path, needs_checksum)
    assert sorted(os.listdir(tmp_path)) == ["last.pt"]


@pytest.mark.promise(2, "a limit on a file's size at every 5 % of a save: an error, the old file loads, no debris")
@pytest.mark.faults
def test_a_full_disk_at_any_byte_keeps_the_old_file_and_leaves_no_debris(file):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = 4 * 50_000
    for percent in range(0, 100, 5):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size * percent // 100, limits[1]))
        try:
            with pytest.raises(CheckpointError, match=r"last\.pt: it could not be written"):
                save_atomic({**STATE, "more": torch.zeros(50_000)}, file)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert os.listdir(file.parent) == ["last.pt"]
        assert same(load_checked(file), STATE) is None


def test_states_of_numpy_and_of_subclasses_become_plain():
    image = MetaTensor(torch.ones(2), meta={"filename": "patient.nii"})
    found = plain({"score": np.float64(0.5), "rows": np.eye(2), "image": image, "milestones": Counter({3: 2})})
    assert type(found["score"]) is float
    assert torch.equal(found["rows"], torch.eye(2, dtype=torch.float64))
    assert type(found["image"]) is torch.Tensor
    assert found["milestones"] == Counter({3: 2})


def test_what_could_not_be_loaded_again_is_refused_when_it_is_saved(tmp_path):
    with pytest.raises(TypeError, match=r"state\.loss\[1\]\.fn is a function"):
        save_atomic({"loss": [1, {"fn": same}]}, tmp_path / "last.pt")
    assert os.listdir(tmp_path) == []
