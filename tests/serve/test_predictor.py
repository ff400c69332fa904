"""An app's network applied to one image, without a server."""

import os

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from pack_kit import run_config

from ctan_monai.engines.runs.torch_file import load_checked, save_atomic
from ctan_monai.errors import DataError
from ctan_monai.serve.label_tasks import AnswerOf
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


def test_each_task_is_a_model_whose_file_and_metrics_agree(predictor, ct):
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


@pytest.mark.parametrize("name", ["2: CT Pelvis 3mm.nii.gz", "Müller.nii.gz", "a b.NII.GZ", "x" * 90 + ".nii.gz"])
def test_an_image_may_be_called_anything(predictor, ct, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(ct.read_bytes())
    found, expected = predictor.predict(path), predictor.predict(ct)
    np.testing.assert_array_equal(found.values["dose"], expected.values["dose"])


def test_an_nrrd_is_answered_as_the_same_nifti(predictor, ct, tmp_path):
    path = tmp_path / "volume of slicer.nrrd"
    sitk.WriteImage(sitk.ReadImage(str(ct)), str(path))
    found, expected = predictor.predict(path), predictor.predict(ct)
    np.testing.assert_allclose(found.affine_ras, expected.affine_ras, atol=1e-4)
    np.testing.assert_array_equal(found.values["dose"], expected.values["dose"])
