"""A long training neither grows nor slows down; the short form only sees that files and threads stay."""

import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.slow]


@pytest.mark.promise(
    7, "300 tiny epochs: memory grows by less than 1 MB per 100 epochs, files and threads not at all, time by < 5 %"
)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory and files from /proc")
def test_many_epochs_leave_memory_files_threads_and_time_as_they_are(tmp_path, monkeypatch, count, record, repository):
    monkeypatch.syspath_prepend(repository / "benchmarks")
    soak = sys.modules.get("soak") or __import__("soak")
    epochs = count(20, 300)
    found = soak.soak(epochs, tmp_path / "run")
    record(str(found))
    assert found.epochs == epochs
    assert (found.files, found.threads) == (0, 0)
    if epochs == 300:
        assert found.steady, found


def test_what_grows_is_seen(monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / "benchmarks")
    soak = sys.modules.get("soak") or __import__("soak")
    seconds = [0.0]
    for number in range(100):
        seconds.append(seconds[-1] + 1 + number / 1000)
    found = soak.summarize([soak.Epoch(50 + 0.02 * n, 9 + n // 50, 3, seconds[n]) for n in range(100)], 20)
    assert found.memory_mb == pytest.approx(2.0)
    assert (found.files, found.threads) == (1, 0)
    assert found.drift == pytest.approx(0.053, abs=0.002)  # 52 of 1000 in the middle thirds' medians
    assert not found.steady
    assert str(found).startswith("100 epochs: memory +2.00 MB per 100 epochs, files +1, threads +0")
