"""Several trained networks that answer together, by the mean of their probabilities and values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor, nn
from torch.nn import functional

from ctan_monai.engines.runs.manifest import read_manifest, run_dirs
from ctan_monai.errors import ConfigError
from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.tasks import Task
from ctan_monai.transforms.postprocess import activate, postprocess_for

Outputs = Mapping[str, Tensor]
RunDir = str | Path | Sequence[str | Path]
_INPUT_SETTINGS = (  # options that say what a network's images are like, in whatever bundle has them
    "image_size", "pixel_mm", "patch_size", "spacing_mm", "axes", "slice_mm", "spatial_dims", "depth", "normalize",
    "window", "windows", "inputs", "bias_field",
)  # fmt: skip


class Ensemble(nn.Module):
    """Answer by the mean over networks: of probabilities, and of values in a task's unit.

    Args:
        members: trained networks with the same tasks and inputs.
    """

    def __init__(self, members: Iterable[MultiTaskNetwork]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        first: Any = self.members[0]
        self.tasks: tuple[Task, ...] = tuple(first.tasks)
        self.spatial_dims: int = int(first.spatial_dims)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Compute the logits of the mean answer.

        Args:
            image: (B, C, *S).

        Returns:
            Task name -> (B, K, *S) or (B, K), as a network's.
        """
        return mean_outputs(self.tasks, [member(image) for member in self.members])


def members_of(network: nn.Module) -> list[nn.Module]:
    """Return the networks of an ensemble, or the one network that it is."""
    return list(network.members) if isinstance(network, Ensemble) else [network]


def mean_outputs(tasks: Iterable[Task], outputs: Sequence[Outputs]) -> dict[str, Tensor]:
    """Return the logits of each task's mean answer, see `mean_logits`; of a single one those themselves."""
    if len(outputs) == 1:
        return dict(outputs[0])
    return {task.name: mean_logits(task, [output[task.name] for output in outputs]) for task in tasks}


def mean_logits(task: Task, logits: Sequence[Tensor]) -> Tensor:
    """Return logits whose activation is the mean of the activated ones.

    * Probabilities of a softmax: log of the mean probability.
    * Of sigmoids: log odds of the mean probability, from the means of p and of 1 - p, so that neither rounds to 0.
    * Values: their mean; of a task that is not negative, of the values that are set to 0 where they are.

    Args:
        task: that they belong to.
        logits: (B, K, *S) or (B, K) each.

    Returns:
        The same shape, float32, with the metadata of the first.
    """
    if len(logits) == 1:
        return logits[0]
    first, count = logits[0], len(logits)
    plain = [part.as_tensor().float() if isinstance(part, MetaTensor) else part.float() for part in logits]
    if task.answer_unit:
        found = sum(_as_written(task, part) for part in plain) / count
    elif task.exclusive:
        found = _log_sum([functional.log_softmax(part, 1) for part in plain]) - math.log(count)
    else:
        yes, no = ([functional.logsigmoid(sign * part) for part in plain] for sign in (1, -1))
        found = _log_sum(yes) - _log_sum(no)
    mean: Tensor = torch.as_tensor(found)
    return MetaTensor(mean).copy_meta_from(first) if isinstance(first, MetaTensor) else mean


def _as_written(task: Task, logits: Tensor) -> Tensor:
    """Set logits to 0 whose value is cut off at 0 where it is written."""
    value = activate(task, logits)
    cut = (postprocess_for(task)(logits) != value) & ~value.isnan()  # what is not a number stays so
    return torch.where(cut, torch.zeros_like(logits), logits)


def _log_sum(parts: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the sum of exponentials, a part at a time."""
    found = parts[0]
    for part in parts[1:]:
        found = torch.logaddexp(found, part)
    return found


def check_agree(run_dir: RunDir, records: Sequence[Mapping[str, Any]]) -> None:
    """Check that runs can answer together: that tasks, structures and inputs are the same.

    Args:
        run_dir: their folders.
        records: their run.json.

    Raises:
        ConfigError: they differ; names the first difference and both runs.
    """
    folders = run_dirs(run_dir)
    inputs = [
        {name: value for name, value in read_manifest(folder)["settings"].items() if name in _INPUT_SETTINGS}
        for folder in folders
    ]
    for folder, record, given in zip(folders[1:], records[1:], inputs[1:], strict=True):
        pairs = [(name, records[0].get(name), record.get(name)) for name in ("tasks", "spatial_dims", "in_channels")]
        known = [
            name for name in _INPUT_SETTINGS if name in inputs[0] and name in given
        ]  # a federation's runs have none
        pairs += [(name, inputs[0][name], given[name]) for name in known]
        for name, before, now in pairs:
            if before != now:
                found = f"the runs differ in {name}: {_difference(before, now, folders[0], folder)}."
                raise ConfigError("--run_dir", found, "Name runs of the same tasks and inputs, such as folds or seeds.")


def _difference(before: Any, now: Any, first: Path, other: Path) -> str:
    """Describe a difference, of lists of tasks the first entry in which they differ."""
    if isinstance(before, list) and isinstance(now, list) and all(isinstance(entry, Mapping) for entry in before + now):
        for one, two in zip(before, now, strict=False):
            for key in [*one, *(key for key in two if key not in one)]:
                if one.get(key) != two.get(key):
                    return f"{key} of {one.get('name')} is {one.get(key)} in {first}, {two.get(key)} in {other}"
        return f"{len(before)} tasks in {first}, {len(now)} in {other}"
    return f"{before} in {first}, {now} in {other}"
