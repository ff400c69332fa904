"""Several networks that answer together: the mean of probabilities and values, and runs that do not fit together."""

import json

import pytest
import torch
from engine_kit import TASKS, SmallNetwork, make_evaluator, make_loader
from monai.data import MetaTensor
from network_cases import TASKS as CASES

from ctan_monai.engines.predictions.dicom_writer import in_words
from ctan_monai.engines.runs.ensemble import Ensemble, mean_logits
from ctan_monai.engines.runs.manifest import inference_dir, run_dirs, run_setting
from ctan_monai.engines.runs.run_network import run_network
from ctan_monai.engines.runs.run_record import load_best, write_run
from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.engines.runs.training_data import trained_on
from ctan_monai.errors import ConfigError
from ctan_monai.networks import create_network
from ctan_monai.tasks import Classification, Regression, Segmentation
from ctan_monai.transforms.postprocess import activate

ORGANS = Segmentation("oar", ["Rectum", "Bladder"], overlapping=True)
ROI = Segmentation("roi", ["a", "b"])
DOSE = Regression("dose", "Gy", 80.0, nonnegative=True)


@pytest.mark.parametrize(
    "task", [ORGANS, ROI, Classification("grade", ["x", "y", "z"]), Classification("sick", ["sick"])]
)
def test_the_activated_mean_is_the_mean_of_the_activated_also_where_probabilities_round_to_0_and_1(task):
    space = (4, 3) if task.pixel_level else ()
    logits = [scale * torch.randn(2, task.channels, *space, dtype=torch.float64) for scale in (1.0, 5.0, 60.0)]
    expected = torch.stack([activate_exactly(task, part) for part in logits]).mean(0)
    found = activate(task, mean_logits(task, logits))
    torch.testing.assert_close(found.double(), expected, atol=2e-7, rtol=2e-6)


def activate_exactly(task, logits):
    return torch.softmax(logits, 1) if task.exclusive else torch.sigmoid(logits)


def test_values_are_averaged_as_they_are_written_so_none_below_0_lowers_a_dose():
    found = mean_logits(DOSE, [torch.tensor([[[[-0.5, 0.5]]]]), torch.tensor([[[[0.25, 0.25]]]])])
    assert (found * DOSE.scale).flatten().tolist() == [10.0, 30.0]
    assert mean_logits(DOSE, [torch.tensor([[float("nan")]]), torch.tensor([[0.5]])]).isnan().all()


def test_an_ensemble_of_one_is_that_network_to_the_bit_and_of_two_their_mean_with_metadata():
    networks = [SmallNetwork(), SmallNetwork()]
    loader = make_loader(1, batch_size=1, shape=(8, 6, 5))
    outputs = []
    for network in (*networks, Ensemble(networks[:1]), Ensemble(networks)):
        evaluator = make_evaluator(network, loader)
        evaluator.run()
        outputs.append(evaluator.state.output)
    first, second, alone, both = outputs
    for task in TASKS:
        assert torch.equal(alone["pred"][task.name], first["pred"][task.name])
        assert torch.equal(both["pred"][task.name], mean_logits(task, [o["pred"][task.name] for o in (first, second)]))
    assert "answers" not in alone
    assert len(both["answers"]) == 2
    assert isinstance(both["pred"]["dose"], MetaTensor)
    assert both["pred"]["dose"].meta["filename_or_obj"] == ["pt_0.nii.gz"]
    image = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(
        Ensemble(networks)(image)["dose"], (networks[0](image)["dose"] + networks[1](image)["dose"]) / 2
    )


def make_run(folder, seed=0, tasks=CASES, method="hps", **settings):
    torch.manual_seed(seed)
    network = create_network(method, tasks, "resnet18")
    folder.mkdir()
    write_run(network, folder)
    save_atomic(network.state_dict(), folder / "model.pt")
    (folder / "settings.json").write_text(json.dumps(settings))
    return network.eval()


def test_runs_of_different_methods_are_built_and_loaded_from_their_folders(tmp_path):
    networks = [make_run(tmp_path / name, seed, method=name) for seed, name in enumerate(("hps", "mtan"))]
    folders = f"[{tmp_path / 'hps'},{tmp_path / 'mtan'}]"
    found = load_best(run_network(folders), folders).eval()
    image = torch.rand(1, 1, 32, 32)
    for member, network in zip(found.members, networks, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(member(image).values(), network(image).values(), strict=True))
    assert in_words("prostate", folders) == "prostate ensemble of 2 hps resnet18 mtan"
    assert trained_on(folders).text.startswith("Mean answer of an ensemble of 2 networks. (1) It was not recorded")
    assert inference_dir(folders) == str(tmp_path / "hps" / "inference_ensemble")
    assert inference_dir(tmp_path / "hps") == inference_dir([tmp_path / "hps"]) == str(tmp_path / "hps" / "inference")


def test_runs_that_do_not_fit_together_are_refused_with_the_difference(tmp_path):
    other = [Segmentation("oar", ["Rectum"], overlapping=True), *CASES[1:]]
    make_run(tmp_path / "a", image_size=[64, 64])
    make_run(tmp_path / "b", image_size=[96, 96])
    make_run(tmp_path / "c", tasks=other, image_size=[64, 64])
    with pytest.raises(ConfigError, match=r"differ in image_size: \[64, 64\] in .*a, \[96, 96\] in .*b"):
        run_network([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(ConfigError, match=r"differ in image_size"):
        run_setting([tmp_path / "a", tmp_path / "b"], "image_size")
    with pytest.raises(ConfigError, match=r"differ in tasks: "):
        run_network([tmp_path / "a", tmp_path / "c"])
    for wrong in ("[]", [tmp_path / "a", tmp_path / "a"]):
        with pytest.raises(ConfigError, match="--run_dir"):
            run_dirs(wrong)
