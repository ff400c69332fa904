"""The base class of multi-task networks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from torch import Tensor, nn

from ctan_monai.errors import ConfigError, check_choice
from ctan_monai.networks.decoders import DecoderPlan
from ctan_monai.networks.encoder import Features, ResNetEncoder
from ctan_monai.networks.parts import Part, decoder_parts, encoder_parts
from ctan_monai.tasks import Task, describe_task


class NetworkPlan(NamedTuple):
    """What an architecture with a backbone of its own is built for.

    Attributes:
        tasks: at least one task.
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        decoder_options: `DecoderPlan`'s, as far as the architecture takes them.
    """

    tasks: tuple[Task, ...]
    spatial_dims: int
    in_channels: int
    decoder_options: dict[str, Any]


class MultiTaskNetwork(nn.Module):
    """Base class of all architectures: maps an image (B, C, *S) to ``dict[task name, logits]``.

    Attributes:
        method: the name under which the architecture is registered.
        independent_tasks: the tasks share no parameter, so that weighting, clipping and stopping act on each alone.
        task_containers: names of the modules that hold one entry for each task.
        open_size: whether ONNX and torch.export files take images of any size; else each file is for one.
        full_size: whether a training step needs much memory, at the image's size throughout or for each of many groups;
            that is compared with what is free before there is one.
        tasks: the tasks, in order.
        spatial_dims: 2 or 3.
        settings: how `create_network` built it.
        given: names of the options that it was given, by group; the others are defaults.
    """

    method: ClassVar[str] = ""
    independent_tasks: bool = False
    task_containers: ClassVar[tuple[str, ...]] = ("decoders",)
    open_size: bool = True
    full_size: bool = False

    if TYPE_CHECKING:  # TorchScript would read these annotations
        decoders: nn.ModuleDict
        encoder: ResNetEncoder

    def __init__(self, tasks: tuple[Task, ...], spatial_dims: int) -> None:
        super().__init__()
        self.tasks, self.spatial_dims = tasks, spatial_dims
        self.settings: Mapping[str, Any] = {}
        self.given: Mapping[str, frozenset[str]] = {}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits of every task."""
        raise TypeError(f"{type(self).__name__} is a base class; use create_network.")

    def decode(self, queries: list[Tensor], features: Features, image: Tensor) -> dict[str, Tensor]:
        """Return every task's logits from its deepest features; for subclasses with ``decoders``.

        Args:
            queries: T tensors (B, query_channels, *S_4), in task order.
            features: the encoder's.
            image: (B, C, *S).
        """
        logits: dict[str, Tensor] = {}
        for index, (name, decoder) in enumerate(self.decoders.items()):
            logits[name] = decoder(queries[index], features, image)
        return logits

    def parts(self) -> list[Part]:
        """Return the parts that a diagnosis replaces and measures, see `Part`; none where tasks share nothing.

        The base names the stages of ``encoder`` and what ``decoders`` read. An architecture adds what it has beside
        them, or names its own.
        """
        if self.independent_tasks:
            return []
        return [*encoder_parts(len(self.encoder.stages)), *decoder_parts(self.decoders.items())]

    def belongs_to(self, key: str, task: str) -> bool:
        """Tell whether a parameter or buffer serves one task only.

        Args:
            key: its name in ``state_dict``.
            task: name of the task.
        """
        parts = key.split(".")
        return any(a in self.task_containers and b == task for a, b in itertools.pairwise(parts))

    def penalty(self) -> dict[str, Tensor]:
        """Return weighted regularization terms of the parameters by name, which are added to the loss; none by default.

        No weighting of tasks sees them. The trainer adds and logs them.
        """
        return {}

    def load_pretrained(self, source: str | Mapping[str, str]) -> None:
        """Load pretrained weights into an architecture's own backbone; by default there is none.

        Raises:
            ConfigError: no pretrained weights are known for it.
        """
        found = f"{source!r} cannot be used with {self.method}, which brings its own backbone."
        raise ConfigError("pretrained", found, f"Leave it out, or use another --method than {self.method}.")

    def for_inference(self) -> MultiTaskNetwork:
        """Return an equivalent network for inference that may be faster; by default itself."""
        return self

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """Iterate over the parameters that only one task uses."""
        return (value for key, value in self.named_parameters() if self.belongs_to(key, task))

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters that more than one task uses."""
        names = [task.name for task in self.tasks]
        return (
            value for key, value in self.named_parameters() if not any(self.belongs_to(key, name) for name in names)
        )


def describe_network(network: MultiTaskNetwork) -> dict[str, Any]:
    """Describe a network by plain values that must agree between a checkpoint and the network that loads it."""
    return {
        "method": network.method,
        "spatial_dims": network.spatial_dims,
        "tasks": [describe_task(task) for task in network.tasks],
        **network.settings,
    }


def plan_decoders(encoder: ResNetEncoder, query_channels: int, options: dict[str, Any]) -> DecoderPlan:
    """Create the `DecoderPlan` of an encoder.

    Args:
        encoder: the encoder.
        query_channels: channels of the deepest features that the decoders start from.
        options: `DecoderPlan`'s options.
    """
    return DecoderPlan(
        encoder.spatial_dims, tuple(encoder.channels), tuple(encoder.shallow_channels), query_channels, **options
    )


class SelectOutput(nn.Module):
    """Return one task's logits instead of all (MONAI's `verify_net_in_out`, TorchScript export, ONNX).

    Args:
        network: the multi-task network.
        task: name of the task.

    Raises:
        ConfigError: the network has no such task.
    """

    def __init__(self, network: MultiTaskNetwork, task: str) -> None:
        super().__init__()
        names = [known.name for known in network.tasks]
        check_choice("task", task, names)
        self.network, self.task = network, task

    def forward(self, image: Tensor) -> Tensor:
        """Return the task's logits for an image (B, C, *S)."""
        logits: Tensor = self.network(image)[self.task]
        return logits
