"""A small patient, made by hand, in OpenKBP's axes: anterior to posterior, right to left, superior to inferior."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctan_monai.data.cases.case import Case
from ctan_monai.tasks import Classification, Regression, Segmentation
from ctan_monai.transforms import LoadCaseFiled

SHAPE = (12, 16, 6)
SPACING_MM = (4.0, 4.0, 2.5)  # dy, dx, dz of the axes i, j, k


@pytest.fixture
def organs() -> Segmentation:
    return Segmentation(
        "oar",
        ["Brainstem", "LeftParotid", "RightParotid", "Larynx"],
        overlapping=True,
        mirror_pairs=[("LeftParotid", "RightParotid")],
    )


@pytest.fixture
def dose() -> Regression:
    return Regression("dose", unit="Gy", scale=70.0, nonnegative=True)


@pytest.fixture
def finding() -> Classification:
    return Classification("stage", ["early", "late", "never"])


@pytest.fixture
def patient() -> Case:
    rng = np.random.default_rng(7)
    masks = {name: np.zeros(SHAPE, bool) for name in ("Brainstem", "LeftParotid", "PTV70", "dose_region")}
    masks["Brainstem"][5:8, 7:9, 1:4] = True
    masks["LeftParotid"][4:7, 11:14, 1:3] = True  # the patient's left is where j is high; the right one is unknown
    masks["PTV70"][3:9, 9:14, 1:5] = True
    masks["dose_region"][2:10, 3:15] = True
    ct = rng.integers(-1024, 1500, SHAPE).astype(np.int16)
    dose_gy = (rng.random(SHAPE) * 70).astype(np.float32) * masks["dose_region"]
    dx, dz = SPACING_MM[1], SPACING_MM[2]
    affine_ras = np.array([[0, -dx, 0, 0], [-dx, 0, 0, 0], [0, 0, -dz, 0], [0, 0, 0, 1]], float)
    return Case("pt_1", {"ct": ct, "dose": dose_gy}, masks, affine_ras, {"stage": 2}, {})


@pytest.fixture
def sample(patient: Case, organs: Segmentation, dose: Regression, finding: Classification) -> dict[str, Any]:
    return LoadCaseFiled([organs, dose, finding], ["ct", "PTV70"]).sample(patient, Path("pt_1.case"))
