"""Archives from strangers: nothing is written before all members have passed, and nothing outside ever."""

import gzip
import io
import os
import stat
import tarfile
import zipfile

import pytest
from mutants import mutate

from ctan_monai.errors import DataError
from ctan_monai.files.archive import Limits, unpack

FILES = {"bundle/configs/train.yaml": b"epochs: 3\n", "bundle/models/model.pt": bytes(range(256)) * 40, "LICENSE": b"x"}


def zipped(path, members, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def tarred(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for info, content in members:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
            if content is not None:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))
    return path


def everything_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


MAKERS = {
    "zip": lambda path, members: zipped(path, members),
    "tar": lambda path, members: tarred(path, members, "w"),
    "tar.gz": lambda path, members: tarred(path, members, "w:gz"),
    "tar.xz": lambda path, members: tarred(path, members, "w:xz"),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_an_honest_archive_is_unpacked_as_a_whole(tmp_path, kind):
    archive = MAKERS[kind](tmp_path / f"a.{kind}", FILES.items())
    found = unpack(archive, tmp_path / "out" / "bundle")
    assert {path.relative_to(tmp_path / "out" / "bundle").as_posix(): path.read_bytes() for path in found} == FILES
    assert os.listdir(tmp_path / "out") == ["bundle"]
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o111 == 0 for path in found)


def test_folders_may_be_members_and_an_empty_folder_may_be_there(tmp_path):
    archive = zipped(tmp_path / "a.zip", [("b/", b""), ("b/c.txt", b"1"), ("./b/d.txt", b"2"), ("b/", b"")])
    (tmp_path / "out").mkdir()
    assert [path.name for path in unpack(archive, tmp_path / "out")] == ["c.txt", "d.txt"]


NAMES = {
    "upwards": "../x",
    "upwards within": "a/../../x",
    "absolute": "/tmp/ctan_x",  # noqa: S108
    "a drive": "C:/x",
    "back slashes": "..\\x",
    "nul": "a\0b",
    "right to left": "a\u202efdp.exe",
    "new line": "a\nb",
    "too long": "x" * 300,
    "too deep": "a/" * 600 + "b",
    "a device": "a/NUL.txt",
    "a dot at the end": "a./b",
    "nothing": "./",
    "upwards in other letters": "\u2025/x",
    "a stream": "a:b",
}


@pytest.mark.promise(6, "an archive with a member whose name leads elsewhere is refused before anything is written")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, kind, name):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    hostile = NAMES[name]
    if kind == "tar":
        archive = tarred(inside / "a.tar", [("good.txt", b"1"), (hostile, b"2")], "w")
    else:
        archive = inside / "a.zip"
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr("good.txt", "1")
            info = zipfile.ZipInfo("placeholder")
            info.filename = info.orig_filename = hostile
            opened.writestr(info, "2")
    if kind == "tar" and name == "nul":
        pytest.skip("a tar ends names at NUL")
    with pytest.raises(DataError, match=r"a\.(zip|tar): "):
        unpack(archive, inside / "out")
    assert everything_in(tmp_path) == ["a", "a/b", f"a/b/{archive.name}"]


def link(name, kind, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


LINKS = {
    "symbolic": [(link("l", tarfile.SYMTYPE, "/etc"), None), ("l/passwd", b"x")],
    "symbolic within": [("a", b"1"), (link("l", tarfile.SYMTYPE, "a"), None)],
    "hard": [(link("l", tarfile.LNKTYPE, "../../x"), None)],
    "device": [(link("l", tarfile.CHRTYPE, ""), None)],
    "pipe": [(link("l", tarfile.FIFOTYPE, ""), None)],
}


@pytest.mark.promise(6, "links, devices and pipes in an archive are refused before anything is written")
@pytest.mark.parametrize("name", [*LINKS, "in a zip"])
def test_links_and_devices_are_refused(tmp_path, name):
    if name == "in a zip":
        info = zipfile.ZipInfo("l")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive = tmp_path / "a.zip"
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr(info, "/etc")
    else:
        archive = tarred(tmp_path / "a.tar", LINKS[name], "w")
    with pytest.raises(DataError, match=r"the member 'l' is (a link|no file)"):
        unpack(archive, tmp_path / "out")
    assert os.listdir(tmp_path) == [archive.name]


@pytest.mark.promise(6, "archives that unpack to far more than they hold are refused before anything is written")
@pytest.mark.parametrize("kind", ["zip", "tar.gz", "many small", "many members", "lying"])
def test_a_bomb_is_refused(tmp_path, kind):
    limits = Limits(members=1000)
    zeros = bytes(20 << 20)
    if kind == "zip":
        archive = zipped(tmp_path / "a", [("z", zeros)])
    elif kind == "tar.gz":
        archive = tarred(tmp_path / "a", [("z", zeros)])
    elif kind == "many small":
        archive = zipped(tmp_path / "a", [(f"{n}", bytes(1 << 19)) for n in range(60)])
    elif kind == "many members":
        archive = zipped(tmp_path / "a", [(f"{n}", b"") for n in range(1001)])
    else:  # a header that declares a thousandth of what is there
        archive = zipped(tmp_path / "a", [("z", zeros)])
        whole = bytearray(archive.read_bytes())
        at = whole.rindex(b"PK\x01\x02")
        for offset in (at + 24, 22):  # the central and the local header
            whole[offset : offset + 4] = (20 << 10).to_bytes(4, "little")
        archive.write_bytes(whole)
    with pytest.raises(DataError, match=r"bomb|unpack to|more than 1000 members|damaged|does not hold"):
        unpack(archive, tmp_path / "out", limits)
    assert os.listdir(tmp_path) == ["a"]


def test_an_endless_tar_is_left_when_it_has_declared_too_much(tmp_path):
    info = tarfile.TarInfo("z")
    info.size = 1 << 40
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(info.tobuf() + bytes(4096)))
    with pytest.raises(DataError, match="unpack to 1099511627776 or more"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")


@pytest.mark.parametrize(
    "members",
    [
        [("a", b"1"), ("a", b"2")],
        [("a", b"1"), ("A", b"2")],
        [("a", b"1"), ("./a", b"2")],
        [("a", b"1"), ("a/b", b"2")],
    ],
)
@pytest.mark.promise(6, "two members of one place, also in other letters, are refused")
def test_two_members_of_one_place_are_refused(tmp_path, members):
    with pytest.raises(DataError, match=r"there twice|inside of a file"):
        unpack(tarred(tmp_path / "a.tar", members, "w"), tmp_path / "out")
    assert os.listdir(tmp_path) == ["a.tar"]


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.promise(6, "a damaged archive is refused as a whole, or unpacks to what was packed")
def test_a_damaged_archive_leaves_nothing(tmp_path, kind, count, figure):
    archive = MAKERS[kind](tmp_path / f"a.{kind}", FILES.items())
    whole, total, refused = archive.read_bytes(), count(28, 200), 0
    for number in range(total):
        archive.write_bytes(mutate(whole, number)[1])
        try:
            found = unpack(archive, tmp_path / str(number))
        except DataError:
            assert os.listdir(tmp_path) == [archive.name] or not (tmp_path / str(number)).exists()
            refused += 1
            continue
        names = {path.relative_to(tmp_path / str(number)).as_posix(): path.read_bytes() for path in found}
        if kind != "tar":  # which has no checksum of contents
            assert names == {name: FILES[name] for name in names}
    assert refused > total // 3
    figure(f"{kind}: {refused} of {total} refused")


def test_what_is_there_is_not_touched_and_what_is_no_archive_is_named(tmp_path):
    archive = zipped(tmp_path / "a.zip", [("b", b"1")])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(DataError, match="not empty"):
        unpack(archive, tmp_path / "out")
    (tmp_path / "b.zip").write_text("no archive")
    for name in ("b.zip", "missing.zip"):
        with pytest.raises(DataError, match=name):
            unpack(tmp_path / name, tmp_path / "new")
    with pytest.raises(DataError, match="nothing in it"):
        unpack(zipped(tmp_path / "c.zip", []), tmp_path / "new")
    assert everything_in(tmp_path / "out") == ["mine"]
    assert not (tmp_path / "new").exists()
