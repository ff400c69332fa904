"""Damaged files of every format that is read: refused by name or harmless, never a crash, a hang or a traceback."""

import json
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import mutant_reader
import pytest
from mutants import LENGTH_CHANGES

pytestmark = pytest.mark.faults
HANG_S = 60.0
CHECKED_BY_THEMSELVES = {"nii.gz", "PNG", "PNG mask", "prepared cases", "prepared NIfTI"}
SHOW_NO_LENGTH = {"JPEG", "OpenKBP CSV"}  # of a stream or a table of any length a part may be missing


def lines_of(process):
    """Yield the lines that a process writes, None if it says nothing for too long."""
    while True:
        ready = select.select([process.stdout], [], [], HANG_S)[0]
        if not ready:
            yield None
            return
        line = process.stdout.readline()
        if not line:
            return
        yield json.loads(line)


def run(kind, folder, count):
    """Read mutants in processes with limits of memory and time; return an outcome for each."""
    outcomes, number, place = [], 0, 0
    while number < count:
        place += 1
        numbers = [str(number), str(count - number)]
        command = [sys.executable, mutant_reader.__file__, kind, str(folder / str(place)), *numbers]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            begun, how = None, "crash"
            for line in lines_of(process):
                if line is None:
                    how = "hang"
                    break
                begun = line
                if "outcome" in line:
                    outcomes.append(line)
            process.kill()
            tail = process.stderr.read()[-2000:]
        assert begun is not None, tail
        if "outcome" not in begun:
            outcomes.append({**begun, "outcome": how, "detail": tail})
        number = begun["number"] + 1
    return outcomes


@pytest.mark.promise(
    3, "damaged files of each format are refused with file and case, or read as before; no crash, hang or traceback"
)
@pytest.mark.parametrize("kind", mutant_reader.FORMATS)
def test_damaged_files_are_refused_by_name_or_do_no_harm(tmp_path, kind, count, record):
    total, start = count(14, 210), time.monotonic()
    outcomes = run(kind, tmp_path, total)
    counts = Counter(each["outcome"] for each in outcomes)
    silent = [each for each in outcomes if each["outcome"] == "changed"]
    betrayed = f"{counts['refused']} refused, {counts['same']} read as before"
    record(f"{kind}: of {total} {betrayed}, {len(silent)} read with other values that nothing in the file betrays")
    assert len(outcomes) == total
    assert [each for each in outcomes if each["outcome"] not in ("refused", "same", "changed")] == []
    assert kind not in CHECKED_BY_THEMSELVES or silent == []
    assert kind in SHOW_NO_LENGTH or [each for each in silent if each["damage"] in LENGTH_CHANGES] == []
    assert counts["refused"] > total // 5, "the damages do nothing"
    assert time.monotonic() - start < 600


def test_the_damages_are_always_the_same_and_cover_the_whole_file():
    from mutants import KINDS, mutate

    content = bytes(range(256)) * 8
    found = [mutate(content, number) for number in range(60)]
    assert found == [mutate(content, number) for number in range(60)]
    assert {name for name, _ in found} == {kind.__name__ for kind in KINDS}
    assert all(damaged != content for _, damaged in found)
    assert any(damaged[:100] == content[:100] for _, damaged in found)


def test_a_reader_that_crashes_hangs_or_takes_too_much_memory_is_caught(tmp_path, monkeypatch):
    script = tmp_path / "bad_reader.py"
    helpers = Path(mutant_reader.__file__).parent
    script.write_text(
        "import os, sys, time\n"
        f"sys.path.insert(0, {str(helpers)!r})\n"
        "import mutant_reader as m\n"
        "class Bad(m.Nifti):\n"
        "    def read(self, folder):\n"
        "        self.calls = getattr(self, 'calls', 0) + 1\n"
        "        if self.calls == 2: os.abort()\n"
        "        return super().read(folder)\n"
        "class Slow(m.Nifti):\n"
        "    def read(self, folder):\n"
        "        self.calls = getattr(self, 'calls', 0) + 1\n"
        "        if self.calls == 2: time.sleep(99)\n"
        "        return super().read(folder)\n"
        "class Greedy(m.Nifti):\n"
        "    def read(self, folder):\n"
        "        self.calls = getattr(self, 'calls', 0) + 1\n"
        "        if self.calls == 2: bytearray(4 << 30)\n"
        "        return super().read(folder)\n"
        "m.FORMATS.update(Bad=Bad(), Slow=Slow(), Greedy=Greedy())\n"
        "m.main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))\n"
    )
    monkeypatch.setattr(mutant_reader, "__file__", str(script))
    monkeypatch.setattr(sys.modules[__name__], "HANG_S", 15.0)
    for kind, outcome in (("Bad", "crash"), ("Slow", "hang"), ("Greedy", "traceback")):
        assert [each["outcome"] for each in run(kind, tmp_path / kind, 1)] == [outcome]
