"""Patients' answers from slices' answers, against sums by hand."""

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from torch import nn

from ctan_monai.engines import MultiTaskEvaluator, MultiTaskMetrics, PrepareBags, SlicePoolingInferer, WriteSlices
from ctan_monai.errors import ConfigError
from ctan_monai.networks import create_network
from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.tasks import Classification

COVID, GRADE = Classification("covid", ["covid"]), Classification("grade", ["low", "high"])
TASKS = (COVID, GRADE)


class Reader(MultiTaskNetwork):
    """A network whose logits are what the first pixels of a slice hold, so that every answer is known."""

    method = "reader"

    def __init__(self, scored=False):
        super().__init__(TASKS, spatial_dims=2)
        self.scored, self.batches = scored, []
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, image):
        self.batches.append(len(image))
        pixels = image[:, 0, 0] * self.factor  # (N, W)
        score = pixels[:, 3:4] if self.scored else pixels[:, :0]
        return {"covid": torch.cat([pixels[:, :1], score], 1), "grade": torch.cat([pixels[:, 1:3], score], 1)}


def volume(covid, grade=None, score=None):
    """Make (1, 1, 4, 4, D) whose slices hold logits of covid, both of grade, and a score."""
    depth = len(covid)
    image = torch.zeros(1, 1, 4, 4, depth)
    image[0, 0, 0, 0] = torch.tensor(covid)
    image[0, 0, 0, 1:3] = torch.tensor(grade or [[0.0] * depth] * 2)
    image[0, 0, 0, 3] = torch.tensor(score or [0.0] * depth)
    return image


LOGITS, LOW, HIGH = [1.0, -2.0, 4.0, 0.5, -1.0], [3.0, 0.0, -1.0, 2.0, 1.0], [0.0, 5.0, 1.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("pooling", "covid", "grade"),
    [
        ("mean", 2.5 / 5, [5 / 5, 10 / 5]),
        ("max", 4.0, [3.0, 5.0]),
        ("topk", (4 + 1) / 2, [(3 + 2) / 2, (5 + 3) / 2]),  # 0.4 of five slices
    ],
)
def test_pooled_logits_by_hand(pooling, covid, grade):
    network = Reader().eval()
    found = SlicePoolingInferer(pooling, slice_batch=2, top_fraction=0.4)(volume(LOGITS, [LOW, HIGH]), network)
    assert found["covid"].tolist() == [pytest.approx([covid])]
    assert found["grade"].tolist() == [pytest.approx(grade)]
    assert network.batches == [2, 2, 1]


def test_attention_weighs_by_the_softmax_of_the_scores():
    score = [0.0, 1.0, 2.0, -1.0, 0.5]
    found = SlicePoolingInferer("attention")(volume(LOGITS, [LOW, HIGH], score), Reader(scored=True).eval())
    weights = [2.718281828**s for s in score]
    assert found["covid"].item() == pytest.approx(
        sum(w * x for w, x in zip(weights, LOGITS, strict=True)) / sum(weights), rel=1e-5
    )
    expected = [sum(w * x for w, x in zip(weights, row, strict=True)) / sum(weights) for row in (LOW, HIGH)]
    assert found["grade"].tolist() == [pytest.approx(expected, rel=1e-5)]


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.1, 1), (0.11, 2), (1.0, 10)])
def test_the_top_share_is_rounded_up_and_never_nothing(share, count):
    inferer = SlicePoolingInferer("topk", top_fraction=share)
    inferer(volume([float(n) for n in range(10)]), Reader().eval())
    weights = inferer.latest["covid"].weights[0, :, 0]
    assert weights.tolist() == pytest.approx([0.0] * (10 - count) + [1 / count] * count)


@pytest.mark.parametrize("pooling", ["mean", "max", "topk", "attention"])
def test_the_patient_is_the_weighted_mean_of_the_slices_that_are_kept(pooling):
    inferer = SlicePoolingInferer(pooling, top_fraction=0.4)
    network = Reader(scored=pooling == "attention").eval()
    images = torch.cat([volume(LOGITS, [LOW, HIGH], LOW), volume(HIGH, [LOGITS, LOW], HIGH)])
    found = inferer(images, network)
    for name, answers in inferer.latest.items():
        assert answers.weights.sum(1) == pytest.approx(torch.ones_like(found[name]))
        torch.testing.assert_close(answers.pooled, found[name])
    assert inferer.latest["covid"].logits[1, :, 0].tolist() == HIGH
    alone = SlicePoolingInferer(pooling, top_fraction=0.4)(images[1:], network)
    torch.testing.assert_close(alone["grade"][0], found["grade"][1])


def test_in_training_all_slices_are_one_batch_and_the_gradient_reaches_them():
    network = Reader().train()
    found = SlicePoolingInferer("mean", slice_batch=2)(torch.cat([volume(LOGITS)] * 3), network)
    assert network.batches == [15]
    found["covid"].sum().backward()
    assert network.factor.grad.item() == pytest.approx(3 * 2.5 / 5)


def test_slices_and_volumes_of_a_3d_network_pass_as_they_are():
    inferer = SlicePoolingInferer("max")
    found = inferer(volume(LOGITS)[..., 2], Reader().eval())
    assert found["covid"].tolist() == [[4.0]]
    assert inferer.latest == {}
    network = create_network("hps", TASKS, "resnet18", spatial_dims=3).eval()
    image = torch.rand(1, 1, 32, 32, 16)
    with torch.no_grad():
        torch.testing.assert_close(inferer(image, network)["grade"], network(image)["grade"])


def test_memory_does_not_depend_on_how_many_slices_there_are():
    """No activation of the network is larger than those of one batch of slices."""
    largest = []

    def watch(module, arguments, result):
        largest.append(result.numel())

    network = create_network("hps", (COVID,), "resnet18").eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(watch)
    sizes = []
    for depth in (8, 40):
        largest.clear()
        with torch.inference_mode():
            SlicePoolingInferer("mean", slice_batch=8)(torch.rand(1, 1, 32, 32, depth), network)
        sizes.append(max(largest))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    "options",
    [{"pooling": "median"}, {"slice_batch": 0}, {"top_fraction": 0}, {"top_fraction": 1.5}, {"top_fraction": "few"}],
)
def test_options_that_are_none_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        SlicePoolingInferer(**options)


def test_a_network_for_another_pooling_is_refused_and_so_are_flat_images_in_3d():
    with pytest.raises(ConfigError, match="made without slice_score"):
        SlicePoolingInferer("attention")(volume(LOGITS), Reader().eval())
    with pytest.raises(ConfigError, match="made with slice_score"):
        SlicePoolingInferer("mean")(volume(LOGITS), Reader(scored=True).eval())
    network = create_network("hps", TASKS, "resnet18", spatial_dims=3)
    with pytest.raises(ConfigError, match="takes 3D images"):
        SlicePoolingInferer()(torch.rand(1, 1, 32, 32), network)


def samples():
    """Two patients with five and three slices; of the second nothing is known."""
    made = []
    for case, covid, known in (("a", LOGITS, True), ("b", [-3.0, 1.0, 2.0], False)):
        image = MetaTensor(volume(covid)[0], affine=torch.eye(4, dtype=torch.float64))
        labels = {"covid": torch.tensor([1.0]), "grade": torch.tensor(1)}
        present = {f"{name}_present": torch.tensor(known) for name in labels}
        made.append({"case": case, "image": image, **labels, **present})
    return made


def test_an_evaluator_gives_one_answer_per_patient_and_a_table_of_slices(tmp_path):
    inferer = SlicePoolingInferer("topk", slice_batch=2, top_fraction=0.4)
    metrics = MultiTaskMetrics(TASKS)
    loader = DataLoader(Dataset(samples()), batch_size=1)
    handlers = [metrics, WriteSlices(inferer, TASKS, tmp_path)]
    MultiTaskEvaluator("cpu", loader, Reader(), inferer=inferer, val_handlers=handlers).run()
    rows = {row["case"]: row for row in metrics.rows()}
    assert rows["a"]["covid_prob_covid"] == pytest.approx(torch.sigmoid(torch.tensor(2.5)).item())
    assert rows["b"]["covid_prob_covid"] == pytest.approx(torch.sigmoid(torch.tensor(1.5)).item())
    lines = (tmp_path / "a" / "slices.csv").read_text().splitlines()
    assert lines[0].split(",")[:3] == ["slice", "covid: covid", "covid: covid weight"]
    assert [line.split(",")[2] for line in lines[1:]] == ["0.5", "0.0", "0.5", "0.0", "0.0"]
    assert float(lines[3].split(",")[1]) == pytest.approx(torch.sigmoid(torch.tensor(4.0)).item(), abs=1e-6)
    assert len((tmp_path / "b" / "slices.csv").read_text().splitlines()) == 4


def test_volumes_that_were_not_pooled_have_no_table(tmp_path):
    inferer = SlicePoolingInferer()
    flat = [{**sample, "image": sample["image"][..., 0]} for sample in samples()]
    handlers = [WriteSlices(inferer, TASKS, tmp_path)]
    MultiTaskEvaluator("cpu", DataLoader(Dataset(flat)), Reader(), inferer=inferer, val_handlers=handlers).run()
    assert list(tmp_path.iterdir()) == []


def test_bags_of_a_batch_become_volumes_with_the_labels_of_their_patients():
    prepare = PrepareBags((COVID,), bag=3)
    image = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 1, 2, 2)
    batch = {
        "case": ["a", "a", "a", "b", "b", "b"],
        "image": image,
        "covid": torch.tensor([[1.0]] * 3 + [[0.0]] * 3),
        "covid_present": torch.tensor([True] * 3 + [False] * 3),
    }
    folded, targets = prepare(batch)
    assert folded.shape == (2, 1, 2, 2, 3)
    assert folded[:, 0, 0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert targets["covid"].tolist() == [[1.0], [0.0]]
    assert targets["covid_present"].tolist() == [True, False]
    with pytest.raises(ConfigError, match="a bag of 3 holds"):
        prepare({**batch, "case": ["a", "a", "b", "b", "b", "a"]})
    plain, _ = PrepareBags((COVID,))(batch)
    assert plain is image
