"""An app of the prostate bundle with a small network that was never trained, and one synthetic CT for it."""

import json
from pathlib import Path

import numpy as np
import pytest
from network_cases import fill_deterministically

from ctan_monai.data.formats.nifti import write_nifti
from ctan_monai.engines.runs.run_record import write_run
from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.networks import create_network
from ctan_monai.serve.write_app import write_app
from ctan_monai.tasks import Regression, Segmentation

ROOT = Path(__file__).parents[2]
ORGANS = ("Rectum", "Bladder", "Femur_L", "Femur_R", "CTV")


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory):
    """Return a run of the prostate bundle, as far as serving it needs one."""
    tasks = (
        Segmentation("oar", ORGANS, overlapping=True, mirror_pairs=[("Femur_L", "Femur_R")]),
        Regression("dose", "Gy", 80.0, region="mask", nonnegative=True),
    )
    network = create_network("hps", tasks, "resnet18", decoder_options={"full_resolution": True})
    fill_deterministically(network)
    folder = tmp_path_factory.mktemp("run")
    write_run(network, folder)
    save_atomic(network.state_dict(), folder / "model.pt")
    (folder / "settings.json").write_text(json.dumps({"pixel_mm": 6.0}))
    return folder


@pytest.fixture
def app(run_dir, tmp_path):
    return write_app(ROOT / "bundles" / "prostate", run_dir, tmp_path / "app")


@pytest.fixture(scope="session")
def ct(tmp_path_factory):
    """Write a CT from a formula, with axes and pixels of its own, unlike those that the network sees."""
    index = np.indices((60, 48, 4))
    hu = (-100 + 3 * index[0] - 2 * index[1] + 50 * np.sin(index[2])).astype(np.int16)
    affine_ras = np.array([[-4.0, 0, 0, 120], [0, 5.0, 0, -110], [0, 0, 7.0, -30], [0, 0, 0, 1]])
    path = tmp_path_factory.mktemp("ct") / "synthetic_1.nii.gz"
    write_nifti(hu, affine_ras, path)
    return path
