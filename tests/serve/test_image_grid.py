"""A bundle of images as an app: outline on the image's own pixels, diagnosis in the answer, learning from PNG."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from network_cases import fill_deterministically
from PIL import Image
from ultrasound_files import write_us

from ctan_monai.engines.runs.run_record import write_run
from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.errors import DataError
from ctan_monai.networks import create_network
from ctan_monai.serve.drawn import read_drawn
from ctan_monai.serve.label_tasks import AnswerOf
from ctan_monai.serve.labeled import Labeled
from ctan_monai.serve.learn import Options, learn
from ctan_monai.serve.predictor import Predictor
from ctan_monai.serve.write_app import write_app
from ctan_monai.tasks import Classification, Segmentation

CLASSES = ("nv", "mel", "bkl", "bcc", "akiec", "vasc", "df")
ROWS, COLUMNS = 75, 100


@pytest.fixture
def predictor(repository, tmp_path):
    tasks = (Segmentation("lesion", ["lesion"], overlapping=True), Classification("diagnosis", CLASSES))
    network = create_network("hps", tasks, "resnet18", in_channels=3)
    fill_deterministically(network)
    run = tmp_path / "run"
    run.mkdir()
    write_run(network, run)
    save_atomic(network.state_dict(), run / "model.pt")
    (run / "settings.json").write_text(json.dumps({"image_size": [48, 64]}))
    return Predictor(write_app(repository / "bundles" / "ham10000", run, tmp_path / "app"), "cpu")


@pytest.fixture
def image(tmp_path):
    rows, columns = np.indices((ROWS, COLUMNS))
    colors = np.stack([rows * 3, columns * 2, 255 - rows], -1).astype(np.uint8)
    Image.fromarray(colors).save(tmp_path / "synthetic.png")
    return tmp_path / "synthetic.png"


def test_the_outline_has_the_images_own_size_and_the_probabilities_add_up(predictor, image):
    answer = predictor.predict(image)
    assert answer.masks["lesion"]["lesion"].shape == (ROWS, COLUMNS)
    assert sum(answer.answers["diagnosis"].values()) == pytest.approx(1, abs=1e-5)
    assert set(answer.entropy) == {"lesion", "diagnosis"}


def test_the_outline_is_a_png_and_the_diagnosis_in_the_metrics_only(predictor, image):
    lesion, diagnosis = (AnswerOf(predictor, task) for task in predictor.tasks)
    file, said = lesion({"image": str(image)})
    with Image.open(file) as found:
        assert found.size == (COLUMNS, ROWS)
        assert int((np.array(found) == 1).sum()) == said["structures"][0]["pixels"]
    Path(file).unlink()
    none, said = diagnosis({"image": str(image)})
    assert none is None
    probabilities = said["answers"]["diagnosis"]["probabilities"]
    assert said["answers"]["diagnosis"]["class"] == max(probabilities, key=probabilities.get)


def test_a_corrected_outline_is_learned_from(predictor, image, tmp_path):
    drawn = np.zeros((ROWS, COLUMNS), np.uint8)
    drawn[20:50, 30:70] = 1
    Image.fromarray(drawn).save(tmp_path / "label.png")
    mask = predictor.predict(image).masks["lesion"]["lesion"]
    task = predictor.tasks[0]
    case = Labeled(image, tmp_path / "label.png")
    given = learn(predictor, task, [case, replace(case, submitted=False)], Options(epochs=1))
    expected = 2 * mask[20:50, 30:70].sum() / (mask.sum() + drawn.sum())
    assert given["dice_before"] == pytest.approx(expected, abs=1e-4)
    assert (given["cases"], given["deciding_cases"]) == (1, 1)
    assert given["change_of_values"] == {}


def test_a_label_of_another_size_is_refused(predictor, image, tmp_path):
    Image.fromarray(np.ones((10, 20), np.uint8)).save(tmp_path / "label.png")
    with pytest.raises(DataError, match="10 x 20"):
        learn(predictor, predictor.tasks[0], [Labeled(image, tmp_path / "label.png")], Options(epochs=1))


def test_a_label_that_viewers_would_read_in_other_numbers_is_refused(predictor, image, tmp_path):
    """Two bits per pixel: Pillow shows 1 as 85."""
    palette = Image.fromarray(np.ones((ROWS, COLUMNS), np.uint8), "P")
    palette.putpalette([0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255])
    palette.save(tmp_path / "label.png", bits=2)
    with pytest.raises(DataError, match="its palette shows other gray values than the numbers that it stores"):
        read_drawn(
            image, tmp_path / "label.png", {"label_info": [{"name": "lesion", "idx": 1}]}, predictor.segmentations
        )


@pytest.mark.parametrize("shape", [(40, 61), (2, 40, 61)])
def test_busi_answers_png_on_its_own_pixels_and_refuses_dicom_by_name(repository, tmp_path, shape):
    tasks = (Segmentation("tumor", ["tumor"], overlapping=True), Classification("diagnosis", ["malignant"]))
    network = create_network("mt_estan", tasks, in_channels=3, network_options={"mt_estan": {"size": "tiny"}})
    run = tmp_path / "run"
    run.mkdir()
    write_run(network, run)
    save_atomic(network.state_dict(), run / "model.pt")
    (run / "settings.json").write_text(json.dumps({"image_size": [64, 64]}))
    predictor = Predictor(write_app(repository / "bundles" / "busi", run, tmp_path / "app"), "cpu")
    values = np.random.default_rng(1).integers(20, 200, shape).astype(np.uint8)
    Image.fromarray(values.reshape(-1, *shape[-2:])[0]).save(tmp_path / "us.png")
    assert predictor.predict(tmp_path / "us.png").masks["tumor"]["tumor"].shape == (40, 61)
    write_us(tmp_path / "us.dcm", values)
    with pytest.raises(DataError, match=r"us.dcm: DICOM ultrasound is not answered here.*Export the frame as PNG"):
        predictor.predict(tmp_path / "us.dcm")
