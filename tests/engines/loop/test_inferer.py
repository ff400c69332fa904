import pytest
import torch
from engine_kit import GRADE, TASKS, SmallNetwork, affine_ras
from monai.data import MetaTensor, decollate_batch
from torch.nn.parallel import DataParallel

from ctan_monai.engines import MultiTaskInferer
from ctan_monai.errors import ConfigError
from ctan_monai.networks import create_network

EXACT = {"rtol": 0, "atol": 0}
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


@pytest.fixture
def volume():
    return torch.rand(2, 1, 8, 6, 5)


def assert_same_outputs(found, expected, **tolerance):
    assert list(found) == list(expected)
    for name, logits in found.items():
        torch.testing.assert_close(logits, expected[name], **tolerance)


@pytest.mark.parametrize(("dims", "shape"), [(2, (2, 1, 8, 6)), (3, (2, 1, 8, 6, 5))])
def test_an_image_of_the_networks_own_dimensions_is_one_call(dims, shape):
    network, image = SmallNetwork(spatial_dims=dims), torch.rand(shape)
    assert_same_outputs(MultiTaskInferer()(image, network), network(image), **EXACT)


def test_a_volume_through_a_2d_network_is_its_axial_slices_put_together(volume):
    network = SmallNetwork()
    by_slice = [network(volume[..., k]) for k in range(volume.shape[-1])]
    found = MultiTaskInferer(slice_batch=2)(volume, network)
    for name in ("oar", "dose"):
        torch.testing.assert_close(found[name], torch.stack([part[name] for part in by_slice], dim=-1), **CLOSE)
    torch.testing.assert_close(found["grade"], torch.stack([part["grade"] for part in by_slice]).mean(0), **CLOSE)


def test_the_same_holds_for_a_real_architecture():
    network = create_network("hps", TASKS, encoder="resnet18", spatial_dims=2, in_channels=1).eval()
    volume = torch.rand(1, 1, 40, 33, 3)
    found = MultiTaskInferer(slice_batch=2)(volume, network)
    for k in range(3):
        alone = network(volume[..., k])
        torch.testing.assert_close(found["oar"][..., k], alone["oar"], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found["dose"][..., k], alone["dose"], rtol=1e-4, atol=1e-4)


class Memory:
    """A network on a device whose memory holds a few slices only."""

    spatial_dims = 2

    def __init__(self, network, holds):
        self.network, self.holds, self.asked = network, holds, []

    def __call__(self, image):
        self.asked.append(len(image))
        if len(image) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.network(image)


def test_as_many_slices_as_the_memory_holds_are_computed_at_once():
    volume = torch.rand(2, 1, 8, 6, 21)
    network = SmallNetwork()
    memory, inferer = Memory(network, 5), MultiTaskInferer()
    assert_same_outputs(inferer(volume, memory), MultiTaskInferer(slice_batch=1)(volume, network), **CLOSE)
    assert memory.asked == [16, 8, 4, 4, 4, 4, 4, 1, 4, 4, 4, 4, 4, 1]  # what fitted is remembered
    with pytest.raises(torch.OutOfMemoryError):
        MultiTaskInferer(slice_batch=8)(volume, memory)
    with pytest.raises(torch.OutOfMemoryError):
        MultiTaskInferer()(volume, Memory(network, 0))


@pytest.mark.parametrize("slice_batch", [1, 2, 3, 5, 100])
def test_the_number_of_slices_in_a_batch_changes_nothing(volume, slice_batch):
    network = SmallNetwork()
    found = MultiTaskInferer(slice_batch=slice_batch)(volume, network)
    assert_same_outputs(found, MultiTaskInferer()(volume, network), **CLOSE)


@pytest.mark.parametrize("roi_size", [64, [8, 6, 5], [-1, 100, None]])
@pytest.mark.parametrize("blend", ["gaussian", "constant"])
def test_a_window_as_large_as_the_image_is_one_call(volume, roi_size, blend):
    network = SmallNetwork(spatial_dims=3)
    found = MultiTaskInferer(roi_size=roi_size, blend=blend)(volume, network)
    assert_same_outputs(found, network(volume), **EXACT)


@pytest.mark.parametrize("blend", ["gaussian", "constant"])
@pytest.mark.parametrize("window_batch", [1, 4])
def test_windows_change_nothing_for_a_network_that_looks_at_one_voxel(volume, blend, window_batch):
    network = SmallNetwork(spatial_dims=3, kernel_size=1)
    found = MultiTaskInferer(roi_size=[4, 3, 4], blend=blend, window_batch=window_batch)(volume, network)
    whole = network(volume)
    for name in ("oar", "dose"):
        torch.testing.assert_close(found[name], whole[name], **CLOSE)


def test_windows_work_on_the_slices_of_a_volume_too(volume):
    network = SmallNetwork(kernel_size=1)
    found = MultiTaskInferer(roi_size=[4, 3], slice_batch=2)(volume, network)
    torch.testing.assert_close(found["dose"], MultiTaskInferer()(volume, network)["dose"], **CLOSE)


@pytest.mark.parametrize("tasks", [TASKS, [GRADE]])
@pytest.mark.parametrize("window_batch", [1, 3, 16])
def test_an_answer_per_image_is_the_mean_of_its_logits_over_windows(tasks, window_batch):
    network, image = SmallNetwork(tasks), torch.rand(2, 1, 8, 6)
    found = MultiTaskInferer(roi_size=[4, 6], overlap=0, window_batch=window_batch)(image, network)
    assert list(found) == [task.name for task in tasks]
    upper, lower = network(image[:, :, :4])["grade"], network(image[:, :, 4:])["grade"]
    torch.testing.assert_close(found["grade"], (upper + lower) / 2, **CLOSE)


def test_outputs_have_affine_and_file_name_of_the_image_and_can_be_split_into_cases():
    affines = torch.stack([affine_ras(2.0, 2.0, 3.0), affine_ras(1.0, 1.0, 5.0)])
    image = MetaTensor(torch.rand(2, 1, 8, 6, 5), affine=affines, meta={"filename_or_obj": ["a.nii", "b.nii"]})
    image.is_batch = True
    found = MultiTaskInferer()(image, SmallNetwork())
    assert not isinstance(found["grade"], MetaTensor)
    second = decollate_batch({"dose": found["dose"]})[1]["dose"]
    assert second.meta["filename_or_obj"] == "b.nii"
    torch.testing.assert_close(second.affine, affines[1])
    assert second.shape == (1, 8, 6, 5)


def test_half_precision_comes_back_as_float32(volume):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for roi_size in (None, 4):
            found = MultiTaskInferer(roi_size=roi_size)(volume, SmallNetwork())
            assert {logits.dtype for logits in found.values()} == {torch.float32}


@pytest.mark.parametrize("wrap", [DataParallel, lambda network: torch.compile(network, backend="eager")])
def test_a_wrapped_network_gives_the_same(volume, wrap):
    network = SmallNetwork()
    expected = MultiTaskInferer()(volume, network)
    assert_same_outputs(MultiTaskInferer()(volume, wrap(network)), expected, **CLOSE)


def test_a_function_that_does_not_tell_its_dimensions_is_told_them(volume):
    network = SmallNetwork()
    found = MultiTaskInferer(spatial_dims=2)(volume, lambda image: network(image))
    assert_same_outputs(found, MultiTaskInferer()(volume, network), **EXACT)


def test_further_arguments_reach_every_call(volume):
    network = SmallNetwork()

    def scaled(image, factor, offset=0.0):
        return {name: logits * factor + offset for name, logits in network(image).items()}

    found = MultiTaskInferer(spatial_dims=2, slice_batch=2)(volume, scaled, 2.0, offset=1.0)
    plain = MultiTaskInferer()(volume, network)
    torch.testing.assert_close(found["dose"], plain["dose"] * 2 + 1)


def test_a_3d_network_refuses_a_2d_image():
    with pytest.raises(ConfigError, match=r"3D images.*spatial_dims"):
        MultiTaskInferer()(torch.rand(1, 1, 8, 8), SmallNetwork(spatial_dims=3))


def test_a_window_with_the_wrong_number_of_dimensions_is_an_error(volume):
    with pytest.raises(ConfigError, match="roi_size"):
        MultiTaskInferer(roi_size=[4, 4])(volume, SmallNetwork(spatial_dims=3))


@pytest.mark.parametrize(
    "options", [{"slice_batch": 0}, {"slice_batch": -1}, {"window_batch": 0}, {"overlap": 1.0}, {"overlap": -0.1}]
)
def test_options_out_of_range_are_errors(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        MultiTaskInferer(**options)


def test_one_tensor_under_two_names_is_weighed_once_for_each(volume):
    def twice(image):
        logits = 2 * image + 1
        return {"a": logits, "b": logits}

    found = MultiTaskInferer(roi_size=[4, 3], spatial_dims=2)(volume, twice)
    for name in ("a", "b"):
        torch.testing.assert_close(found[name], 2 * volume + 1, **CLOSE)
