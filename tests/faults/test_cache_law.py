"""Whatever happens to a cache of cases, what it gives is what its source gives."""

import os
import random
import signal
import time

import numpy as np
import pytest
from forked import processes
from mutants import mutate

from ctan_monai.data.cases.cache import CaseCache, read_case_file
from ctan_monai.data.cases.case import Case
from ctan_monai.errors import DataError

pytestmark = pytest.mark.faults


class Reader:
    """Reads a text file with a number into a case; an option scales it."""

    def __init__(self, scale=1, pause_s=0.0):
        self.scale, self.pause_s = scale, pause_s

    def __call__(self, path):
        time.sleep(self.pause_s)
        number = int(path.read_text())
        ct = np.random.default_rng(number).integers(-1000, 1000, (12, 11, 10)).astype(np.int16)
        ct[0, 0, 0] = self.scale * number
        return Case(path.stem, {"ct": ct}, {"m": ct > 0}, np.diag([1.0, 2.0, 3.0, 1.0]), {"y": number})


def cache_of(folder, options):
    return CaseCache(folder, Reader(**options), str(sorted(options.items())))


def same(one, other):
    return (
        one.values == other.values
        and np.array_equal(one.volumes["ct"], other.volumes["ct"])
        and np.array_equal(one.masks["m"], other.masks["m"])
        and np.array_equal(one.affine_ras, other.affine_ras)
    )


def damage(path, number):
    if path.exists():
        path.write_bytes(mutate(path.read_bytes(), number)[1])


@pytest.mark.promise(5, "after any damages, changed sources and options, deletions the cache equals its source")
def test_the_cache_equals_its_source_whatever_happened(tmp_path, count, record):
    draw, source, total = random.Random(0), tmp_path / "pt_1.txt", count(60, 1000)  # noqa: S311
    source.write_text("1")
    options, stamp, seen = {"scale": 1}, 10**18, {}
    for number in range(total):
        event = draw.choice(["damage", "source", "option", "delete", "nothing", "another file", "touch"])
        seen[event] = seen.get(event, 0) + 1
        path = cache_of(tmp_path / "cache", options).path_of(source)
        if event == "damage":
            damage(path, number)
        elif event == "source":
            source.write_text(str(draw.randrange(1000)))
            stamp += 10**9
            os.utime(source, ns=(stamp, stamp))
        elif event == "option":
            options = {"scale": draw.randrange(1, 4)}
        elif event == "delete":
            path.unlink(missing_ok=True)
        elif event == "another file":
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(draw.randbytes(draw.randrange(2000)))
        elif event == "touch":
            stamp += 10**9
            os.utime(source, ns=(stamp, stamp))
        found = read_case_file(cache_of(tmp_path / "cache", options).get(source))
        assert same(found, Reader(**options)(source)), (number, event)
    record(f"{total} of {total} events, {seen['damage']} of them damages")


@pytest.mark.promise(5, "every region of a cached case damaged: read again from its source, never an exception")
def test_every_region_of_a_cached_case_is_watched(tmp_path, count, record):
    source = tmp_path / "pt_1.txt"
    source.write_text("7")
    cache = cache_of(tmp_path / "cache", {})
    path = cache.get(source)
    whole, expected = path.read_bytes(), Reader()(source)
    step = max(1, len(whole) // count(100, 2000))
    places = range(0, len(whole), step)
    for at in places:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        with pytest.raises(DataError, match=r"damaged|cannot be read"):
            read_case_file(path)
        assert same(read_case_file(cache.get(source)), expected)
    record(f"{len(places)} of {len(places)} places in {len(whole)} bytes")


def fill(folder, sources):
    for source in sources:
        cache_of(folder, {"pause_s": 0.01}).get(source)


@pytest.mark.promise(5, "two processes fill one cache and one is killed: all cases are right")
def test_two_processes_at_once_of_which_one_is_killed(tmp_path, count, record):
    draw, rounds = random.Random(3), count(3, 30)  # noqa: S311
    sources = [tmp_path / f"pt_{number}.txt" for number in range(8)]
    for number, source in enumerate(sources):
        source.write_text(str(number))
    for number in range(rounds):
        folder = tmp_path / f"cache{number}"
        both = [processes.Process(target=fill, args=(folder, sources)) for _ in range(2)]
        for process in both:
            process.start()
        time.sleep(0.01 + 0.08 * draw.random())
        os.kill(both[number % 2].pid, signal.SIGKILL)
        for process in both:
            process.join(60)
        assert both[1 - number % 2].exitcode == 0
        cache = cache_of(folder, {"pause_s": 0.01})
        for source in sources:
            assert same(read_case_file(cache.path_of(source)), Reader()(source))
            assert same(read_case_file(cache.get(source)), Reader()(source))
    record(f"{rounds} of {rounds} rounds")
