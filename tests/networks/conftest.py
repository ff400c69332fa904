"""What every architecture is tested with."""

import pytest
import torch
from network_cases import ENCODERS, METHODS, OPTIONS, TASKS

from ctan_monai.networks import create_network


@pytest.fixture(params=METHODS)
def method(request):
    """Each architecture in turn."""
    return request.param


@pytest.fixture
def make():
    """Build a small network with reproducible weights."""

    def build(method, tasks=TASKS, spatial_dims=2, **options):
        torch.manual_seed(0)
        small = {"network_options": OPTIONS, "encoder": ENCODERS.get(method), **options}
        return create_network(method, tasks, spatial_dims=spatial_dims, **small)

    return build
