"""The tasks' gradients at shared layers."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ctan_monai.losses.multitask import MultiTaskLoss
from ctan_monai.metrics.base import known_mean
from ctan_monai.networks.base import MultiTaskNetwork

Gradients = dict[str, list[Tensor]]  # by task: of each parameter


def shared_gradients(
    network: MultiTaskNetwork,
    loss: MultiTaskLoss,
    batches: Iterable[tuple[Tensor, dict[str, Tensor]]],
    infer: Callable[[Tensor, nn.Module], dict[str, Tensor]],
) -> list[dict[str, Any]]:
    """Compare the gradients of the tasks' unweighted losses at each shared layer, in training mode.

    Args:
        network: stays as it is; a copy is used, whose batch statistics are those of each batch.
        loss: of the tasks.
        batches: images (B, C, *S) with their targets.
        infer: calls the network.

    Returns:
        For each shared part its name, the norm of each task's gradient and the cosine of each pair, both the mean over
        batches in which they are known.
    """
    trained = copy.deepcopy(network).train()
    own = {id(value) for task in trained.tasks for value in trained.task_parameters(task.name)}
    layers = {
        part.name: [value for value in trained.get_submodule(part.sites[0].module).parameters() if id(value) not in own]
        for part in trained.parts()
        if part.kind == "shared"
    }
    rows = {name: {"norms": [], "cosines": []} for name in layers}  # type: dict[str, dict[str, list[dict[str, float]]]]
    for image, targets in batches:
        losses, known = loss.task_losses(infer(image, trained), targets)
        for name, found in _by_layer(losses, known, layers).items():
            norms, cosines = compare_gradients(found)
            rows[name]["norms"].append(norms)
            rows[name]["cosines"].append(cosines)
    names = [task.name for task in trained.tasks]
    pairs = [" and ".join(pair) for pair in itertools.combinations(names, 2)]
    return [
        {
            "layer": name,
            "norm": {task: known_mean(found.get(task, math.nan) for found in row["norms"]) for task in names},
            "cosine": {pair: known_mean(found.get(pair, math.nan) for found in row["cosines"]) for pair in pairs},
            "cosine_by_batch": {pair: [found.get(pair, math.nan) for found in row["cosines"]] for pair in pairs},
        }
        for name, row in rows.items()
    ]


def compare_gradients(gradients: Gradients) -> tuple[dict[str, float], dict[str, float]]:
    """Compute the norm of each task's gradient, and the cosine of each pair; nan where one of them is 0.

    >>> compare_gradients({"a": [torch.tensor([3.0, 4.0])], "b": [torch.tensor([4.0, -3.0])]})
    ({'a': 5.0, 'b': 5.0}, {'a and b': 0.0})
    """
    norms = {task: math.sqrt(_dot(found, found)) for task, found in gradients.items()}
    cosines = {}
    for first, second in itertools.combinations(gradients, 2):
        product = norms[first] * norms[second]
        cosines[f"{first} and {second}"] = (
            _dot(gradients[first], gradients[second]) / product if product > 0 else math.nan
        )
    return norms, cosines


def _dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    return sum(float((a.double() * b.double()).sum()) for a, b in zip(first, second, strict=True))


def _by_layer(
    losses: dict[str, Tensor], known: dict[str, Tensor], layers: dict[str, list[nn.Parameter]]
) -> dict[str, Gradients]:
    """Return each task's gradient by layer; tasks without a label in the batch are left out."""
    parameters = list({id(value): value for found in layers.values() for value in found}.values())
    found: dict[str, Gradients] = {name: {} for name in layers}
    for task, loss in losses.items():
        if not known[task]:
            continue
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        by_id = {
            id(value): torch.zeros_like(value) if gradient is None else gradient
            for value, gradient in zip(parameters, gradients, strict=True)
        }
        for name, members in layers.items():
            found[name][task] = [by_id[id(value)] for value in members]
    return found
