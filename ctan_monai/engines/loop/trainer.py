"""MONAI's SupervisedTrainer for multi-task networks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer, Workflow
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ctan_monai.engines.distributed.processes import to_channels_last, unwrap
from ctan_monai.engines.loop.bf16_guard import checking_bf16, choose_precision
from ctan_monai.engines.loop.compiled import compiled_network
from ctan_monai.engines.loop.finite import FiniteGuard, check_interval, holding_unobserved
from ctan_monai.engines.loop.inferer import MultiTaskInferer
from ctan_monai.engines.loop.parameters import GradientGroup, clip_gradients, gradient_groups
from ctan_monai.engines.loop.prepare import PrepareMultiTaskBatch
from ctan_monai.engines.loop.sampler import end_workers_with_parent
from ctan_monai.engines.loop.step_memory import check_step_memory
from ctan_monai.engines.loop.task_gradients import task_gradients
from ctan_monai.engines.runs.options import as_bool
from ctan_monai.engines.tracking.mlflow_tracking import in_place_of_monai
from ctan_monai.errors import ConfigError

logger = logging.getLogger(__name__)


_ONE_VALUE = "Expected more than 1 value per channel when training"  # torch's batch normalization


class Window(NamedTuple):
    """The micro-batches of one optimizer step."""

    first: bool  # this micro-batch is the first of them
    last: bool
    size: int


class MultiTaskTrainer(SupervisedTrainer):  # type: ignore[misc]  # monai has no types
    """Train a multi-task network.

    Beyond MONAI's `SupervisedTrainer`: mixed precision on the CPU too, bfloat16 as well as float16, channels-last,
    gradient clipping (per task where tasks share nothing), a last, shorter accumulation window that counts its own
    micro-batches, and an end with the cases' names, before the weights change, when loss or gradient is not finite.

    The network's own ``penalty()`` is added to the loss, beside what the weighting joins.

    ``state.output`` holds image, label (the targets), pred (detached logits per task), loss and penalty (its terms).

    Args:
        device: where to train; network and loss are moved there.
        max_epochs: epochs of the whole run.
        train_data_loader: batches; must have a length, or ``epoch_length`` be given.
        network: a multi-task network, may be wrapped in DistributedDataParallel.
        optimizer: see `trainable_parameters`.
        loss_function: (outputs dict, targets dict) -> scalar; with a `GradientWeighting` each task's own gradients are
            joined where the decoders begin, see `TaskGradients`.
        prepare_batch: batch -> (image, targets); None: `PrepareMultiTaskBatch` for the network's tasks.
        inferer: None: `MultiTaskInferer`, which calls the network once for images of its own dimensions.
        train_handlers: a list among them stands for its own entries; one that has ``close()`` is closed when the run
            ends, however it ends; MONAI's MLFlowHandler is exchanged for `MLflowTracking`.
        amp: mixed precision, also on the CPU; a boolean or 'true' / 'false'.
        amp_dtype: 'bf16', 'fp16' (with gradient scaling, CUDA only) or 'auto'.
        channels_last: keep the weights of convolutions channels-last, which is faster with mixed precision.
        bf16_wrong: convolutions that this processor computes wrongly in bfloat16: 'refuse', or 'float32' to compute
            them in that; see `checking_bf16`.
        clip_norm: largest 2-norm of the network's gradient, None for no clipping.
        accumulation_steps: micro-batches per optimizer step; their gradients are averaged.
        finite_check_every: micro-batches between looks for a loss or gradient that is not finite; in between nothing
            in a step waits for the device. None: 1 on the CPU, 20 elsewhere if the optimizer is fused.
        compile_mode: call the network through `torch.compile` in training steps, see `compiled_network`.
        decollate: split batch and output into lists of cases after each iteration.
        optim_set_to_none: drop gradients instead of filling them with 0.
        options: further options of `SupervisedTrainer`; copies do not block if the loader pins its memory.

    Raises:
        ConfigError: an option or the loss's weighting cannot be used, or, in `run`, the loader is empty.
    """

    def __init__(
        self,
        device: str | torch.device,
        max_epochs: int,
        train_data_loader: Iterable[Any],
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_function: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor],
        prepare_batch: Callable[..., Any] | None = None,
        inferer: Inferer | None = None,
        train_handlers: Sequence[Any] | None = None,
        amp: bool | str = False,
        amp_dtype: str = "auto",
        channels_last: bool | str = False,
        bf16_wrong: str = "refuse",
        clip_norm: float | None = None,
        accumulation_steps: int = 1,
        finite_check_every: int | None = None,
        compile_mode: bool | str = False,
        decollate: bool = False,
        optim_set_to_none: bool = True,
        **options: Any,
    ) -> None:
        if clip_norm is not None and not clip_norm > 0:
            raise ConfigError("clip_norm", f"{clip_norm} is not positive.", "Give a positive number, or null.")
        precision = choose_precision(device, amp, amp_dtype)
        inner: Any = unwrap(network)
        network.to(device)
        if isinstance(loss_function, nn.Module):
            loss_function.to(device)
        if as_bool(channels_last, "channels_last"):
            to_channels_last(network)
        options.setdefault("non_blocking", bool(getattr(train_data_loader, "pin_memory", False)))
        super().__init__(
            device,
            max_epochs,
            train_data_loader,
            network,
            optimizer,
            loss_function,
            prepare_batch=prepare_batch or PrepareMultiTaskBatch(inner.tasks),
            inferer=inferer or MultiTaskInferer(),
            amp=precision.dtype is not None,
            decollate=decollate,
            optim_set_to_none=optim_set_to_none,
            accumulation_steps=accumulation_steps,
            **options,
        )
        if accumulation_steps > 1 and self.state.epoch_length is None:
            raise ConfigError("accumulation_steps", "the loader has no length.", "Give the trainer an epoch_length.")
        self.precision, self.bf16_wrong, self.clip_norm = precision, bf16_wrong, clip_norm
        self.scaler = precision.scaler()
        self.finite = FiniteGuard(
            self, check_interval(finite_check_every, torch.device(device), optimizer, self.scaler)
        )
        self.task_gradients = task_gradients(network, loss_function)
        self._compiled = compiled_network(self, compile_mode)
        self._penalty = getattr(inner, "penalty", None)
        large = bool(getattr(inner, "full_size", False)) or inner.spatial_dims == 3
        self._unmeasured = large and self._compiled is None
        end_workers_with_parent(train_data_loader)
        self.train_handlers = in_place_of_monai(_flat(train_handlers or ()))
        self._register_handlers(self.train_handlers)  # now, so that they find network, optimizer and loss in the engine

    def run(self) -> None:
        """Train until ``max_epochs``; do nothing if they are complete.

        Raises:
            ConfigError: the loader is empty, batch or images are too small for batch normalization, this processor
                computes a convolution wrongly in bfloat16, or a network of full size has too little memory for a step.
            NonFiniteError: a loss or gradient is not finite.
        """
        if self.state.epoch_length == 0:
            raise _no_batch(self.data_loader)
        if 0 < self.state.max_epochs <= self.state.epoch:  # ignite would begin again at epoch 1
            logger.info("nothing to train: %d of %d epochs are done", self.state.epoch, self.state.max_epochs)
            return
        try:
            with checking_bf16(self.network, self.precision, self.bf16_wrong):
                Workflow.run(self)  # not Trainer.run, which would replace the restored gradient scaler
        except ValueError as error:
            if _ONE_VALUE in str(error):
                raise _one_value(self.state.output["image"]) from error
            raise
        finally:
            for handler in self.train_handlers:
                if callable(close := getattr(handler, "close", None)):
                    close()

    def _iteration(self, engine: Any, batchdata: Mapping[str, Any]) -> dict[str, Any]:
        """Train on one micro-batch."""
        window = self._window()
        self.network.train()
        if window.first:
            self.optimizer.zero_grad(set_to_none=self.optim_set_to_none)
        self.finite.begin(batchdata)
        loss = self.compute_gradients(batchdata, window.size)
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        groups = self._measure_gradients() if window.last else []
        norms = self.finite.look(loss, [group.norm for group in groups])
        if window.last:
            with holding_unobserved(self.loss_function, self.optimizer):
                self._step(groups, norms)
        self.finite.end()
        predictions = {name: logits.detach() for name, logits in self.state.output["pred"].items()}
        self.state.output.update(pred=predictions, loss=loss.detach())  # keep no graph until the next iteration
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        output: dict[str, Any] = self.state.output
        return output

    def compute_gradients(self, batchdata: Mapping[str, Any], parts: int) -> Tensor:
        """Add the gradients of a micro-batch, one of ``parts``; return its loss, () scalar."""
        image, targets = self.prepare_batch(batchdata, self.state.device, self.non_blocking, **self.to_kwargs)
        self.state.output = {"image": image, "label": targets}
        if self._unmeasured:
            check_step_memory(self.network, image, half=self.precision.dtype is not None)
            self._unmeasured = False
        loss = self._loss(image, targets)
        self._backward(loss / parts)
        return loss

    def _window(self) -> Window:
        """Return the current accumulation window; a shorter last one is divided by its own length, unlike in MONAI."""
        steps, length = self.accumulation_steps, self.state.epoch_length
        if steps == 1:
            return Window(True, True, 1)
        position = (self.state.iteration - 1) % length
        begin = position - position % steps
        end = min(begin + steps, length)
        return Window(position == begin, position == end - 1, end - begin)

    def _loss(self, image: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Compute logits in the chosen precision and the loss in float32; () scalar."""
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image  # (B, C, *S); metadata slow everything
        with self.precision.autocast(), self.task_gradients.cut() if self.task_gradients else nullcontext():
            self.state.output["pred"] = self.inferer(plain, self.network if self._compiled is None else self._compiled)
        self.fire_event(IterationEvents.FORWARD_COMPLETED)
        loss: Tensor = self.loss_function(self.state.output["pred"], targets).mean()
        penalty: dict[str, Tensor] = self._penalty() if self._penalty else {}
        for term in penalty.values():
            loss = loss + term
        self.state.output.update(loss=loss, penalty={name: term.detach() for name, term in penalty.items()})
        self.fire_event(IterationEvents.LOSS_COMPLETED)
        return loss

    def _backward(self, part: Tensor) -> None:
        scaled = part if self.scaler is None else self.scaler.scale(part)
        (self.task_gradients.backward if self.task_gradients else torch.autograd.backward)(scaled)

    def _measure_gradients(self) -> list[GradientGroup]:
        if self.scaler is not None:
            if self.clip_norm is None:
                return []
            self.scaler.unscale_(self.optimizer)
        return gradient_groups(self.network)

    def _step(self, groups: Sequence[GradientGroup], norms: Sequence[float]) -> None:
        if self.clip_norm is not None:
            clip_gradients(groups, norms, self.clip_norm)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)  # skips the step if a gradient is infinite
            self.scaler.update()


def _flat(handlers: Iterable[Any]) -> list[Any]:
    return [one for entry in handlers for one in (entry if isinstance(entry, list) else [entry])]


def _no_batch(loader: Any) -> ConfigError:
    """Create the error of a loader without a batch."""
    if not isinstance(loader, DataLoader) or not loader.batch_size or not (cases := _length(loader.sampler)):
        return ConfigError("train_data_loader", "it has no batch.", "Give training cases, at least one batch of them.")
    reason = f"{loader.batch_size} is more than the {cases} training items; an incomplete batch is left out."
    return ConfigError("batch_size", reason, f"Give --batch_size {cases} or less, or more cases.")


def _length(sampler: Any) -> int:
    return len(sampler) if hasattr(sampler, "__len__") else 0


def _one_value(image: Tensor) -> ConfigError:
    batch, size = image.shape[0], " x ".join(map(str, image.shape[2:]))
    reason = f"a batch of {batch} image of {size} leaves one value per channel, where batch normalization needs two."
    remedy = "Give a --batch_size of 2 or more, or larger images (the bundle's image_size or size)."
    return ConfigError("batch_size", reason, remedy)
