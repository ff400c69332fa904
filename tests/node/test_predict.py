"""A study that a node received comes back as RTSTRUCT, RTPLAN, RTDOSE and SEG: those that inferring writes."""

import hashlib
import logging
import threading

import numpy as np
import pydicom
import pytest
from node_kit import PROSTATE, Pacs, ct_files, infer, make_run, make_store, settings_in, wait_for, without_uids
from node_kit import store as send

from ctan_monai.node.answers import store_answers
from ctan_monai.node.predict import Predictor, take_quiet
from ctan_monai.node.service import Node
from ctan_monai.node.settings import Rule

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def inferred(run_dir, tmp_path_factory):
    """A CT, and the files that inferring writes for it."""
    folder = tmp_path_factory.mktemp("inferred")
    files = ct_files(folder / "ct", slices=8, rows=64, columns=64, pixel_mm=(6.0, 6.0))
    return files, infer(folder / "ct", run_dir, folder / "out")


def test_the_answer_is_what_inferring_writes(run_dir, inferred, tmp_path, caplog):
    files, written = inferred
    caplog.set_level(logging.INFO)
    with Pacs() as pacs:
        settings = settings_in(tmp_path / "node", pacs_port=pacs.port)
        rule = Rule("ct", run_dir, PROSTATE, ("pacs",), options={"device": "cpu"})
        node = Node(type(settings)(**{**vars(settings), "rules": (rule,)}))
        node.start()
        try:
            assert send(node.port, files) == [0] * 8
            wait_for(lambda: len(pacs.got) == 4, 180, "the answer")
        finally:
            node.stop()
    got, expected = pacs.datasets(), {each.Modality: each for each in map(pydicom.dcmread, written.values())}
    assert set(got) == set(expected) == {"RTSTRUCT", "RTPLAN", "RTDOSE", "SEG"}
    (picture,) = (tmp_path / "node").rglob("picture.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    cts = {str(pydicom.dcmread(path).SOPInstanceUID) for path in files}
    for kind, answer in got.items():
        assert dict(without_uids(answer)) == dict(without_uids(expected[kind])), kind
        assert answer.SOPInstanceUID != expected[kind].SOPInstanceUID
        assert answer.StudyInstanceUID == expected[kind].StudyInstanceUID
    assert got["RTDOSE"].PixelData == expected["RTDOSE"].PixelData
    assert np.any(got["RTDOSE"].pixel_array)
    assert got["RTDOSE"].FrameOfReferenceUID == pydicom.dcmread(files[0]).FrameOfReferenceUID
    assert got["RTDOSE"].ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == got["RTPLAN"].SOPInstanceUID
    (drawn,) = got["RTPLAN"].ReferencedStructureSetSequence
    assert drawn.ReferencedSOPInstanceUID == got["RTSTRUCT"].SOPInstanceUID
    named = {
        str(image.ReferencedSOPInstanceUID)
        for roi in got["RTSTRUCT"].ROIContourSequence
        for contour in roi.ContourSequence
        for image in contour.ContourImageSequence
    }
    assert named
    assert named <= cts
    assert str(pydicom.dcmread(files[0]).PatientID) not in caplog.text


def test_uids_follow_from_inputs_weights_and_kind(inferred, tmp_path):
    files, written = inferred
    out = next(iter(written.values())).parents[1]
    again = [store_answers(out, tmp_path / name, tmp_path, files, seed) for name, seed in (("a", "x"), ("b", "x"))]
    assert [each.uid for each in again[0]] == [each.uid for each in again[1]]
    assert [each.kind for each in again[0]] == ["RTSTRUCT", "SEG", "RTPLAN", "RTDOSE"]
    assert [each.sha256 for each in again[0]] == [each.sha256 for each in again[1]]
    for answer in again[0]:
        content = (tmp_path / answer.file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == answer.sha256
        assert pydicom.dcmread(tmp_path / answer.file).file_meta.MediaStorageSOPInstanceUID == answer.uid
    other = store_answers(out, tmp_path / "c", tmp_path, files, "y")
    assert not {each.uid for each in other} & {each.uid for each in again[0]}


def test_what_cannot_be_predicted_fails_with_the_readers_reason_and_others_go_on(run_dir, inferred, tmp_path, caplog):
    files, _ = inferred
    settings = settings_in(tmp_path / "node", quiet_s=0.0)
    rule = Rule("ct", run_dir, PROSTATE, ("pacs",), options={"device": "cpu", "formats": ["rtdose"]})
    settings = type(settings)(**{**vars(settings), "rules": (rule,)})
    store = make_store(settings)
    gap = [pydicom.dcmread(path) for path in files[:3] + files[5:]]
    for image in gap:
        image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3", "1.2.3.4"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{image.SOPInstanceUID}.1"[-60:]
    for image in gap + [pydicom.dcmread(path) for path in files]:
        path = tmp_path / "sent.dcm"
        image.save_as(path)
        store.add(b"", path.read_bytes(), str(image.SOPClassUID), str(image.SOPInstanceUID))
    assert take_quiet(store.journal, settings, set()) == 2
    predictor = Predictor(store.journal, settings, threading.Event(), lambda: None)
    while predictor.work():
        pass
    predictor.close()
    rows = store.journal.rows("SELECT jobs.*, count FROM jobs JOIN studies ON uid = study ORDER BY count")
    assert [(row["count"], row["state"]) for row in rows] == [(6, "failed"), (8, "done")]
    assert "spacing" in rows[0]["reason"] or "missing" in rows[0]["reason"]
    assert "cannot be predicted" in caplog.text
    kinds = store.journal.rows("SELECT kind, state FROM answers JOIN deliveries ON answer = uid ORDER BY place")
    assert [tuple(row) for row in kinds] == [("RTPLAN", "waiting"), ("RTDOSE", "waiting")]
    assert not list((settings.folder / "jobs").iterdir())


def test_a_job_whose_answer_cannot_be_stored_is_given_up_and_says_so(run_dir, inferred, tmp_path, monkeypatch, caplog):
    files, _ = inferred
    settings = settings_in(tmp_path / "node", quiet_s=0.0)
    rule = Rule("ct", run_dir, PROSTATE, ("pacs",), options={"device": "cpu", "formats": ["rtdose"]})
    settings = type(settings)(**{**vars(settings), "rules": (rule,)})
    store = make_store(settings)
    for path in files:
        image = pydicom.dcmread(path)
        store.add(b"", path.read_bytes(), str(image.SOPClassUID), str(image.SOPInstanceUID))
    assert take_quiet(store.journal, settings, set()) == 1

    def broken(*_):
        raise ValueError("Doe^John")

    monkeypatch.setattr("ctan_monai.node.predict.store_answers", broken)
    predictor = Predictor(store.journal, settings, threading.Event(), lambda: None)
    assert [predictor.work() for _ in range(4)] == [True, True, True, False]
    predictor.close()
    (row,) = store.journal.rows("SELECT state, reason FROM jobs")
    assert (row["state"], row["reason"]) == ("failed", "an unexpected ValueError occurred; 3 times.")
    assert "Doe" not in caplog.text
