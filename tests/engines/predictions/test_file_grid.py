"""Predictions come back on the axes and the grid of the file that was given, whatever the network worked on."""

import nibabel as nib
import numpy as np
import pytest
import torch
from known_anatomy import Nothing
from monai.data import DataLoader, Dataset
from monai.inferers import Inferer

from ctan_monai.data.cases.file_grid import Grid, reorient_to, resample_to
from ctan_monai.data.datasets.tabular import tabular_inference_list
from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.engines.loop.evaluator import MultiTaskEvaluator
from ctan_monai.engines.loop.prepare import PrepareMultiTaskBatch
from ctan_monai.engines.predictions.prediction_writer import WritePredictions
from ctan_monai.report import report_predictions
from ctan_monai.tasks import Regression, Segmentation
from ctan_monai.transforms import LoadCaseFiled

TASKS = (
    Segmentation("parts", ["middle", "high"]),
    Segmentation("bright", ["bright"], overlapping=True),
    Regression("value", "HU", 100.0),
)
SHAPE = (20, 16, 12)
RAS = np.array([[1.5, 0, 0, -10], [0, 2.0, 0, 7], [0, 0, 2.5, 30], [0, 0, 0, 1]])
ANGLE = np.radians(25)
TURN = np.array(
    [[np.cos(ANGLE), -np.sin(ANGLE), 0, 0], [np.sin(ANGLE), np.cos(ANGLE), 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
)


class FromImage(Inferer):
    """Answers from the gray values alone, so that the answer is known for every voxel of the file."""

    def __call__(self, inputs, network, *args, **kwargs):
        image = inputs.as_tensor().float()  # (1, 1, *S)
        parts = torch.cat([0 * image, (image - 100) / 100, (image - 200) / 50], 1)  # above 100 middle, above 300 high
        return {"parts": parts, "bright": (image - 150) / 100, "value": image / 100}


def predict(folder, values, affine_ras, ending=".nii.gz", label_values=None, **options):
    """Predict one file, and return the folder of its predictions."""
    writing = {"volumes": [] if ending == ".png" else ["ct"], "label_values": label_values}
    path = folder / f"p{ending}"
    if ending == ".png":
        from PIL import Image

        Image.fromarray(values).save(path)
    else:
        write_nifti(values, affine_ras, path)
    channel = "gray" if ending == ".png" else "ct"
    items = tabular_inference_list(path, folder / "cache", TASKS, [channel], progress=False, **options)
    out = folder / "out"
    formats = ["png", "nifti"] if ending == ".png" else ["nifti"]
    MultiTaskEvaluator(
        "cpu",
        DataLoader(Dataset(items, LoadCaseFiled(TASKS, image_channels=[channel])), batch_size=1),
        Nothing(TASKS),
        prepare_batch=PrepareMultiTaskBatch(TASKS, require_labels=False),
        inferer=FromImage(),
        val_handlers=[WritePredictions(TASKS, out, formats, **writing)],
    ).run()
    report_predictions(out, image=channel)
    assert (out / "p" / "overlay.png").is_file()
    return out / "p"


def written(folder, name):
    image = nib.load(folder / f"{name}.nii.gz")
    return np.asarray(image.dataobj), image.affine


def stored_as(codes, values, affine_ras=RAS):
    """Turn an array in RAS to other axes, as a scanner stores it."""
    change = nib.orientations.ornt_transform(nib.io_orientation(affine_ras), nib.orientations.axcodes2ornt(codes))
    there = affine_ras @ nib.orientations.inv_ornt_aff(change, values.shape)
    return nib.orientations.apply_orientation(values, change), there


@pytest.mark.parametrize("axes", ["RAS", "ASR"])
@pytest.mark.parametrize("codes", ["RAS", "LPI", "PIR", "oblique"])
def test_every_voxel_is_answered_where_the_file_has_it(tmp_path, codes, axes):
    values = np.random.default_rng(0).integers(-50, 500, SHAPE).astype(np.int16)
    stored, affine_ras = stored_as("SLA" if codes == "oblique" else codes, values)
    affine_ras = TURN @ affine_ras if codes == "oblique" else affine_ras
    numbers = {"parts": {"middle": [7, 8], "high": 3}}
    folder = predict(tmp_path, stored, affine_ras, axes=axes, label_values=numbers)
    expected = {
        "ct": stored,
        "middle": (stored > 100) & (stored <= 300),
        "high": stored > 300,
        "parts": np.where(stored > 300, 3, np.where(stored > 100, 7, 0)),  # the first number of a group
        "bright": stored >= 150,
    }
    given = nib.load(tmp_path / "p.nii.gz")
    for name, array in expected.items():
        found, found_affine = written(folder, name)
        np.testing.assert_array_equal(found, array, err_msg=name)
        np.testing.assert_array_equal(found_affine, given.affine)
    np.testing.assert_allclose(written(folder, "value")[0], stored, atol=1e-3)


@pytest.mark.parametrize("codes", ["LPI", "PIR"])
def test_what_was_resampled_is_brought_back_to_the_voxels_of_the_file(tmp_path, codes):
    place = np.einsum("ij,j...->i...", RAS[:3, :3], np.indices(SHAPE))  # mm
    values = (8 * place[0] + 2 * place[1] + 4 * place[2]).astype(np.float32)  # linear: its value is known everywhere
    stored, affine_ras = stored_as(codes, values)
    folder = predict(tmp_path, stored, affine_ras, spacing_mm=[2.0, 3.0, 3.0])
    inside = np.s_[2:-2, 2:-2, 2:-2]
    for name in ("value", "ct", "middle", "high", "bright", "parts"):
        found, found_affine = written(folder, name)
        assert found.shape == stored.shape
        np.testing.assert_array_equal(found_affine, nib.load(tmp_path / "p.nii.gz").affine)
        if name in ("value", "ct"):
            np.testing.assert_allclose(found[inside], stored[inside], atol=0.5)
    for name, expected in (("bright", stored >= 150), ("high", stored > 300)):
        clear = np.abs(stored - (150 if name == "bright" else 300)) > 2
        np.testing.assert_array_equal(
            written(folder, name)[0][inside][clear[inside]] > 0, expected[inside][clear[inside]]
        )


def test_an_image_is_answered_in_the_size_of_its_file(tmp_path):
    rows, columns = np.indices((96, 128))
    image = (rows + columns).astype(np.uint8)
    folder = predict(tmp_path, image, None, ".png", size=[48, 64], sample="gray")
    found, affine = written(folder, "value")
    assert found.shape == image.shape
    np.testing.assert_allclose(found[4:-4, 4:-4], image[4:-4, 4:-4], atol=1.0)
    assert affine[:2, :2].tolist() == [[0, -1], [-1, 0]]  # pixels of the file
    bright = written(folder, "bright")[0]
    assert (bright[4:-4, 4:-4] != (image >= 150)[4:-4, 4:-4]).mean() < 0.01
    from PIL import Image

    np.testing.assert_array_equal(np.array(Image.open(folder / "bright.png")) > 0, bright > 0)


def test_grids_of_the_same_voxels_are_turned_and_others_interpolated():
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.float32)
    here = Grid(SHAPE, RAS)
    stored, affine_ras = stored_as("PIR", values)
    np.testing.assert_array_equal(reorient_to(values, here, Grid(stored.shape, affine_ras)), stored)
    shifted = RAS.copy()
    shifted[0, 3] += 0.75  # half a voxel
    assert reorient_to(values, here, Grid(SHAPE, shifted)) is None
    np.testing.assert_allclose(resample_to(values, here, Grid(SHAPE, shifted))[:-1], (values[:-1] + values[1:]) / 2)
    labels = np.where(np.arange(SHAPE[0])[:, None, None] < 9, 2, 5).astype(np.uint8) * np.ones(SHAPE, np.uint8)
    assert set(np.unique(resample_to(labels, here, Grid(SHAPE, shifted)))) == {2, 5}
