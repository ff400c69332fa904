"""Files without preamble or meta header are DICOM too; what looks like DICOM and cannot be read is counted."""

import io
import zipfile

import numpy as np
import pydicom
import pytest
from dicom_phantoms import Patient, save_all
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from ctan_monai.data.dicom.read.contours import read_rois
from ctan_monai.data.dicom.read.ct_slice import read_ct_slice
from ctan_monai.data.dicom.read.header import read_header
from ctan_monai.data.dicom.read.scan import scan
from ctan_monai.data.dicom.write import CtReference
from ctan_monai.errors import DataError

SMALL = {"rows": 8, "columns": 9, "slices": 4}
PREAMBLE = 132


def encoded(dataset, syntax, meta):
    """Return the bytes of a file in a transfer syntax, with its meta header, with one that states none, or without."""
    pixels = dataset.get("PixelData")
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian and pixels:
        width = f"u{dataset.BitsAllocated // 8}"
        dataset.PixelData = np.frombuffer(pixels, f"<{width}").astype(f">{width}").tobytes()
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    whole = buffer.getvalue()
    if meta == "stated":
        return whole[PREAMBLE:]
    length = int.from_bytes(whole[PREAMBLE + 8 : PREAMBLE + 12], "little")  # of group 2, behind its first attribute
    start = PREAMBLE + 12 + length
    if meta == "absent":
        return whole[start:]
    element = whole.index(b"\x02\x00\x10\x00UI", PREAMBLE)
    size = 8 + int.from_bytes(whole[element + 6 : element + 8], "little")
    shorter = (length - size).to_bytes(4, "little")
    return whole[: PREAMBLE + 8] + shorter + whole[PREAMBLE + 12 : element] + whole[element + size :]


ENCODINGS = [
    *(
        (syntax, meta)
        for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
        for meta in ("stated", "absent", "silent")
    ),
    (ExplicitVRBigEndian, "stated"),
    (ExplicitVRBigEndian, "absent"),
    (DeflatedExplicitVRLittleEndian, "stated"),
]


@pytest.mark.parametrize(("syntax", "meta"), ENCODINGS, ids=[f"{s.name}, meta {m}" for s, m in ENCODINGS])
def test_every_encoding_of_a_patient_is_the_same_case(read, read_folder, tmp_path, syntax, meta):
    patient = Patient(rows=24, columns=30, slices=8, spacing_mm=6.0, pixel_mm=(4.0, 4.2))
    expected = read(patient)
    for number, each in enumerate([*patient.ct(), patient.rtstruct(), patient.rtplan(), patient.rtdose()]):
        path = tmp_path / "bare" / f"{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(each, syntax, meta))
    found = read_folder(tmp_path / "bare")
    assert set(found.masks) == set(expected.masks)
    for name in ("ct", "dose"):
        np.testing.assert_array_equal(found.volumes[name], expected.volumes[name])
    for name, mask in expected.masks.items():
        np.testing.assert_array_equal(found.masks[name], mask)
    files = sorted(path for path in (tmp_path / "bare").iterdir() if int(path.name) < 8)
    assert [each.SOPInstanceUID for each in CtReference.read(files).headers] == patient.ct_uids  # writers read it too


def test_compressed_pixels_without_a_transfer_syntax_are_refused_with_that_reason(tmp_path):
    image = Patient(**SMALL).ct()[0]
    image.compress(RLELossless)
    (path,) = save_all([image], tmp_path)
    path.write_bytes(encoded(pydicom.dcmread(path), RLELossless, "absent"))
    with pytest.raises(DataError, match="PixelData are compressed, and its TransferSyntaxUID does not say how"):
        read_ct_slice(path)


@pytest.mark.parametrize("meta", ["whole", "stated", "absent"])
def test_a_file_is_never_passed_over_wherever_it_was_cut(tmp_path, meta):
    """Either it is counted as unreadable, or it is found and refused when it is read."""
    patient = Patient(**SMALL)
    image, path = patient.ct()[0], tmp_path / "cut"
    expected = read_ct_slice(save_all([image], tmp_path / "whole")[0]).hu
    data = encoded(image, ExplicitVRLittleEndian, "stated" if meta == "whole" else meta)
    data = bytes(PREAMBLE - 4) + b"DICM" + data if meta == "whole" else data
    for cut in range(PREAMBLE + 20 if meta == "whole" else 20, len(data), 7):
        path.write_bytes(data[:cut])
        try:
            header = read_header(path)
        except ValueError:
            continue
        assert header is not None, cut
        assert header.series_uid == patient.series_uid, cut
        with pytest.raises(DataError):
            read_ct_slice(path)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_ct_slice(path).hu, expected)


def test_a_structure_set_that_was_cut_loses_no_contour_silently(tmp_path):
    structure_set = Patient(**SMALL).rtstruct()
    (path,) = save_all([structure_set], tmp_path)
    data = path.read_bytes()
    for cut in range(len(data) // 2, len(data) - 1, len(data) // 23):
        path.write_bytes(data[:cut])
        assert read_header(path).kind == "RTSTRUCT"
        with pytest.raises(DataError, match="the structure set is cut short"):
            read_rois(path)


def test_what_looks_like_dicom_is_counted_and_what_does_not_is_passed_over(tmp_path):
    (folder,) = {path.parent for path in save_all(Patient(**SMALL).ct()[:1], tmp_path / "in")}
    unreadable = {
        "empty.dcm": b"",
        "zeros.IMA": bytes(900),
        "letter.dcm": b"Dear colleague, the scan is on the disc",
        "copy_that_failed": b"",  # no suffix, like the image beside it
        "magic": bytes(128) + b"DICM",
        "head": b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100",
        "scans.tar.gz": b"\x1f\x8b",
    }
    others = {
        "._0000.dcm": b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X",
        "readme.txt": b"",
        "Thumbs.db": b"\x08\x00" * 90,
        "numbers.bin": b"\x02\x00\x00\x00\x00\x00\x00\x00\x00",
    }
    for name, content in {**unreadable, **others}.items():
        (folder / name).write_bytes(content)
    with zipfile.ZipFile(folder / "scans.zip", "w") as archive:
        archive.writestr("0001", b"x")
    found = scan(tmp_path / "in", progress=False)
    assert found.counts() == {"CT": 1}
    assert {path.name for path, _ in found.unreadable} == {*unreadable, "scans.zip"}
    assert found.others == len(others)
    said = {path.name: reason for path, reason in found.unreadable}
    assert said["empty.dcm"] == "its name is one of DICOM, but it holds nothing"
    assert said["scans.zip"] == "it is an archive, which is not looked into; unpack it if it holds DICOM"
    assert "without preamble, but has no SOPClassUID" in said["head"]
