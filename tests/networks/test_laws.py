"""Laws that every architecture must obey."""

import copy
import json
from pathlib import Path

import pytest
import torch
from network_cases import DOSE, ENCODERS, FLAT, GRADE, METHODS, OAR, SMALL, TASKS, fill_deterministically, wave

from ctan_monai.errors import ConfigError
from ctan_monai.networks import SelectOutput, create_network, describe_network, methods
from ctan_monai.networks.parts import KINDS
from ctan_monai.networks.registry import own_backbone
from ctan_monai.networks.sites import recording, replacing

GOLDEN = Path(__file__).with_name("golden_outputs.json")


def expected_shape(task, batch, size):
    return (batch, task.channels, *size) if task.pixel_level else (batch, task.channels)


def largest_difference(first, second):
    return max((first[name] - second[name]).abs().max().item() for name in first)


def golden_network(method):
    options = {"decoder_options": {"full_resolution": True}, "network_options": SMALL}
    network = create_network(method, TASKS, ENCODERS.get(method), **options).eval()
    fill_deterministically(network)
    return network


def test_the_test_suite_covers_every_registered_architecture():
    assert sorted(METHODS) == methods()


@pytest.mark.parametrize("full_resolution", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (77, 50), (65, 33)])
def test_every_task_gets_logits_of_the_image_size_also_at_odd_sizes(make, method, size, full_resolution):
    network = make(method, decoder_options={"full_resolution": full_resolution})
    logits = network(torch.randn(2, 1, *size))
    assert {name: tuple(value.shape) for name, value in logits.items()} == {
        task.name: expected_shape(task, 2, size) for task in TASKS
    }


@pytest.mark.parametrize("size", [(32, 32, 32), (33, 40, 21)])
def test_volumes_work_like_images_or_are_refused_by_name(make, method, size):
    if method in FLAT:
        with pytest.raises(ConfigError, match=f"{method} is 2D and found 3"):
            make(method, spatial_dims=3)
        return
    network = make(method, spatial_dims=3, decoder_options={"full_resolution": True}).eval()
    with torch.no_grad():
        logits = network(torch.randn(1, 1, *size))
    assert {name: tuple(value.shape) for name, value in logits.items()} == {
        task.name: expected_shape(task, 1, size) for task in TASKS
    }


def test_every_parameter_learns_from_the_sum_of_the_outputs(make, method):
    network = make(method, decoder_options={"full_resolution": True})
    fill_deterministically(network)  # residual branches of Swin V2 start from exact zeros
    sum(value.square().mean() for value in network(torch.randn(2, 1, 64, 64)).values()).backward()
    silent = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert silent == []


@pytest.mark.parametrize("tasks", [(DOSE,), (OAR, DOSE), TASKS], ids=["T=1", "T=2", "T=3"])
def test_any_number_of_tasks_works_and_ctan_says_that_it_needs_two(make, method, tasks):
    if method == "ctan" and len(tasks) == 1:
        with pytest.raises(ConfigError, match=r"ctan attends across tasks and found 1.*--method stl"):
            make(method, tasks)
        return
    assert list(make(method, tasks)(torch.randn(2, 1, 64, 64))) == [task.name for task in tasks]


@pytest.mark.parametrize("training", [True, False])
def test_the_order_of_the_tasks_does_not_matter(make, method, training):
    network = make(method).train(training)
    permuted = make(method, (GRADE, OAR, DOSE)).train(training)
    permuted.load_state_dict(network.state_dict(), strict=True)
    image = wave(2, 1, 64, 64)
    with torch.no_grad():
        torch.manual_seed(1)  # for what is drawn at each step
        expected = network(image)
        torch.manual_seed(1)
        assert largest_difference(expected, permuted(image)) < 1e-4


def test_a_case_does_not_depend_on_its_neighbors_in_the_batch(make, method):
    network = make(method).eval()
    image = wave(3, 1, 64, 64)
    with torch.no_grad():
        together, alone = network(image), network(image[1:2])
    assert largest_difference({name: value[1:2] for name, value in together.items()}, alone) < 1e-4


def test_scripted_and_exported_networks_answer_alike(make, method):
    network = make(method, decoder_options={"full_resolution": True}).eval()
    image = wave(1, 1, 70, 64)
    with torch.no_grad():
        expected = network(image)
        assert largest_difference(expected, torch.jit.script(network)(image)) < 1e-5
        assert largest_difference(expected, torch.export.export(network, (image,)).module()(image)) < 1e-5


def test_channels_last_changes_nothing(make, method):
    network = make(method).eval()
    image = wave(2, 1, 64, 64)
    with torch.no_grad():
        expected = network(image)
        reordered = network.to(memory_format=torch.channels_last)(image.to(memory_format=torch.channels_last))
    assert largest_difference(expected, reordered) < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_stays_finite_and_close(make, method, dtype):
    network = make(method).eval()
    image = wave(2, 1, 64, 64)
    with torch.no_grad():
        expected = network(image)
        with torch.autocast("cpu", dtype=dtype):
            mixed = network(image)
    for name, value in mixed.items():
        assert value.isfinite().all()
        assert (value.float() - expected[name]).abs().max() < 0.1 * (1 + expected[name].abs().max())


@pytest.mark.parametrize("method", [method for method in METHODS if method != "mt_estan_swin"])  # a part of the hybrid
def test_compiled_networks_train_alike(make, method):
    network = make(method)
    compiled = torch.compile(copy.deepcopy(network), backend="aot_eager")
    image = wave(2, 1, 64, 64)
    torch.manual_seed(1)  # for what is drawn at each step
    expected = network(image)
    torch.manual_seed(1)
    assert largest_difference(expected, compiled(image)) < 1e-4


def test_outputs_equal_those_on_record(method):
    network = golden_network(method)
    with torch.no_grad():
        logits = network(wave(1, 1, 64, 64))
    found = {name: [value.double().mean().item(), value.double().std().item()] for name, value in logits.items()}
    recorded = json.loads(GOLDEN.read_text())[method]
    for name, (mean, spread) in found.items():
        assert [mean, spread] == pytest.approx(recorded[name], rel=1e-3, abs=1e-5), (
            f"{method}/{name} changed; if that was meant, run `python tests/networks/record_golden.py`"
        )


def test_parameters_are_either_shared_or_of_one_task(make, method):
    network = make(method)
    own = [id(value) for task in TASKS for value in network.task_parameters(task.name)]
    shared = [id(value) for value in network.shared_parameters()]
    assert sorted(own + shared) == sorted(id(value) for value in network.parameters())
    assert bool(shared) is (method != "stl")
    assert network.independent_tasks is (method == "stl")


def test_a_tasks_own_parameters_get_no_gradient_from_the_other_tasks(make, method):
    network = make(method).train()
    network(torch.randn(2, 1, 64, 64))["dose"].square().mean().backward()
    strangers = [value.grad for task in (OAR, GRADE) for value in network.task_parameters(task.name)]
    assert strangers
    assert all(gradient is None or not gradient.any() for gradient in strangers)
    own = list(network.task_parameters("dose"))
    assert all(value.grad is not None for value in own)


def test_the_parts_that_a_network_names_are_in_its_forward_pass(make, method):
    network = make(method, decoder_options={"full_resolution": True}).eval()
    parts = network.parts()
    assert bool(parts) is not network.independent_tasks
    assert len({part.name for part in parts}) == len(parts)
    assert {part.kind for part in parts} <= set(KINDS)
    assert {part.task for part in parts} <= {None, *(task.name for task in TASKS)}
    sites = [site for part in parts if part.kind != "shared" for site in part.sites]
    with torch.no_grad(), recording(network, sites) as found:
        network(wave(2, 1, 64, 64))
    assert set(found) == set(sites)
    assert all(value.shape[0] == 2 and value.ndim > 2 for value in found.values())


def test_every_shared_parameter_belongs_to_a_part_and_every_such_part_has_one(make, method):
    network = make(method)
    own = {id(value) for task in TASKS for value in network.task_parameters(task.name)}
    shared = {key for key, value in network.named_parameters() if id(value) not in own}
    modules = [site.module for part in network.parts() if part.kind == "shared" for site in part.sites]
    assert all(any(key.startswith(f"{name}.") for name in modules) for key in shared)
    assert all(any(key.startswith(f"{name}.") for key in shared) for name in modules)


def test_what_a_decoder_reads_changes_the_answer_of_no_task_but_its_own(make, method):
    network = make(method, decoder_options={"full_resolution": True}).eval()
    image, donor = wave(1, 1, 64, 64), wave(1, 1, 64, 64).flip(-1)
    with torch.no_grad():
        expected = network(image)
        for part in network.parts():
            if part.kind not in ("query", "skip", "cross"):
                continue
            with recording(network, part.sites) as values:
                network(donor)
            with replacing(network, values):
                answer = network(image)
            changed = {name for name in answer if not torch.equal(answer[name], expected[name])}
            expected_change = {part.task} if part.task else {task.name for task in TASKS}
            assert changed >= expected_change, part.name  # what crosses goes on to the others' queries
            assert part.kind == "cross" or changed == expected_change, part.name


def test_one_output_can_be_selected(make, method):
    network = make(method).eval()
    image = wave(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(SelectOutput(network, "dose")(image), network(image)["dose"])
    with pytest.raises(ConfigError, match=r"'liver' is unknown.*oar"):
        SelectOutput(network, "liver")


def test_a_network_says_how_it_was_built(make, method):
    description = describe_network(make(method, decoder_options={"full_resolution": True}))
    assert json.loads(json.dumps(description))["method"] == method
    assert description["encoder"] == (ENCODERS.get(method) or own_backbone(method))
    joined = {"join": "project"} if method in ENCODERS else {}
    assert description["decoder_options"] == {**joined, "full_resolution": True}
    assert description["tasks"][1] == {
        "kind": "Regression",
        "name": "dose",
        "unit": "Gy",
        "scale": 70.0,
        "level": "voxel",
        "region": "all",
        "nonnegative": False,
    }


def test_an_image_of_the_wrong_dimension_is_named(make, method):
    with pytest.raises(ValueError, match=r"expected an image of 4 dimensions .* got torch.Size\(\[1, 1, 8, 8, 8\]\)"):
        make(method)(torch.zeros(1, 1, 8, 8, 8))
