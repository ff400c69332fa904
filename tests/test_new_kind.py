"""Tasks are the contract: a kind that the package does not know goes through all of it by registered functions.

The kind, points that are found as maxima of heatmaps, is in helpers/landmarks.py, which docs/new-task.md explains.
"""

import json
import math

import nibabel as nib
import numpy as np
import pytest
import torch
from landmarks import Landmarks, RadialError, make_case, peaks
from pack_kit import ROOT, run_config

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.datasets.tabular.datalist import tabular_datalist
from ctan_monai.engines.runs.run_network import network_of_run
from ctan_monai.errors import ConfigError
from ctan_monai.metrics.naive_baselines import naive_baseline_for
from ctan_monai.share import pack_bundle
from ctan_monai.share.image_format import file_description
from ctan_monai.share.pack_configs import parsed
from ctan_monai.tasks import Segmentation, describe_task, present_key, task_from
from ctan_monai.transforms import LoadCaseFiled, RandAffineLabelsd, RandMirrorLabelsd

POINTS = Landmarks("points", ["Center", "Left", "Right"], mirror_pairs=[("Left", "Right")])
BALL = Segmentation("ball", ["Ball"], overlapping=True)
CHANGES = {  # of the bundle prostate
    "{_target_: ctan_monai.tasks.Regression, name: dose, unit: Gy, scale: 80.0, nonnegative: true, region: mask}": (
        "{_target_: landmarks.Landmarks, name: points, points: [Center, Left, Right], mirror_pairs: [[Left, Right]]}"
    ),
    "name: oar, labels: [Rectum, Bladder, Femur_L, Femur_R, CTV],\n  overlapping: true, "
    "mirror_pairs: [[Femur_L, Femur_R]]}": "name: ball, labels: [Ball], overlapping: true}",
    "{_target_: ctan_monai.data.datasets.dicom_rt.datalist.data_record, folder: '@prepared',\n    split_fractions: "
    "'@split_fractions', seed: '@split_seed', folds: '@folds', fold: '@fold'}": (
        "{synthetic: true, cases: {train: 5, validation: 1}}"
    ),
    "name: prostate": "name: marked",
}


@pytest.fixture
def sample(tmp_path):
    write_case(tmp_path / "p1.case", make_case(1, unknown=["Left"]))
    return LoadCaseFiled([BALL, POINTS])({"file": str(tmp_path / "p1.case")})


def test_a_label_is_read_from_the_values_of_a_case(sample):
    assert sample["points"].shape == (3, 32, 32, 4)
    assert sample[present_key(POINTS)].tolist() == [True, False, True]
    assert peaks(sample["points"])[[0, 2]].tolist() == [[11, 19, 2], [18, 19, 2]]
    assert not sample["points"][1].any()


def test_an_affine_transform_moves_the_heatmaps_with_the_image(sample):
    sample = LoadCaseFiled([BALL, POINTS])({"file": sample["file"], "slice": 2})
    moved = RandAffineLabelsd([BALL, POINTS], prob=1.0).set_random_state(0)(sample)
    centers = [entry["ball"][0].nonzero().double().mean(0) for entry in (sample, moved)]
    assert torch.dist(*centers) > 1
    assert torch.dist(peaks(moved["points"])[0].double(), centers[1]) < 1
    assert moved["points"].max() > 0.8, "interpolated, not set to 0 and 1"


def test_a_mirror_image_calls_the_right_point_left(sample):
    mirrored = RandMirrorLabelsd([BALL, POINTS], spatial_axis=0, prob=1.0)(sample)
    assert mirrored[present_key(POINTS)].tolist() == [True, True, False]
    assert peaks(mirrored["points"])[:2].tolist() == [[31 - 11, 19, 2], [31 - 18, 19, 2]]


def test_the_radial_error_is_the_distance_in_mm_over_the_known_points(sample):
    heatmaps = torch.zeros(3, 32, 32, 4)
    heatmaps[0, 11, 19, 3] = heatmaps[1, 0, 0, 0] = heatmaps[2, 22, 16, 2] = 1  # 5 mm off, unknown, 4 and 3 times 3 mm
    metric = RadialError(POINTS)
    metric.update("p1", {"points": heatmaps}, sample, (3.0, 3.0, 5.0))
    assert metric.compute() == {"points_mre": pytest.approx((5 + 15) / 2)}


def test_the_kind_is_found_by_its_name_and_what_it_lacks_is_said():
    assert task_from(json.loads(json.dumps(describe_task(POINTS)))) == POINTS
    with pytest.raises(ConfigError, match=r"Landmarks has no naive baseline.*naive_baseline_for\.register"):
        naive_baseline_for(POINTS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The bundle prostate with a ball and points in place of organs and dose, trained for two epochs."""
    folder = tmp_path_factory.mktemp("new_kind")
    bundle = folder / "marked"
    (bundle / "configs").mkdir(parents=True)
    source = ROOT / "bundles" / "prostate"
    for name in ("LICENSE", "configs/train.yaml", "configs/inference.yaml", "configs/metadata.json"):
        text = (source / name).read_text(encoding="utf-8")
        for old, new in CHANGES.items():
            assert old in text or name != "configs/train.yaml", old
            text = text.replace(old, new)
        (bundle / name).write_text(text, encoding="utf-8")
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    outputs = metadata["network_data_format"]["outputs"]
    outputs["points"] = outputs.pop("dose")
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    options = {"method": "hps", "encoder": "resnet18", "image_size": [32, 32], "epochs": 2, "batch_size": 4}
    options |= {
        "output_dir": str(folder / "run"),
        "learning_rate": 0.003,
        "datalists": {"_target_": "landmarks.make_datalists", "folder": str(folder / "cases")},
    }
    options |= {"loss#options": {}, "training#5#targets": [], "training#5#goals": None}
    run_config(bundle, "train.yaml", run_id="training", **options)
    return bundle, folder / "run"


@pytest.mark.slow
def test_it_is_trained_and_the_metric_is_that_of_the_written_heatmaps(trained):
    run = trained[1]
    epochs = json.loads((run / "metrics.json").read_text())["epochs"]
    assert all(math.isfinite(epoch["train"]["points"]) for epoch in epochs)
    best = max(epochs, key=lambda epoch: epoch["validation"]["selection"])["validation"]
    case = make_case(5)
    errors_mm = []
    for name in POINTS.points:
        heatmap = nib.load(run / "predictions" / "p5" / f"{name}.nii.gz")
        place = np.unravel_index(np.argmax(heatmap.get_fdata()), heatmap.shape)
        errors_mm.append(np.linalg.norm((heatmap.affine @ [*place, 1])[:3] - case.values[name]))
    assert best["points_mre"] == pytest.approx(np.mean(errors_mm), abs=1e-3)
    assert f"points: mean radial error {best['points_mre']:.3g} mm" in (run / "report.html").read_text()


@pytest.mark.slow
def test_it_is_packed_and_the_packed_bundle_builds_the_same_network(trained, tmp_path):
    bundle, run = trained
    packed = pack_bundle(bundle, run, tmp_path).folder
    outputs = json.loads((packed / "configs" / "metadata.json").read_text())["network_data_format"]["outputs"]
    assert outputs["points"]["channel_def"] == {"0": "Center", "1": "Left", "2": "Right"}
    assert outputs["points"]["format"] == "landmarks"
    assert "points Center, Left, Right" in (packed / "docs" / "README.md").read_text()
    network = parsed(packed, "inference.yaml", "network_def").eval()
    network.load_state_dict(torch.load(packed / "models" / "model.pt", weights_only=True))
    image = torch.linspace(0, 1, 32 * 32).reshape(1, 1, 32, 32)
    with torch.inference_mode():
        ours, theirs = network(image), network_of_run(run).eval()(image)
    assert torch.equal(ours["points"], theirs["points"])
    described = file_description(json.loads((run / "run.json").read_text()), {})["outputs"]["points"]
    assert described["channels"] == list(POINTS.points)


@pytest.mark.parametrize("tasks", [[POINTS], [BALL, POINTS]])
def test_a_table_says_that_it_cannot_hold_the_kind(tmp_path, tasks):
    (tmp_path / "cases.csv").write_text("image,Ball,points\na.nii.gz,b.nii.gz,\n")
    with pytest.raises(ConfigError, match=r"points is a Landmarks.*Segmentation, Regression, Classification"):
        tabular_datalist(tmp_path / "cases.csv", tmp_path / "cache", tasks, ["ct"])
