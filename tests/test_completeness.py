"""Every kind of task is known to every layer, and all layers mean the same thing by it.

Layers contribute one `singledispatch` function over the kinds of task each. They are found here, not listed, so a new
layer is crossed with every kind, and a new kind with every layer, without a change to this file but for one example.
"""

import ast
import collections
import importlib
import inspect
import math
import pkgutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.data import DataLoader, Dataset
from network_cases import ENCODERS, OPTIONS

import ctan_monai
from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.engines import MultiTaskEvaluator, MultiTaskMetrics, PrepareMultiTaskBatch
from ctan_monai.errors import ConfigError
from ctan_monai.losses import MultiTaskLoss, create_weighting
from ctan_monai.networks import MultiTaskNetwork, create_network, methods
from ctan_monai.tasks import Classification, Regression, Segmentation, Task, present_key
from ctan_monai.transforms import LoadCaseFiled, activate

SHAPE = (16, 16, 3)
CASES = 6
KINDS = {
    "overlapping": Segmentation("overlapping", ["a", "b"], overlapping=True),
    "exclusive": Segmentation("exclusive", ["a", "b"]),
    "voxel": Regression("voxel", "Gy", 70.0, nonnegative=True),
    "masked voxel": Regression("masked", "HU", 1000.0, region="mask"),
    "image": Regression("image_level", "years", 50.0, level="image"),
    "classes": Classification("classes", ["x", "y", "z"]),
    "binary": Classification("binary", ["positive"]),
    "multilabel": Classification("multilabel", ["x", "y", "z"], multilabel=True),
}
TASKS = tuple(KINDS.values())
ALL_KINDS = [kind for kind in Task.kinds.values() if kind.__module__ == Segmentation.__module__]  # not those of tests
ASKED = {  # where code asks of which kind a task is: filters and the formats of tables, nothing that every kind must do
    "apps/new_bundle.py": 6,
    "apps/new_dicom.py": 2,
    "apps/new_parts.py": 2,
    "apps/new_tasks.py": 2,
    "data/datasets/tabular/checks.py": 3,
    "data/datasets/tabular/layout.py": 2,
    "data/datasets/tabular/phantom.py": 3,
    "data/datasets/tabular/rows.py": 1,
    "data/datasets/tabular/splits.py": 1,
    "data/datasets/tabular/synthetic.py": 5,
    "data/datasets/tabular/values.py": 2,
    "serve/predictor.py": 1,
}
UNKNOWN = 3  # the case without any label


def functions_over_tasks():
    """Find every singledispatch function of the package whose first argument is called task."""
    found = {}
    for module in pkgutil.walk_packages(ctan_monai.__path__, "ctan_monai."):
        if module.name.endswith("__main__"):
            continue
        for name, entry in vars(importlib.import_module(module.name)).items():
            defined_here = hasattr(entry, "dispatch") and entry.__module__ == module.name
            if defined_here and arguments(entry)[0] == "task":
                found[f"{module.name}.{name}"] = entry
    return found


def arguments(function):
    """Name the arguments that a function must be called with."""
    parameters = inspect.signature(function).parameters.values()
    return [entry.name for entry in parameters if entry.kind is entry.POSITIONAL_OR_KEYWORD]


FUNCTIONS = functions_over_tasks()


def make_case(index, unknown=False):
    """Make a patient whose labels, all different from the other patients', follow from a formula."""
    rows, columns, slices = np.indices(SHAPE)
    masks = {"a": rows < 4 + index, "b": columns + slices < 3 + index}
    dose_gy = (rows + columns + index).astype(np.float32)
    values = {
        "image_level": 20.0 + index,
        "classes": index % 3,
        "binary": [float(index % 2)],
        "multilabel": [float(index % 2), float(index % 3 == 0), float(index < 2)],
    }
    volumes = {"ct": np.zeros(SHAPE, np.int16)}
    if not unknown:
        volumes |= {"voxel": dose_gy, "masked": 10 * dose_gy - 50}
        masks |= {"masked_region": columns > index, "voxel_region": rows > 2}
    affine_ras = np.diag([2.0, 2.0, 3.0, 1.0])
    return Case(f"pt_{index}", volumes, {} if unknown else masks, affine_ras, {} if unknown else values)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Six patients as `LoadCaseFiled` reads them from the cache; of one of them nothing is known."""
    folder = tmp_path_factory.mktemp("cases")
    items = []
    for index in range(CASES):
        file = folder / f"pt_{index}.case"
        write_case(file, make_case(index, unknown=index == UNKNOWN))
        items.append({"case": f"pt_{index}", "file": str(file)})
    return [LoadCaseFiled(TASKS)(item) for item in items]


@pytest.fixture(scope="module")
def batch(samples):
    """All patients in one batch; who has no region gets an empty one, so that they can be stacked."""
    regions = dict.fromkeys(("masked_region", "voxel_region"), torch.zeros(1, *SHAPE, dtype=torch.uint8))
    return next(iter(DataLoader([{**regions, **sample} for sample in samples], batch_size=CASES)))


def logits_from(task, label):
    """Turn a batch's label into the logits of a network that is right and sure of it."""
    if isinstance(task, Regression):
        return label / task.scale
    if isinstance(task, Classification) and task.exclusive:
        return 30.0 * F.one_hot(label, len(task.classes)).float()
    sure = 60.0 * label.float() - 30.0
    if isinstance(task, Segmentation) and not task.overlapping:
        background = 60.0 * (label.sum(1, keepdim=True) == 0).float() - 30.0
        return torch.cat([background, sure], dim=1)
    return sure


class Oracle(MultiTaskNetwork):
    """Answers from the labels; ``share`` of 1 is the truth, -1 its contrary."""

    def __init__(self, samples, share=1.0):
        super().__init__(TASKS, 3)
        self.samples, self.share, self.next = samples, share, 0

    def forward(self, image):
        sample = self.samples[self.next]
        self.next += 1
        return {task.name: self.share * logits_from(task, sample[task.name][None]) for task in TASKS}


def evaluate(samples, share):
    evaluator = MultiTaskEvaluator(
        "cpu",
        DataLoader(Dataset(samples), batch_size=1),
        Oracle(samples, share),
        val_handlers=[MultiTaskMetrics(TASKS)],
    )
    evaluator.run()
    return evaluator.state.metrics, evaluator.state.metric_details["cases"]


def test_the_examples_cover_every_kind_and_every_form_of_it():
    assert {type(task) for task in TASKS} == set(ALL_KINDS)
    assert {task.overlapping for task in TASKS if isinstance(task, Segmentation)} == {True, False}
    assert {(t.level, t.region) for t in TASKS if isinstance(t, Regression)} >= {("voxel", "all"), ("voxel", "mask")}
    assert {t.level for t in TASKS if isinstance(t, Regression)} == {"voxel", "image"}
    assert {t.exclusive for t in TASKS if isinstance(t, Classification)} == {True, False}


def test_the_layers_are_found():
    names = {name.rpartition(".")[2] for name in FUNCTIONS}
    assert names >= {"read_label", "decoder_for", "loss_for", "activate", "postprocess_for", "metrics_for"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_layer_knows_every_kind(name):
    function = FUNCTIONS[name]
    forgotten = [kind.__name__ for kind in ALL_KINDS if function.dispatch(kind) is function.dispatch(object)]
    assert not forgotten, f"{name} has nothing registered for {forgotten}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_layer_refuses_what_is_no_task(name):
    function = FUNCTIONS[name]
    others = [None] * (len(arguments(function)) - 1)
    with pytest.raises(ConfigError, match="tasks: "):
        function("oar", *others)


@pytest.mark.parametrize("method", methods())
def test_every_method_answers_every_kind_with_the_shape_that_loss_and_metrics_expect(method, batch):
    torch.manual_seed(0)
    encoder = ENCODERS.get(method)
    network = create_network(method, TASKS, encoder, spatial_dims=2, network_options=OPTIONS).eval()
    image, targets = PrepareMultiTaskBatch(TASKS)(batch)
    with torch.inference_mode():
        logits = network(image.as_tensor()[:2, ..., 0])
    for task in TASKS:
        expected = logits_from(task, targets[task.name][:2])
        if task.pixel_level:
            expected = expected[..., 0]
        assert logits[task.name].shape == expected.shape, task.name


@pytest.mark.parametrize("kind", KINDS)
def test_logits_made_from_the_label_have_almost_no_loss_and_their_contrary_a_large_one(kind, batch):
    task = KINDS[kind]
    _, targets = PrepareMultiTaskBatch([task])(batch)
    loss = MultiTaskLoss([task], create_weighting("equal", [task]))
    right = logits_from(task, targets[task.name])
    assert loss({task.name: right}, targets).item() < 1e-4
    assert loss({task.name: -right}, targets).item() > 0.2


def test_logits_made_from_the_label_select_at_1_through_all_layers_whatever_is_unknown(samples):
    metrics, rows = evaluate(samples, 1.0)
    assert {name: metrics[f"selection_{name}"] for name in (t.name for t in TASKS)} == pytest.approx(
        {task.name: 1.0 for task in TASKS}, abs=1e-5
    )
    assert metrics["selection"] == pytest.approx(1.0, abs=1e-5)
    assert len(rows) == CASES
    assert [row["complete"] for row in rows] == [float(index != UNKNOWN) for index in range(CASES)]
    measured = {key for key in rows[UNKNOWN] if "_prob_" not in key and key not in ("case", "complete")}
    assert all(math.isnan(rows[UNKNOWN][key]) for key in measured)


def test_the_contrary_of_the_label_selects_far_below(samples):
    metrics, _ = evaluate(samples, -1.0)
    assert all(metrics[f"selection_{task.name}"] < 0.5 for task in TASKS)


@pytest.mark.parametrize("kind", KINDS)
def test_activation_gives_back_the_label(kind, batch):
    task = KINDS[kind]
    known = batch[present_key(task)].reshape(CASES, -1).all(1)
    label = batch[task.name][known]
    value = activate(task, logits_from(task, label))
    if isinstance(task, Classification) and task.exclusive:
        value = value.argmax(1)
    if isinstance(task, Segmentation) and not task.overlapping:
        value = value[:, 1:]
    torch.testing.assert_close(value.to(torch.float64), label.to(torch.float64), atol=1e-5, rtol=1e-5)


def test_no_more_places_ask_of_which_kind_a_task_is(repository):
    """Count calls of isinstance with a kind, and of getattr with a field that only some kinds have."""
    kinds = {kind.__name__ for kind in ALL_KINDS}
    fields = {name for kind in ALL_KINDS for name in kind.__dataclass_fields__} - {"name", "kinds"}
    found = collections.Counter()
    for path in sorted((repository / "ctan_monai").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
                asked = {entry.id for entry in ast.walk(node.args[1]) if isinstance(entry, ast.Name)} & kinds
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr"):
                asked = {getattr(node.args[1], "value", None)} & fields
            else:
                asked = isinstance(node, ast.MatchClass) and getattr(node.cls, "id", "") in kinds
            found[path.relative_to(repository / "ctan_monai").as_posix()] += bool(asked)
    assert dict(+found) == ASKED, (
        "A new kind of task falls into the else of such a branch. Ask a property of the task (tasks/base.py), or "
        "register functions by kind (docs/new-task.md). Where fewer are left now, lower the number in ASKED."
    )
