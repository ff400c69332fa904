import torch
from engine_kit import SmallNetwork
from torch.nn.parallel import DataParallel

from ctan_monai.engines.distributed.processes import unwrap, without_data_parallel


def test_a_bare_network_is_itself():
    network = SmallNetwork()
    assert unwrap(network) is network
    assert without_data_parallel(network) is network


def test_the_network_is_found_under_compilation_and_data_parallel_in_any_order():
    network = SmallNetwork()
    assert unwrap(torch.compile(network, backend="eager")) is network
    assert unwrap(DataParallel(torch.compile(network, backend="eager"))) is network
    assert unwrap(torch.compile(DataParallel(network), backend="eager")) is network


def test_a_submodule_named_module_is_no_wrapper():
    network = SmallNetwork()
    network.module = torch.nn.Identity()
    assert unwrap(network) is network
