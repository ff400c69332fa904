"""The parts of a network that a diagnosis exchanges and measures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# kind of a part: what a person is told that it is
KINDS: Mapping[str, str] = {
    "query": "the deepest features that a task's decoder starts from",
    "skip": "features of the encoder that a task's decoder joins on its way",
    "mask": "factors between 0 and 1 by which a task reweights features",
    "cross": "what a task receives that was computed from the other tasks' features",
    "features": "features along the network's way, whose effective rank is measured",
    "shared": "a layer whose weights serve several tasks, where their gradients meet",
}


@dataclass(frozen=True)
class Site:
    """A tensor among the inputs or outputs of a module.

    Args:
        label: what it is, short: 'U^3', 'stage 2'.
        module: the module's name in ``named_modules``.
        path: the way to the tensor, by index or by name, from the module's positional arguments, or from its result.
        output: whether it is in the module's result.
        call: which of the module's calls in one forward pass of the network; None: each of them.

    >>> Site("U^3", "decoders.dose", (1, "u", 2)).path  # the third of `Features.u`, the decoder's second argument
    (1, 'u', 2)
    """

    label: str
    module: str
    path: tuple[int | str, ...] = ()
    output: bool = False
    call: int | None = None


@dataclass(frozen=True)
class Part:
    """A part of a network: one or more sites that are replaced together.

    Args:
        name: unique in the network.
        kind: one of `KINDS`.
        task: whose answer it serves; None: several tasks'.
        sites: where it is. Of a 'shared' part only the modules count, whose parameters are meant.
    """

    name: str
    kind: str
    task: str | None
    sites: tuple[Site, ...]


def decoder_parts(decoders: Iterable[tuple[str, Any]], container: str = "decoders") -> list[Part]:
    """Return the decoders' inputs, each as a part.

    Args:
        decoders: tasks' names, and modules with ``inputs()``: the path to each argument that they read, by label, of
            which 'query' is the deepest features.
        container: name of the module that holds them.
    """
    return [
        Part(f"{label} of {task}", "query" if label == "query" else "skip", task, (site,))
        for task, decoder in decoders
        for label, path in decoder.inputs().items()
        for site in (Site(label, f"{container}.{task}", path),)
    ]


def encoder_parts(stages: int, container: str = "encoder") -> list[Part]:
    """Return stem and stages of a `ResNetEncoder` as parts: their weights, and P^j."""
    found = [shared_part(f"{container}.stem", "stem")]
    for index in range(stages):
        name = f"{container}.stages.{index}"
        found.append(shared_part(name, f"stage {index + 1}"))
        found.append(features_part(f"P^{index + 1}", None, Site(f"P^{index + 1}", name, (1,), output=True)))
    return found


def shared_part(module: str, label: str) -> Part:
    """Return a part for a module whose parameters, but for those of one task, serve several tasks."""
    return Part(f"weights of {label}", "shared", None, (Site(label, module),))


def features_part(name: str, task: str | None, site: Site) -> Part:
    """Return a part for features whose effective rank is measured."""
    return Part(name, "features", task, (site,))


def joint_parts(kind: str, name: str, by_task: Mapping[str, tuple[Site, ...]]) -> list[Part]:
    """Return a part for each task, with its name in ``name``, and one for all tasks together.

    >>> [part.name for part in joint_parts("mask", "masks of {}", {"oar": (), "dose": ()})]
    ['masks of oar', 'masks of dose', 'masks of all tasks']
    """
    found = [Part(name.format(task), kind, task, sites) for task, sites in by_task.items()]
    together = tuple(site for sites in by_task.values() for site in sites)
    return [*found, Part(name.format("all tasks"), kind, None, together)]
