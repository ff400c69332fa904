"""A fourth kind of task, as somebody would add it from outside: points, each the maximum of a Gaussian heatmap."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ctan_monai.data.cases.cache import write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.losses.base import TaskLoss
from ctan_monai.losses.multitask import loss_for
from ctan_monai.metrics.base import NAN, CaseMetric
from ctan_monai.metrics.for_task import metrics_for
from ctan_monai.metrics.main_metric import CaseMean, main_metric_for
from ctan_monai.networks.decoders import PixelDecoder, decoder_for
from ctan_monai.report.agreement import outlines_of, said_of
from ctan_monai.share.image_format import logits_format
from ctan_monai.tasks import Task, present_key
from ctan_monai.transforms.labels import read_label
from ctan_monai.transforms.postprocess import activate, postprocess_for

SIGMA_MM = 6.0


@dataclass(frozen=True)
class Landmarks(Task):
    """Find points, whose places in mm (RAS) a case holds among its values, each under the point's name."""

    points: Sequence[str]
    mirror_pairs: Sequence[tuple[str, str]] = ()

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "points", tuple(self.points))
        object.__setattr__(self, "mirror_pairs", tuple((a, b) for a, b in self.mirror_pairs))

    channels = property(lambda self: len(self.points))
    pixel_level = property(lambda self: True)
    label_shape = property(lambda self: (len(self.points),))
    label_names = property(lambda self: self.points)
    present_shape = property(lambda self: (len(self.points),))
    labels_in_values = property(lambda self: True)
    summary = property(lambda self: f"points {', '.join(self.points)}")


@read_label.register
def _(task: Landmarks, case: Case, file: Path):
    index = np.stack([*np.indices(case.shape), *np.zeros((3 - len(case.shape), *case.shape))])
    places_mm = np.tensordot(case.affine_ras[:3, :3], index, 1).T + case.affine_ras[:3, 3]  # (*S reversed, 3)
    label = torch.zeros(len(task.points), *case.shape)
    for at, name in enumerate(task.points):
        if name in case.values:
            square_mm2 = ((places_mm - np.array(case.values[name])) ** 2).sum(-1).T
            label[at] = torch.from_numpy(np.exp(-square_mm2 / (2 * SIGMA_MM**2)))
    return label, torch.tensor([name in case.values for name in task.points])


@decoder_for.register
def _(task: Landmarks, plan):
    return PixelDecoder(plan, task.channels)


class HeatmapLoss(TaskLoss):
    """Squared error of a heatmap, of which the maximum weighs most; a unit is a point of a case."""

    def compute(self, logits, label, present, region):
        error = ((1 + 20 * label) * (logits - label) ** 2).flatten(2).mean(2)  # (B, K)
        return (error * present).sum(), present.sum()


@loss_for.register
def _(task: Landmarks, **options):
    return HeatmapLoss(task)


@activate.register
def _(task: Landmarks, logits):
    return logits.float()


@postprocess_for.register
def _(task: Landmarks):
    return partial(activate, task)


def peaks(heatmaps):
    """Return the index (K, D) of each maximum of (K, *S)."""
    flat = torch.as_tensor(heatmaps).flatten(1).argmax(1)
    return torch.stack(torch.unravel_index(flat, heatmaps.shape[1:]), 1)


class RadialError(CaseMetric):
    """Distance in mm between a maximum and that of the label, mean over the points that are known."""

    def __init__(self, task):
        super().__init__()
        self.task, self.key = task, f"{task.name}_mre"

    def measure(self, case, prediction, target, spacing_mm):
        known = target[present_key(self.task)].cpu()
        steps = peaks(prediction[self.task.name].cpu()) - peaks(target[self.task.name].cpu())
        errors_mm = (steps * torch.tensor(spacing_mm)).norm(dim=1)[known]
        return {self.key: float(errors_mm.mean()) if len(errors_mm) else NAN}

    def compute(self):
        return {self.key: self.mean(self.key)}

    def selection(self):
        return None if np.isnan(self.mean(self.key)) else 1 / (1 + self.mean(self.key))


@metrics_for.register
def _(task: Landmarks):
    return [RadialError(task)]


@main_metric_for.register
def _(task: Landmarks):
    key = f"{task.name}_mre"
    return CaseMean(key, "mean radial error", "mm", 1.0, False, [key])


@said_of.register
def _(task: Landmarks, row):
    error_mm = row[f"{task.name}_mre"]
    return [] if np.isnan(error_mm) else [f"{task.name}: mean radial error {error_mm:.3g} mm"]


@outlines_of.register
def _(task: Landmarks, arrays):
    return {name: heatmap > heatmap.max() / 2 for name, heatmap in arrays.items()}


@logits_format.register
def _(task: Landmarks):
    return {"channels": list(task.points), "activation": "none", "threshold": "a point is the maximum of its channel"}


def make_case(number, unknown=()):
    """Make a CT with a bright ball, the label Ball, whose middle is the point Center; Left lies beside it."""
    shape, affine_ras = (32, 32, 4), np.diag([3.0, 3.0, 5.0, 1.0])
    affine_ras[:3, 3] = [-40.0, -45.0, 10.0]
    middle = np.array([10 + number, 20 - number, 1 + number % 2])
    beside = np.array([7, 0, 0])
    index = np.moveaxis(np.indices(shape), 0, -1)
    ball = (((index - middle) * [3, 3, 5]) ** 2).sum(-1) < 15**2
    points = {"Center": middle, "Left": middle - beside, "Right": middle + beside}
    values = {name: (affine_ras @ [*place, 1])[:3] for name, place in points.items() if name not in unknown}
    ct = np.where(ball, 200, -100).astype(np.int16)
    return Case(f"p{number}", {"ct": ct}, {"Ball": ball}, affine_ras, values, {"synthetic": True})


def make_datalists(folder, splits=("train", "validation")):
    """Write six cases, of which the second knows no point Left, and list slices to train on and a case to validate."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    files = [Path(folder) / f"p{number}.case" for number in range(6)]
    for number, file in enumerate(files):
        write_case(file, make_case(number, ["Left"] if number == 1 else []))
    slices = [{"case": file.stem, "file": str(file), "slice": at} for file in files[:5] for at in range(4)]
    return {"train": slices, "validation": [{"case": "p5", "file": str(files[5])}]}
