"""A patient of boxes whose doses are known by hand, and the folder that predicting it leaves."""

from pathlib import Path

import numpy as np

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.engines.predictions.predictions_index import PredictedCase, write_index
from ctan_monai.tasks import Regression, Segmentation

SHAPE = (20, 24, 14)  # 4 x 4 x 2.5 mm: 0.04 cc each
AFFINE_RAS = np.array([[-4.0, 0, 0, 0], [0, -4.0, 0, 0], [0, 0, 2.5, 0], [0, 0, 0, 1]])
TASKS = (
    Segmentation("oar", ["Rectum", "Bladder"], overlapping=True),
    Regression("dose", "Gy", 80.0, region="mask"),  # the planned dose is unknown outside of it
)


def box(*sides):
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


BODY = box((2, 18), (2, 22), (0, 14))
TARGET = box((6, 14), (8, 16), (4, 10))  # 8 x 8 x 6 voxels
RECTUM = box((8, 12), (18, 21), (2, 12))  # 4 x 3 x 10 voxels: 4.8 cc
BLADDER = box((8, 12), (8, 12), (4, 12))


def box_case(case="pt_1", meta=None, planned=True):
    """60 Gy in the target, 20 Gy in the body around it; the dose is known from the second slice on."""
    dose = np.where(TARGET, 60.0, 20.0).astype(np.float32) * BODY
    known = box((0, 20), (0, 24), (1, 14))
    ct = np.where(BODY, 40, -1000).astype(np.int16)
    facts = {"prescription_gy": 60.0, "fractions": 20, "synthetic": True, **(meta or {})}
    if not planned:
        return Case(case, {"ct": ct}, {"dose_region": np.zeros(SHAPE, bool)}, AFFINE_RAS, meta=facts)
    masks = {"External": BODY, "Rectum": RECTUM, "Bladder": BLADDER, "PTV": TARGET, "dose_region": known}
    return Case(case, {"ct": ct, "dose": dose * known}, masks, AFFINE_RAS, meta=facts)


def predicted_dose(more_gy=0.0, factor=1.0):
    """The planned dose, known everywhere, times ``factor``, with ``more_gy`` in the target."""
    return (factor * np.where(TARGET, 60.0, 20.0) * BODY + more_gy * TARGET).astype(np.float32)


def write_predictions(root, predictions):
    """Write what predicting these cases leaves, and return the folder.

    Args:
        root: a folder.
        predictions: triples of the case, the predicted masks by name, the predicted dose.
    """
    folder, entries = Path(root) / "predictions", []
    for case, masks, dose in predictions:
        source = Path(root) / "cache" / f"{case.case}.case"
        write_case(source, case)
        files = {name: folder / case.case / f"{name}.nii.gz" for name in (*masks, "dose")}
        for name, array in {**{name: mask.astype(np.uint8) for name, mask in masks.items()}, "dose": dose}.items():
            write_nifti(array, case.affine_ras, files[name])
        oar = {name: files[name] for name in masks}
        entries.append(PredictedCase(case.case, source, {"oar": oar, "dose": {"dose": files["dose"]}}))
    write_index(folder, TASKS, entries)
    return folder


ANSWERED = {
    "Rectum": np.roll(RECTUM, 1, axis=0),
    "Bladder": BLADDER,
}  # the rectum one voxel beside its place: Dice 0.75
