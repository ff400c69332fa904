"""A network's forward and backward pass as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from ctan_monai.engines.distributed.processes import unwrap
from ctan_monai.engines.loop.bf16_guard import Precision
from ctan_monai.errors import ConfigError
from ctan_monai.networks.base import MultiTaskNetwork

_REMEDY = "Leave cuda_graph false."


class GraphedNetwork:
    """Call a network in training by replaying CUDA graphs of its forward and backward pass.

    A step of a small batch takes a GPU less time than Python takes to launch its thousand kernels; a graph is one
    launch. The passes are captured with the first image. Images of another shape or type go through the network itself.
    The network's buffers and the GPU's random numbers are put back after the capture, whose warm-up changes them.
    Gradients of one step lie where those of the next one will: they must not be added up over steps.

    Args:
        network: in training mode when called; not wrapped.
        precision: of the forward pass.

    Raises:
        ConfigError: when called: the network waits for the GPU within a pass, or is called twice before `begin`.
    """

    def __init__(self, network: nn.Module, precision: Precision) -> None:
        self.network, self.precision = network, precision
        self.spatial_dims = getattr(network, "spatial_dims", None)  # what inferers ask a network
        self._captured: Callable[[Tensor], dict[str, Tensor]] | None = None
        self._key: tuple[torch.Size, torch.dtype] | None = None
        self._called = False

    def begin(self) -> None:
        """Begin a step: the graphs' outputs may be overwritten."""
        self._called = False

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Return the logits of an image (B, C, *S) by task; they are overwritten by the next call."""
        if self._called:
            reason = "a step calls the network several times, on slices or windows of an image."
            raise ConfigError("cuda_graph", reason, _REMEDY)
        self._called = True
        key = image.shape, image.dtype
        if self._captured is None:
            self._captured, self._key = self._capture(image), key
        called = self._captured if key == self._key else self.network
        return cast("dict[str, Tensor]", called(image))

    def _capture(self, image: Tensor) -> Callable[[Tensor], dict[str, Tensor]]:
        buffers = [buffer.clone() for buffer in self.network.buffers()]
        random = torch.cuda.get_rng_state(image.device)
        try:
            with self.precision.autocast(cache=False):
                # a module of its own, as the network's forward is to stay what it is for validation
                captured = torch.cuda.make_graphed_callables(
                    _Call(self.network).train(), (image.clone(),), allow_unused_input=True
                )
        except RuntimeError as error:
            reason = f"this network cannot be captured ({str(error).splitlines()[0]})."
            raise ConfigError("cuda_graph", reason, _REMEDY) from error
        with torch.no_grad():
            for buffer, kept in zip(self.network.buffers(), buffers, strict=True):
                buffer.copy_(kept)
        torch.cuda.set_rng_state(random, image.device)
        return cast("Callable[[Tensor], dict[str, Tensor]]", captured)


class _Call(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Any:
        """Call the network."""
        return self.network(image)


def graphed_network(trainer: Any) -> GraphedNetwork:
    """Create the graphs of a trainer's network.

    Args:
        trainer: network, device, precision, accumulation steps and gradient weighting are read.

    Raises:
        ConfigError: its network or settings do not allow them.
    """
    network, device = trainer.network, torch.device(trainer.state.device)
    penalty = getattr(type(network), "penalty", MultiTaskNetwork.penalty)
    reasons = {
        f"the device is {device}, and has none.": device.type != "cuda",
        "the network is wrapped, for several processes or by torch.compile.": unwrap(network) is not network,
        f"gradients of {trainer.accumulation_steps} batches are added up.": trainer.accumulation_steps > 1,
        "the weighting takes the tasks' gradients apart.": trainer.task_gradients is not None,
        "the network has a penalty beside its outputs.": penalty is not MultiTaskNetwork.penalty,
    }
    for reason, holds in reasons.items():
        if holds:
            raise ConfigError("cuda_graph", reason, _REMEDY)
    return GraphedNetwork(network, trainer.precision)
