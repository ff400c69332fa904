"""MONAI's SupervisedEvaluator for multi-task networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Events
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from torch import Tensor, nn

from ctan_monai.engines.distributed.processes import to_channels_last, unwrap, without_data_parallel
from ctan_monai.engines.handlers.metrics_handler import MultiTaskMetrics
from ctan_monai.engines.loop.bf16_guard import checking_bf16, choose_precision
from ctan_monai.engines.loop.inferer import MultiTaskInferer
from ctan_monai.engines.loop.prepare import PrepareMultiTaskBatch
from ctan_monai.engines.loop.sampler import end_workers_with_parent
from ctan_monai.engines.runs.ensemble import mean_outputs, members_of
from ctan_monai.engines.runs.options import as_bool
from ctan_monai.engines.tracking.mlflow_tracking import without_monai
from ctan_monai.errors import ConfigError


class MultiTaskEvaluator(SupervisedEvaluator):  # type: ignore[misc]  # monai has no types
    """Run a multi-task network over a data set, for validation, evaluation or inference.

    ``state.output`` holds image, label (the targets) and pred (float32 logits per task, with the image's metadata). Of
    an `Ensemble`, and with ``views``, pred is the mean answer (`mean_logits`), and ``answers`` are the outputs.

    Args:
        device: where to run; the network is moved there.
        val_data_loader: batches.
        network: a multi-task network, may be wrapped in DistributedDataParallel. Every process runs it on its own
            cases, without waiting for the others, with the batch statistics of process 0.
        prepare_batch: batch -> (image, targets); None: `PrepareMultiTaskBatch` for the network's tasks.
        inferer: None: `MultiTaskInferer`.
        key_val_metric: `MultiTaskMetrics`, or metrics by name as MONAI has them; they come before the handlers, which
            find ``state.metrics["selection"]``.
        val_handlers: ignite handlers; MONAI's MLFlowHandler is left out, see `mlflow_tracking`.
        amp: mixed precision, also on the CPU; a boolean or 'true' / 'false'.
        amp_dtype: 'bf16', 'fp16' (CUDA only) or 'auto'.
        channels_last: keep the weights of convolutions channels-last.
        bf16_wrong: as for `MultiTaskTrainer`; only the forward pass counts here.
        views: views of an image that are answered for, such as `MirrorViews`; None: the image.
        decollate: split batch and output into lists of cases, which MONAI's post-processing transforms need and
            `MultiTaskMetrics` cannot use.
        options: further options of `SupervisedEvaluator`.

    Raises:
        ConfigError: an option cannot be used, or, in `run`, the loader is empty.
    """

    def __init__(
        self,
        device: str | torch.device,
        val_data_loader: Iterable[Any],
        network: nn.Module,
        prepare_batch: Callable[..., Any] | None = None,
        inferer: Inferer | None = None,
        val_handlers: Sequence[Any] | None = None,
        key_val_metric: MultiTaskMetrics | Mapping[str, Any] | None = None,
        amp: bool | str = False,
        amp_dtype: str = "auto",
        channels_last: bool | str = False,
        bf16_wrong: str = "refuse",
        views: Callable[..., list[dict[str, Tensor]]] | None = None,
        decollate: bool = False,
        **options: Any,
    ) -> None:
        precision = choose_precision(device, amp, amp_dtype)
        inner: Any = unwrap(network)
        network.to(device)
        if as_bool(channels_last, "channels_last"):
            to_channels_last(network)
        super().__init__(
            torch.device(device),
            val_data_loader,
            network,
            prepare_batch=prepare_batch or PrepareMultiTaskBatch(inner.tasks),
            inferer=inferer or MultiTaskInferer(),
            key_val_metric=None if isinstance(key_val_metric, MultiTaskMetrics) else key_val_metric,
            amp=precision.dtype is not None,
            decollate=decollate,
            **options,
        )
        self.precision, self.bf16_wrong, self.views = precision, bf16_wrong, views
        end_workers_with_parent(val_data_loader)
        self.add_event_handler(Events.STARTED, self._share_buffers)
        measures = [key_val_metric] if isinstance(key_val_metric, MultiTaskMetrics) else []
        self.val_handlers = [*measures, *without_monai(val_handlers or ())]
        self._register_handlers(self.val_handlers)

    def run(self, global_epoch: int = 1) -> None:
        """Run over the dataset once.

        Raises:
            ConfigError: the loader is empty, or this processor computes a convolution wrongly in bfloat16.
        """
        if self.state.epoch_length == 0:
            raise ConfigError("val_data_loader", "it has no batch.", "Give cases to validate on.")
        with checking_bf16(self.network, self.precision, self.bf16_wrong):
            super().run(global_epoch)

    def _share_buffers(self) -> None:
        """Broadcast the buffers (batch norm statistics) of process 0, whose network is saved."""
        if dist.is_available() and dist.is_initialized():
            for buffer in unwrap(self.network).buffers():
                dist.broadcast(buffer, src=0)

    def _answers(self, image: Tensor, network: nn.Module) -> list[dict[str, Tensor]]:
        """Return the outputs of each network of an ensemble for each view, one for a single network and image."""
        found: list[dict[str, Tensor]] = []
        for member in members_of(network):
            found += [self.inferer(image, member)] if self.views is None else self.views(self.inferer, image, member)
        if len(found) > 1 and hasattr(self.inferer, "latest"):
            self.inferer.latest = {}  # what the last of them said of slices, which is not what all say
        return found

    def _iteration(self, engine: Any, batchdata: Mapping[str, Any]) -> dict[str, Any]:
        """Predict one batch."""
        image, targets = self.prepare_batch(batchdata, self.state.device, self.non_blocking, **self.to_kwargs)
        self.state.output = {"image": image, "label": targets}
        with torch.inference_mode():
            with self.mode(self.network), self.precision.autocast():
                answers = self._answers(image, without_data_parallel(self.network))
            self.state.output["pred"] = mean_outputs(getattr(self.network, "tasks", ()), answers)
            if len(answers) > 1:
                self.state.output["answers"] = answers
            self.fire_event(IterationEvents.FORWARD_COMPLETED)
            self.fire_event(IterationEvents.MODEL_COMPLETED)  # post-processing may change inference tensors in place
        output: dict[str, Any] = self.state.output
        return output
