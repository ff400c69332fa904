"""Small files of one's own to read: volumes, images, tables. All of it synthetic."""

import csv
import json

import numpy as np
from PIL import Image

from ctan_monai.data.datasets.tabular.layout import as_layout
from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.tasks import Classification, Regression, Segmentation

SHAPE, SPACING_MM = (6, 5, 4), (1.0, 2.0, 3.0)
AFFINE_RAS = np.array([[1.0, 0, 0, -3], [0, 2.0, 0, 7], [0, 0, 3.0, -1], [0, 0, 0, 1]])
TUMOUR = Segmentation("tumour", ["core", "edema"])
GRADE = Classification("grade", ["low", "high"])
DOSE = Regression("dose", "Gy", 70.0, nonnegative=True)
AGE = Regression("age", "years", 100.0, level="image")
TASKS = (TUMOUR, GRADE, DOSE, AGE)


def volume_layout(tasks=TASKS, channels=("ct",), **options):
    """Return a layout of volumes."""
    return as_layout(tasks, channels, **options)


def ramp(shape=SHAPE):
    """Return different numbers in every voxel, as CT has them."""
    return (np.arange(np.prod(shape)).reshape(shape) * 7 - 300).astype(np.int16)


def save_volume(path, values, affine_ras=AFFINE_RAS):
    """Write NIfTI, and return the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(np.asarray(values), np.asarray(affine_ras, float), path)
    return path.name


def save_image(path, values):
    """Write PNG or JPEG, and return the file's name."""
    Image.fromarray(np.asarray(values, np.uint8)).save(path)
    return path.name


def label_map(shape=SHAPE, core=1, edema=2):
    """Return a label map with a row of core and a row of edema."""
    values = np.zeros(shape, np.uint8)
    values[1, 1, 1:3] = core
    values[3, 2:4, 2] = edema
    return values


def write_csv(path, rows, **options):
    """Write a table; its columns are those of the first row."""
    with path.open("w", newline="", encoding=options.pop("encoding", "utf-8")) as file:
        writer = csv.DictWriter(file, list(rows[0]), restval="", **options)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_json(path, content):
    """Write a table as JSON."""
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def full_case(folder, name, **changes):
    """Write the files of a case with all labels of TASKS, and return its row."""
    row = {
        "case": name,
        "image": save_volume(folder / f"{name}_ct.nii.gz", ramp()),
        "tumour": save_volume(folder / f"{name}_tumour.nii.gz", label_map()),
        "grade": "high",
        "dose": save_volume(folder / f"{name}_dose.nii.gz", np.full(SHAPE, 2.5, np.float32)),
        "age": "61.5",
    }
    return row | changes
