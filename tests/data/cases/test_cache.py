from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from ctan_monai.data.cases.cache import CaseCache, read_case_file, read_header
from ctan_monai.data.cases.case import Case
from ctan_monai.errors import ConfigError, DataError


def read_number(path: Path) -> Case:
    """Read a made-up format: a text file with one number; it says so in a log beside the data."""
    with (path.parent / "read.log").open("a") as log:
        log.write(f"{path.stem}\n")
    text = path.read_text()
    if text == "die":
        os._exit(1)
    if not text.isdigit():
        raise DataError(path, path.stem, f"{text!r} is no number.", "Write a number.")
    return Case(path.stem, {"ct": np.full((2, 3, 4), int(text), np.int16)}, {}, np.eye(4))


def times_read(folder: Path) -> int:
    log = folder / "read.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture
def sources(tmp_path) -> list[Path]:
    folder = tmp_path / "source"
    folder.mkdir()
    paths = [folder / f"pt_{number}.txt" for number in range(5)]
    for number, path in enumerate(paths):
        path.write_text(str(number))
    return paths


@pytest.fixture
def cache(tmp_path) -> CaseCache:
    return CaseCache(tmp_path / "cache", read_number)


def value_of(path: Path) -> int:
    return int(read_case_file(path).volumes["ct"][0, 0, 0])


def test_a_source_is_read_once(cache, sources):
    first, second = cache.get(sources[3]), cache.get(sources[3])
    assert first == second == cache.path_of(sources[3])
    assert value_of(first) == 3
    assert times_read(sources[0].parent) == 1


def test_a_source_that_changed_is_read_again(cache, sources):
    cache.get(sources[0])
    sources[0].write_text("77")
    assert value_of(cache.get(sources[0])) == 77


def test_a_source_of_the_same_size_but_a_later_time_is_read_again(cache, sources):
    cache.get(sources[0])
    sources[0].write_text("9")
    os.utime(sources[0], ns=(1, 10**18))
    assert value_of(cache.get(sources[0])) == 9


@pytest.mark.promise(5, "another version of the reader, or other options, reads again")
def test_another_version_of_the_reader_reads_again(tmp_path, sources):
    for version in ("1", "1", "2"):
        CaseCache(tmp_path / "cache", read_number, version).get(sources[0])
    assert times_read(sources[0].parent) == 2


def test_a_file_added_to_a_folder_counts_as_a_change(tmp_path):
    folder = tmp_path / "pt_1"
    folder.mkdir()
    cache = CaseCache(tmp_path / "cache", read_number)
    before = cache.fingerprint(folder)
    (folder / "dose.csv").write_text("")
    assert cache.fingerprint(folder) != before


@pytest.mark.promise(5, "a damaged cache file is built again, and the log says so")
def test_a_damaged_file_is_built_again_and_the_log_says_so(cache, sources, caplog):
    path = cache.get(sources[2])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert value_of(cache.get(sources[2])) == 2
    assert "damaged" in caplog.text
    assert str(path) in caplog.text


@pytest.mark.promise(5, "two data sets that share a cache folder do not mix")
def test_two_data_sets_can_share_a_folder(tmp_path, cache, sources):
    other = tmp_path / "other" / "pt_0.txt"
    other.parent.mkdir()
    other.write_text("50")
    assert [value_of(cache.get(path)) for path in (sources[0], other, sources[0])] == [0, 50, 0]
    assert times_read(sources[0].parent) == 1


@pytest.mark.parametrize("together", [False, True])
def test_data_and_cache_that_were_copied_elsewhere_are_found_again(tmp_path, cache, sources, together):
    """As another machine has them: other paths, other times, the same content."""
    before = [cache.get(path) for path in sources]
    moved = CaseCache(tmp_path / "there" / "cache", read_number)
    shutil.copytree(cache.cache_dir, moved.cache_dir)
    shutil.rmtree(cache.cache_dir)
    folder = tmp_path / "there" / "data"
    folder.mkdir()
    there = [folder / path.name for path in sources]
    for path, copy in zip(sources, there, strict=True):
        copy.write_text(path.read_text())
    found = list(moved.prepare(there, workers=2, progress=False).values()) if together else list(map(moved.get, there))
    assert times_read(folder) == 0
    assert [value_of(path) for path in found] == list(range(5))
    for path, old in zip(found, before, strict=True):
        assert read_case_file(path).affine_ras.tolist() == np.eye(4).tolist()
        assert path.name != old.name
    there[2].write_text("9")  # now by its time, as always
    assert value_of(moved.get(there[2])) == 9
    assert times_read(folder) == 1


def test_a_source_that_was_only_touched_is_not_read_again(cache, sources):
    cache.get(sources[1])
    os.utime(sources[1], (1, 1))
    cache.get(sources[1])
    assert times_read(sources[0].parent) == 1
    assert read_header(cache.get(sources[1])).fingerprint.startswith(cache.fingerprint(sources[1]))


def test_another_content_under_the_same_name_is_read(tmp_path, cache, sources):
    cache.get(sources[0])
    other = tmp_path / "other" / "pt_0.txt"
    other.parent.mkdir()
    other.write_text("7")
    assert value_of(cache.get(other)) == 7
    assert times_read(other.parent) == 1


def test_the_id_of_a_compressed_file_has_no_ending(cache, tmp_path):
    assert cache.path_of(tmp_path / "a.b.nii.gz").name.startswith("a.b.")


def test_a_source_that_is_not_there_is_refused(cache, tmp_path):
    with pytest.raises(DataError, match="No such file"):
        cache.get(tmp_path / "pt_9.txt")


@pytest.mark.parametrize("workers", [0, 2])
def test_everything_is_prepared_in_order(cache, sources, workers):
    found = cache.prepare(sources, workers=workers, progress=False)
    assert list(found) == sources
    assert [value_of(path) for path in found.values()] == [0, 1, 2, 3, 4]
    cache.prepare(sources, workers=workers, progress=False)
    assert times_read(sources[0].parent) == 5


def test_a_bar_is_shown_only_when_there_is_something_to_do(cache, sources, capfd):
    cache.prepare(sources, workers=1)
    assert "preparing cases" in capfd.readouterr().err
    cache.prepare(sources, workers=1)
    assert capfd.readouterr().err == ""


@pytest.mark.promise(3, "everything that is wrong with a data set is listed at once")
def test_all_that_is_wrong_is_listed_at_once(cache, sources):
    sources[1].write_text("x")
    sources[4].write_text("y")
    with pytest.raises(DataError, match="2 of 5") as caught:
        cache.prepare(sources, workers=2, progress=False)
    assert "pt_1" in str(caught.value)
    assert "pt_4" in str(caught.value)
    assert cache.path_of(sources[3]).exists()  # what could be read need not be read again


def test_a_long_list_is_cut(cache, tmp_path):
    missing = [tmp_path / f"pt_{number}.txt" for number in range(13)]
    with pytest.raises(DataError, match="and 3 more"):
        cache.prepare(missing, progress=False)


@pytest.mark.promise(3, "on_error: skip leaves out a case that cannot be read, and lists it")
def test_a_few_cases_can_be_skipped(cache, sources, caplog):
    sources[1].write_text("x")
    found = cache.prepare(sources, progress=False, workers=1, on_error="skip", skip_fraction=0.2)
    assert [path.stem for path in found] == ["pt_0", "pt_2", "pt_3", "pt_4"]
    assert "1 of 5" in caplog.text


@pytest.mark.promise(3, "more cases than the stated share cannot be skipped")
@pytest.mark.parametrize(("bad", "share"), [(1, 0.1), (5, 1.0)])
def test_too_many_cases_cannot_be_skipped(cache, sources, bad, share):
    for path in sources[:bad]:
        path.write_text("x")
    with pytest.raises(DataError, match=f"{bad} of 5"):
        cache.prepare(sources, progress=False, workers=1, on_error="skip", skip_fraction=share)


def test_an_unknown_way_to_treat_errors_is_refused(cache, sources):
    with pytest.raises(ConfigError, match="on_error"):
        cache.prepare(sources, on_error="ignore")


@pytest.mark.faults
def test_a_process_that_dies_is_reported(cache, sources):
    sources[2].write_text("die")
    with pytest.raises(DataError, match="killed"):
        cache.prepare(sources, workers=2, progress=False)


def _get_all(cache, sources, barrier):
    barrier.wait()
    for source in sources:
        cache.get(source)


@pytest.mark.promise(5, "processes that prepare at the same time agree")
def test_processes_that_prepare_at_the_same_time_agree(cache, sources):
    context = multiprocessing.get_context()
    barrier = context.Barrier(3)
    processes = [context.Process(target=_get_all, args=(cache, sources, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [value_of(cache.get(source)) for source in sources] == [0, 1, 2, 3, 4]
    assert len(os.listdir(cache.cache_dir)) == 5
