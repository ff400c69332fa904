"""An app's network applied to one image, without a server."""

import os

import nibabel as nib
import numpy as np
import pytest
from pack_kit import run_config

from ctan_monai.data.nifti import write_nifti
from ctan_monai.engines.torch_file import load_checked, save_atomic
from ctan_monai.errors import DataError
from ctan_monai.serve.label_tasks import AnswerOf
from ctan_monai.serve.learn import Options, learn, options_from
from ctan_monai.serve.predictor import Predictor


@pytest.fixture
def predictor(app):
    return Predictor(app, "cpu")


def test_masks_and_dose_lie_on_the_images_own_grid(predictor, ct):
    answer, image = predictor.predict(ct), nib.load(ct)
    assert answer.values["dose"].shape == image.shape == next(iter(answer.masks["oar"].values())).shape
    np.testing.assert_allclose(answer.affine_ras, image.affine)
    assert answer.values["dose"].min() >= 0
    assert 0 <= answer.uncertainty < np.inf


def test_it_answers_as_the_bundle_does(predictor, ct, run_dir, repository, tmp_path):
    places = {
        "input": str(ct),
        "run_dir": str(run_dir),
        "output_dir": str(tmp_path / "out"),
        "cache_dir": str(tmp_path),
    }
    chosen = {"method": "hps", "encoder": "resnet18", "formats": ["nifti"]}
    run_config(
        repository / "bundles" / "prostate", "inference.yaml", run_id="inferring", kind="infer", **places, **chosen
    )
    answer = predictor.predict(ct)
    folder = next(path for path in (tmp_path / "out").rglob("dose.nii.gz") if "report" not in path.parts).parent
    for name, array in {"dose": answer.values["dose"], **answer.masks["oar"]}.items():
        np.testing.assert_allclose(array, nib.load(folder / f"{name}.nii.gz").get_fdata(), atol=1e-3)


def test_each_task_is_a_model_whose_file_and_figures_agree(predictor, ct):
    for task in predictor.tasks:
        file, said = AnswerOf(predictor, task)({"image": str(ct)})
        image = nib.load(file)
        assert image.shape == nib.load(ct).shape
        if task.name == "dose":
            assert image.get_fdata().max() == pytest.approx(said["values"]["dose"]["max"], abs=1e-3)
        os.remove(file)


def test_the_last_answer_is_kept_until_the_image_or_the_weights_change(predictor, ct, tmp_path):
    path = tmp_path / ct.name
    path.write_bytes(ct.read_bytes())
    first = predictor.predict(path)
    assert predictor.predict(path) is first
    os.utime(path, ns=(1, 1))
    second = predictor.predict(path)
    assert second is not first
    state, weights = predictor.app.run_dir / "model.pt", load_checked(predictor.app.run_dir / "model.pt")
    save_atomic({key: value * 0 if "dose" in key else value for key, value in weights.items()}, state)
    third = predictor.predict(path)
    assert third.values["dose"].max() == 0 < second.values["dose"].max()


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_a_broken_file_is_an_error_of_this_package(predictor, ct, tmp_path, content):
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(ct.read_bytes()[:200] if content is None else content)
    with pytest.raises(DataError, match="NIfTI"):
        predictor.predict(path)


def test_learning_keeps_what_is_not_worse_and_leaves_the_other_tasks_alone(predictor, ct, tmp_path):
    answer = predictor.predict(ct)
    drawn = np.zeros(nib.load(ct).shape, np.uint8)
    drawn[20:40, 10:30] = 2
    label = tmp_path / "label.nii.gz"
    write_nifti(drawn, answer.affine_ras, label)
    old = (predictor.app.run_dir / "model.pt").read_bytes()
    given = learn(predictor, predictor.tasks[0], [(ct, label)], Options(epochs=1, learning_rate=0.01))
    expected = 2 * answer.masks["oar"]["Bladder"][20:40, 10:30].sum()
    expected /= answer.masks["oar"]["Bladder"].sum() + (drawn > 0).sum()
    assert given["dice_before"] == pytest.approx(expected, abs=1e-4)
    assert given["kept"] == (given["dice_after"] >= given["dice_before"])
    assert given["change_of_values"] == {"dose": 0.0}
    previous = predictor.app.run_dir / "model.previous.pt"
    assert previous.exists() == given["kept"]
    kept = previous if given["kept"] else predictor.app.run_dir / "model.pt"
    assert kept.read_bytes() == old


@pytest.mark.parametrize(("value", "words"), [(9, "9"), (0, "nothing but 0")])
def test_a_label_that_says_nothing_is_refused(predictor, ct, tmp_path, value, words):
    image, label = nib.load(ct), tmp_path / "label.nii.gz"
    write_nifti(np.full(image.shape, value, np.uint8), image.affine, label)
    with pytest.raises(DataError, match=words):
        learn(predictor, predictor.tasks[0], [(ct, label)], Options(epochs=1))


def test_so_is_one_of_another_grid(predictor, ct, tmp_path):
    label = tmp_path / "label.nii.gz"
    write_nifti(np.ones(nib.load(ct).shape, np.uint8), np.eye(4), label)
    with pytest.raises(DataError, match="places differ"):
        learn(predictor, predictor.tasks[0], [(ct, label)], Options(epochs=1))


def test_options_come_as_a_viewer_sends_them():
    found = options_from({"max_epochs": "3", "layers": ["all", "task"], "learning_rate": 0.01, "client_id": "x"})
    assert (found.epochs, found.layers, found.learning_rate, found.batch_size) == (3, "all", 0.01, 4)
