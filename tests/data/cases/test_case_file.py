from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ctan_monai.data.cases import file_header
from ctan_monai.data.cases.cache import check_case_file, read_case_file, read_header, read_slice, write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.file_read import slice_of
from ctan_monai.errors import DataError

READERS = [read_case_file, check_case_file]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_case_comes_back_bit_for_bit(tmp_path, same_case, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 11), min_size=1, max_size=3), label="shape"))
    types = ["i1", "u1", "i2", ">i2", "u2", "i4", "i8", "f2", "f4", ">f4", "f8"]
    arrays = st.sampled_from(types).flatmap(lambda dtype: hnp.arrays(dtype, shape))
    volumes = data.draw(st.dictionaries(st.text(min_size=1, max_size=3), arrays, min_size=1, max_size=3))
    seed, count = data.draw(st.integers(0, 99)), data.draw(st.integers(0, 40), label="masks")
    random = np.random.default_rng(seed)
    masks = {f"mask {number}": random.random(shape) < random.choice([0, 0.1, 1]) for number in range(count)}
    case = Case("a", volumes, masks, np.diag([0.1, 1 / 3, 3, 1]), {"y": 1 / 3}, {"täg": [None, True, {"x": 1e300}]})
    write_case(tmp_path / "a.case", case)
    native = {name: volume.astype(volume.dtype.newbyteorder("=")) for name, volume in volumes.items()}
    same_case(read_case_file(tmp_path / "a.case"), Case("a", native, masks, case.affine_ras, case.values, case.meta))


@pytest.mark.parametrize("odd", [np.nan, np.inf, -0.0, 0.1234567, 1e30, 16_777.217])
def test_a_dose_that_is_not_whole_milligray_is_kept_too(tmp_path, make_case, same_case, odd):
    case = make_case()
    dose_gy = case.volumes["dose"].copy()
    dose_gy[4, 3, 9] = odd
    case = Case("a", {"dose": dose_gy}, {}, np.eye(4))
    write_case(tmp_path / "a.case", case)
    same_case(read_case_file(tmp_path / "a.case"), case)


def test_a_dose_of_three_decimals_is_stored_as_whole_milligray(tmp_path, make_case):
    write_case(tmp_path / "a.case", make_case())
    stored = {layer.names: layer.stored for layer in read_header(tmp_path / "a.case").layers}
    assert stored["ct",] == "<i2"
    assert stored["dose",] == "<i4"


@pytest.mark.parametrize("index", range(21))
def test_a_slice_is_the_slice_of_the_whole(tmp_path, make_case, same_case, index, monkeypatch):
    monkeypatch.setattr(file_header, "_SLAB_VOXELS", 9 * 7 * 4)  # slabs of 4 slices, the last one of 1
    case = make_case(masks=20)
    write_case(tmp_path / "a.case", case)
    found = read_slice(tmp_path / "a.case", index)
    same_case(slice_of(read_case_file(tmp_path / "a.case"), index), found)
    corner_mm = case.affine_ras @ [2, 1, index, 1]
    np.testing.assert_allclose(found.affine_ras @ [2, 1, 0, 1], corner_mm)
    volumes = {name: volume[..., index] for name, volume in case.volumes.items()}
    masks = {name: mask[..., index] for name, mask in case.masks.items()}
    meta = {**case.meta, "slice": index}
    same_case(found, Case("pt_1", volumes, masks, found.affine_ras, case.values, meta))
    assert found.spacing_mm == case.spacing_mm[:2]


@pytest.mark.parametrize("index", [-1, 21])
def test_a_slice_that_is_not_there_is_refused(tmp_path, make_case, index):
    write_case(tmp_path / "a.case", make_case())
    with pytest.raises(DataError, match=f"slice {index} was asked for"):
        read_slice(tmp_path / "a.case", index)
    with pytest.raises(DataError, match="was asked for"):
        slice_of(read_case_file(tmp_path / "a.case"), index)


def test_an_image_has_no_slices(tmp_path, make_case):
    write_case(tmp_path / "a.case", make_case(shape=(9, 7)))
    with pytest.raises(DataError, match="slice 0 was asked for"):
        read_slice(tmp_path / "a.case", 0)


def test_the_header_lists_the_slices_that_each_array_occupies(tmp_path, make_case):
    ct_hu = np.full((2, 2, 7), -1024, np.int16)
    ct_hu[1, 1, [2, 3, 6]] = 5
    write_case(tmp_path / "a.case", Case("a", {"ct": ct_hu}, {"no": np.zeros((2, 2, 7), bool)}, np.eye(4)))
    header = read_header(tmp_path / "a.case")
    assert header.slices_with("ct") == [2, 3, 6]
    assert header.slices_with("no") == header.slices_with("unknown") == []


def _tiny(make_case):
    return make_case(shape=(3, 2, 5), masks=2)


@pytest.mark.promise(5, "a changed byte anywhere in a cached case is noticed, also where one slice is read")
def test_a_flipped_byte_anywhere_is_noticed(tmp_path, make_case, same_case, monkeypatch):
    monkeypatch.setattr(file_header, "_SLAB_VOXELS", 3 * 2 * 2)
    path = tmp_path / "a.case"
    write_case(path, _tiny(make_case))
    whole, slices = path.read_bytes(), [read_slice(path, index) for index in range(5)]
    slabs_at = len(whole) - sum(map(sum, read_header(path).sizes))
    noticed = 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        for read in READERS:
            with pytest.raises(DataError):
                read(path)
        for index, expected in enumerate(slices):
            try:  # a slice is read without the other slabs, so it may be sound; it must not be wrong
                same_case(read_slice(path, index), expected)
            except DataError:
                noticed += 1
    assert slabs_at * 5 < noticed < len(whole) * 5


@pytest.mark.promise(5, "a cached case of any other length is noticed")
def test_a_file_of_any_other_length_is_noticed(tmp_path, make_case):
    path = tmp_path / "a.case"
    write_case(path, _tiny(make_case))
    whole = path.read_bytes()
    for content in [*(whole[:length] for length in range(len(whole))), whole + b"\0", whole + whole]:
        path.write_bytes(content)
        for read in (*READERS, read_header, lambda path: read_slice(path, 4)):
            with pytest.raises(DataError, match=r"a\.case"):
                read(path)


@pytest.mark.promise(5, "a header that lies about a size does not write past an array")
def test_a_header_that_lies_about_a_size_does_not_write_past_an_array(tmp_path, make_case):
    # blosc2 decompresses into whatever it is given; the digests here are right, so only the sizes tell.
    path = tmp_path / "a.case"
    write_case(path, make_case())
    whole = path.read_bytes()
    length = file_header.body_bytes(whole[: file_header.PREFIX_BYTES])
    split = file_header.PREFIX_BYTES + length
    fields = json.loads(whole[file_header.PREFIX_BYTES : split])
    fields["layers"][0]["box"][0] = [2, 3]
    body = json.dumps(fields).encode()
    front = file_header._FIELDS.pack(file_header.MAGIC, file_header.VERSION, len(body))
    path.write_bytes(front + file_header.digest(front, body) + body + whole[split:])
    with pytest.raises(DataError, match="another size"):
        read_case_file(path)


@pytest.mark.parametrize("read", [*READERS, read_header])
def test_what_is_no_case_file_is_refused_with_its_path(tmp_path, read):
    (tmp_path / "old.case").write_bytes(b"PK\x03\x04" * 100)
    (tmp_path / "empty.case").write_bytes(b"")
    for name in ("old.case", "empty.case", "missing.case", "."):
        with pytest.raises(DataError) as caught:
            read(tmp_path / name)
        assert caught.value.path == tmp_path / name


def test_numpy_numbers_in_meta_become_plain_ones(tmp_path):
    meta = {"age": np.int64(61), "dose": np.float32(0.5), "sizes": np.arange(3)}
    write_case(tmp_path / "a.case", Case("a", {"ct": np.zeros((2, 2))}, {}, np.eye(4), {}, meta))
    assert read_case_file(tmp_path / "a.case").meta == {"age": 61, "dose": 0.5, "sizes": [0, 1, 2]}


def test_a_file_of_another_version_says_so(tmp_path, make_case, monkeypatch):
    monkeypatch.setattr(file_header, "VERSION", 99)
    write_case(tmp_path / "a.case", make_case())
    monkeypatch.undo()
    with pytest.raises(DataError, match="version 99, this program reads version 1"):
        read_case_file(tmp_path / "a.case")


def test_meta_that_json_cannot_hold_leaves_the_old_file(tmp_path, make_case, same_case):
    path, old = tmp_path / "a.case", make_case()
    write_case(path, old)
    for meta in ({"x": object()}, {"x": float("nan")}):
        with pytest.raises(DataError, match="meta"):
            write_case(path, Case("a", old.volumes, {}, np.eye(4), {}, meta))
    same_case(read_case_file(path), old)
    assert os.listdir(tmp_path) == ["a.case"]


def _write_with_little_space(path, case):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        write_case(path, case)
    except DataError as error:
        os._exit(7 if "cannot be written" in str(error) else 8)
    os._exit(9)


def _write_again_and_again(path, cases):
    while True:
        for case in cases:
            write_case(path, case)


@pytest.mark.promise(5, "a disk that fills up leaves the old cached case")
def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path, make_case, same_case):
    pytest.importorskip("resource")
    path = tmp_path / "a.case"
    write_case(path, make_case(seed=1))
    process = multiprocessing.get_context("fork").Process(
        target=_write_with_little_space, args=(path, make_case(shape=(30, 30, 30)))
    )
    process.start()
    process.join()
    assert process.exitcode == 7
    same_case(read_case_file(path), make_case(seed=1))
    assert os.listdir(tmp_path) == ["a.case"]


@pytest.mark.promise(5, "two writers of one case, both killed, never leave half a file")
@pytest.mark.faults
def test_two_writers_and_their_death_never_leave_half_a_file(tmp_path, make_case):
    path, cases = tmp_path / "a.case", [make_case(shape=(20, 20, 20), seed=seed) for seed in (1, 2)]
    either = {case.volumes["ct"].tobytes() for case in cases}
    write_case(path, cases[0])
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        writers = [context.Process(target=_write_again_and_again, args=(path, cases)) for _ in range(2)]
        for writer in writers:
            writer.start()
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            assert read_case_file(path).volumes["ct"].tobytes() in either
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
        assert read_case_file(path).volumes["ct"].tobytes() in either
