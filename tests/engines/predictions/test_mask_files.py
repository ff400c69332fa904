"""Masks of images as PNG, through the whole of `WritePredictions`."""

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from PIL import Image

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.formats.images import image_affine_ras
from ctan_monai.engines.predictions.prediction_writer import WritePredictions
from ctan_monai.engines.predictions.predictions_index import read_index
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Classification, Regression, Segmentation
from ctan_monai.transforms import LoadCaseFiled

LESION = Segmentation("lesion", ["lesion"], overlapping=True)
PARTS = Segmentation("parts", ["rim", "core"])
SHAPE, FULL = (24, 32), (72, 96)


def disc(shape, radius=0.5):
    rows, columns = np.indices(shape)
    return np.hypot((rows + 0.5) / shape[0] - 0.5, (columns + 0.5) / shape[0] - 0.5 * shape[1] / shape[0]) < radius / 2


def predict(tmp_path, tasks, answers, meta=None, shape=SHAPE, **options):
    """Write what a network that gives some logits would predict for one image."""
    case = Case("a", {"red": np.ones(shape, np.uint8)}, {}, image_affine_ras(FULL, SHAPE), {}, meta or {})
    write_case(tmp_path / "a.case", case)
    items = [{"case": "a", "file": str(tmp_path / "a.case")}]
    engine = Engine(lambda _, batch: {"image": batch["image"], "pred": answers})
    WritePredictions(tasks, tmp_path / "out", **options).attach(engine)
    engine.run(DataLoader(Dataset(items, LoadCaseFiled(tasks, ["red"])), batch_size=1))
    return tmp_path / "out"


def logits(mask):
    return {"lesion": torch.from_numpy(mask.astype(np.float32) * 8 - 4)[None, None]}


def test_a_mask_has_the_size_of_the_images_file_and_lies_where_it_was_found(tmp_path):
    folder = predict(tmp_path, [LESION], logits(disc(SHAPE)), {"full_shape": list(FULL)}, formats=["png"])
    image = Image.open(folder / "a" / "lesion.png")
    assert (image.size, image.mode) == ((96, 72), "L")
    written = np.array(image)
    assert set(np.unique(written)) == {0, 255}
    expected = disc(FULL)
    assert 2 * (expected & (written > 0)).sum() / (expected.sum() + (written > 0).sum()) > 0.97
    (case,) = read_index(folder).cases
    assert case.files == {"lesion": {"lesion": folder / "a" / "lesion.png"}}


def test_without_a_known_size_the_grid_is_kept(tmp_path):
    folder = predict(tmp_path, [LESION], logits(disc(SHAPE)), formats=["png"])
    assert np.array_equal(np.array(Image.open(folder / "a" / "lesion.png")) > 0, disc(SHAPE))


def test_with_nifti_beside_it_the_index_names_the_nifti_files(tmp_path):
    folder = predict(tmp_path, [LESION], logits(disc(SHAPE)), formats=["nifti", "png"])
    assert sorted(path.name for path in (folder / "a").iterdir()) == ["lesion.nii.gz", "lesion.png"]
    assert read_index(folder).cases[0].files["lesion"]["lesion"].name == "lesion.nii.gz"


def test_exclusive_labels_are_written_each(tmp_path):
    core, rim = disc(SHAPE, 0.3), disc(SHAPE, 0.8)
    answers = np.stack([np.full(SHAPE, 0.5), rim, 2.0 * core])[None].astype(np.float32)
    folder = predict(tmp_path, [PARTS], {"parts": torch.from_numpy(answers)}, formats=["png"])
    found = {path.stem: np.array(Image.open(path)) > 0 for path in (folder / "a").iterdir()}
    assert found.keys() == {"rim", "core"}
    assert np.array_equal(found["core"], core)
    assert np.array_equal(found["rim"], rim & ~core)


def test_volumes_and_values_are_no_images(tmp_path):
    volume = logits(np.ones((4, 5, 6), bool))
    with pytest.raises(DataError, match="an image has two axes"):
        predict(tmp_path, [LESION], volume, shape=(4, 5, 6), formats=["png"])
    with pytest.raises(ConfigError, match="png holds masks only"):
        WritePredictions([Regression("dose", "Gy", 70.0)], tmp_path, formats=["png"])
    WritePredictions([LESION, Classification("dx", ["a", "b"])], tmp_path, formats=["png"])
