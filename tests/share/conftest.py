"""The folder of a run whose network is small, and the same network."""

import pytest
from network_cases import TASKS, fill_deterministically

from ctan_monai.engines.runs.run_record import write_run
from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.networks import create_network


@pytest.fixture(scope="session")
def trained():
    """Return a CTAN of three tasks, two per voxel and one per image, as a training leaves it."""
    network = create_network("ctan", TASKS, "resnet18", decoder_options={"full_resolution": True})
    fill_deterministically(network)
    return network.eval()


@pytest.fixture(scope="session")
def run_dir(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_run(trained, folder)
    save_atomic(trained.state_dict(), folder / "model.pt")
    return folder


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """Return the folder of a small training of the bundle ham10000 on synthetic images."""
    from pack_kit import train_small

    return train_small(tmp_path_factory.mktemp("small"))
