import pytest
import torch
from engine_kit import TASKS, SmallNetwork, make_evaluator, make_item, make_loader
from monai.data import DataLoader, MetaTensor
from monai.transforms import Compose, FlattenSubKeysd, SaveImaged

from ctan_monai.engines import PrepareMultiTaskBatch
from ctan_monai.errors import ConfigError


def run(network, loader, **options):
    evaluator = make_evaluator(network, loader, **options)
    evaluator.run()
    return evaluator.state.output


def test_a_volume_goes_through_a_2d_network_and_comes_back_with_its_metadata():
    output = run(SmallNetwork(), make_loader(1, batch_size=1, shape=(8, 6, 5)))
    assert output["pred"]["oar"].shape == (1, 2, 8, 6, 5)
    assert output["pred"]["grade"].shape == (1, 3)
    assert isinstance(output["pred"]["dose"], MetaTensor)
    assert output["pred"]["dose"].meta["filename_or_obj"] == ["pt_0.nii.gz"]
    assert output["label"]["oar"].shape == (1, 2, 8, 6, 5)


def test_the_network_runs_in_evaluation_mode_without_gradients_and_gets_its_mode_back():
    network, seen = SmallNetwork(), []
    network.body.register_forward_hook(lambda *call: seen.append((network.training, torch.is_inference_mode_enabled())))
    run(network.train(), make_loader(2))
    assert seen == [(False, True)]
    assert network.training


@pytest.mark.parametrize(("amp", "dtype"), [("true", torch.bfloat16), ("false", torch.float32), (True, torch.bfloat16)])
def test_amp_works_on_the_cpu_and_logits_come_back_in_float32(amp, dtype):
    network, seen = SmallNetwork(), []
    network.heads["dose"].register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    output = run(network, make_loader(2), amp=amp)
    assert seen == [dtype]
    assert output["pred"]["dose"].dtype is torch.float32


def test_channels_last_gives_the_same_answers():
    network = SmallNetwork()
    plain = run(network, make_loader(2))["pred"]["dose"]
    found = run(network, make_loader(2), channels_last=True)["pred"]["dose"]
    assert network.body[2].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, plain)


def test_inference_without_labels_writes_images_with_monais_own_transforms(tmp_path):
    items = [make_item(0, (8, 6, 5))]
    for task in TASKS:
        del items[0][task.name], items[0][f"{task.name}_present"]
    saving = Compose(
        [
            FlattenSubKeysd(keys="pred", prefix="pred"),
            SaveImaged(keys="pred_dose", output_dir=tmp_path, output_postfix="dose", print_log=False),
        ]
    )
    output = run(
        SmallNetwork(),
        DataLoader(items, batch_size=1),
        prepare_batch=PrepareMultiTaskBatch(TASKS, require_labels=False),
        decollate=True,
        postprocessing=saving,
    )
    (written,) = tmp_path.rglob("*.nii.gz")
    assert written.name == "pt_0_dose.nii.gz"
    import nibabel

    image = nibabel.load(written)
    assert image.shape == (8, 6, 5)
    assert image.header.get_zooms() == (2.0, 2.0, 3.0)
    assert output[0]["pred_grade"].shape == (3,)


def test_an_empty_loader_is_an_error():
    with pytest.raises(ConfigError, match="no batch"):
        run(SmallNetwork(), DataLoader([], batch_size=1))
