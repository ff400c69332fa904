"""From DICOM ultrasound to masks, SEG and SR on the pixels of the whole image."""

import logging

import numpy as np
import pydicom
import pytest
import torch
from dicom_validity import errors_of
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from PIL import Image
from ultrasound_files import region, write_us

from ctan_monai.data.datasets.busi.datalist import busi_inference_list
from ctan_monai.engines.predictions.final_answers import FinalAnswersd
from ctan_monai.engines.predictions.image_dicom_writer import WriteImageDicom
from ctan_monai.engines.predictions.prediction_writer import WritePredictions
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification, Segmentation
from ctan_monai.transforms import LoadCaseFiled

TUMOR = Segmentation(name="tumor", labels=["tumor"], overlapping=True)
TASKS = (TUMOR, Classification(name="diagnosis", classes=["malignant"]))
CHANNELS = ["red", "green", "blue"]
BOX = (slice(20, 100), slice(30, 110))  # 80 x 80, so that nothing is resized
SIZE = [80, 80]
LOGIT = 1.5


@pytest.fixture(scope="module")
def highdicom():
    return pytest.importorskip("highdicom", reason="the extra ctan-monai[dicom] is not installed")


def drawn(place=(slice(60, 100), slice(90, 110))):
    """Return an image whose 'tumor' is white and reaches the corner of the region; white letters lie outside."""
    values = np.random.default_rng(5).integers(30, 120, (120, 150)).astype(np.uint8)
    values[:18], values[place] = 240, 240
    mask = np.zeros(values.shape, bool)
    mask[place] = True
    return values, mask


def write(path, values, **about):
    return write_us(path, values, regions=[region((30, 109), (20, 99))], **about)


def white(image):
    """Answer like a network that finds what is white."""
    return {"tumor": torch.where(image[:, :1] > 200, 20.0, -20.0), "diagnosis": torch.full((len(image), 1), LOGIT)}


def predict(source, folder, size=SIZE, **options):
    items = busi_inference_list(source, folder / "cache", size)
    data = Dataset(items, LoadCaseFiled(TASKS, CHANNELS))
    engine = Engine(lambda _, batch: {"pred": white(batch["image"])})
    WritePredictions(TASKS, folder / "out", ["png"]).attach(engine)
    WriteImageDicom(TASKS, folder / "out", items, model="busi", **options).attach(engine)
    engine.run(DataLoader(data, batch_size=2), max_epochs=1)
    return folder / "out"


def read_mask(path):
    return np.array(Image.open(path)) > 0


def test_masks_seg_and_report_lie_on_the_whole_image_and_end_with_the_region(highdicom, tmp_path):
    values, mask = drawn()
    source = tmp_path / "in"
    source.mkdir()
    made = write(source / "one.dcm", values)
    nothing = drawn((slice(0, 10), slice(0, 10)))[0]
    cine = write(source / "cine.dcm", np.stack([values, nothing]))
    Image.fromarray(values).save(source / "plain.png")
    out = predict(source, tmp_path, thresholds={"diagnosis": {"malignant": 0.9}}, site="breast")
    assert np.array_equal(read_mask(out / "one" / "tumor.png"), mask)
    seg = highdicom.seg.segread(out / "one" / "SEG.dcm")
    found = seg.get_pixels_by_source_instance([made.SOPInstanceUID])
    assert np.array_equal(found[0, ..., 0].astype(bool), mask)
    frames = highdicom.seg.segread(out / "cine" / "SEG.dcm")
    found = frames.get_pixels_by_source_frame(cine.SOPInstanceUID, [1, 2], assert_missing_frames_are_empty=True)
    assert np.array_equal(found[..., 0].astype(bool), np.stack([mask, np.zeros_like(mask)]))
    for case, images in (("one", 1), ("cine", 2)):
        assert errors_of(out / case / "SEG.dcm") == errors_of(out / case / "SR.dcm") == []
        report = highdicom.sr.srread(out / case / "SR.dcm").content
        groups = report.get_image_measurement_groups()
        assert len(groups) == images
        for group in groups:
            assert float(group.get_measurements()[0].value) == pytest.approx(100 / (1 + np.exp(-LOGIT)), abs=1e-3)
            assert group.get_qualitative_evaluations()[-1].value.meaning == "No"  # below the threshold of 0.9
        rois = report.get_planar_roi_measurement_groups()
        assert len(rois) == 1  # nothing was found in the cine's second frame
        for roi in rois:  # 40 x 20 pixels of 0.1 mm
            sizes = {each.name.meaning: float(each.value) for each in roi.get_measurements()}
            assert sizes == {"Area": 8.0, "Long Axis": pytest.approx(4.47, abs=0.005)}
            assert roi.finding_sites[0].value.meaning == "Breast"
    for case in ("plain", "cine_f001", "cine_f002"):
        assert sorted(path.name for path in (out / case).iterdir()) == ["tumor.png"]


def test_a_tumor_in_the_padding_below_the_region_does_not_reach_the_image(highdicom, tmp_path):
    values, _ = drawn()
    write_us(tmp_path / "wide.dcm", values, regions=[region((30, 109), (20, 59))])  # 40 rows, 40 of zeros below
    (item,) = busi_inference_list(tmp_path / "wide.dcm", tmp_path / "cache", SIZE)
    sample = LoadCaseFiled(TASKS, CHANNELS, listing=lambda path: [item])({"image": str(tmp_path / "wide.dcm")})
    everywhere = {"tumor": torch.full((1, 80, 80), 9.0), "diagnosis": torch.zeros(1)}
    found = FinalAnswersd(TASKS)({**sample, "pred": everywhere})["tumor"]
    expected = np.zeros((120, 150), bool)
    expected[20:60, 30:110] = True
    assert np.array_equal(np.asarray(found[0]).T.astype(bool), expected)


def test_smaller_networks_pixels_come_back_to_within_one_of_them(highdicom, tmp_path):
    values, mask = drawn((slice(44, 76), slice(50, 82)))
    write(tmp_path / "one.dcm", values)
    out = predict(tmp_path / "one.dcm", tmp_path, size=[40, 40])
    apart = read_mask(out / "one" / "tumor.png") != mask  # edges are those of the network's pixels, corners are mixed
    assert apart.sum() <= 16
    assert not apart[46:74, 50:82].any()
    assert not apart[44:76, 52:80].any()


def test_an_earlier_seg_is_gone_where_nothing_is_found_now_and_other_images_go_on(highdicom, tmp_path, caplog):
    values, _ = drawn()
    source = tmp_path / "in"
    source.mkdir()
    write(source / "a.dcm", values)
    write(source / "b.dcm", values, StudyInstanceUID=None)
    with caplog.at_level(logging.INFO):
        out = predict(source, tmp_path)
    assert (out / "a" / "SEG.dcm").is_file()
    assert "b: no DICOM written: it has no StudyInstanceUID" in caplog.text
    assert "DICOM (seg, sr) of 1 files, not for clinical use" in caplog.text
    assert "Doe" not in caplog.text
    write(source / "a.dcm", drawn((slice(0, 10), slice(0, 10)))[0])
    out = predict(source, tmp_path)
    assert sorted(path.name for path in (out / "a").iterdir()) == ["SR.dcm", "tumor.png"]
    assert pydicom.dcmread(out / "a" / "SR.dcm").Modality == "SR"


def test_formats_are_checked_and_without_highdicom_the_error_comes_before_predicting(tmp_path, monkeypatch):
    items = [{"case": "a", "file": "a", "dicom": "a.dcm", "frame": 0}]
    for formats in ("seg", ["rtstruct"]):
        with pytest.raises(ConfigError, match=r"formats: .*expected a list of some of \['seg', 'sr'\]"):
            WriteImageDicom(TASKS, tmp_path, items, formats)
    with pytest.raises(ConfigError, match=r"site: 'knee' is unknown"):
        WriteImageDicom(TASKS, tmp_path, items, site="knee")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"seg and sr needs highdicom.*\[dicom\].*--formats"):
        WriteImageDicom(TASKS, tmp_path, items)
    WriteImageDicom(TASKS, tmp_path, [{"case": "a", "file": "a"}])  # no DICOM, no need
    WriteImageDicom(TASKS, tmp_path, items, [])
