"""Inferers for images larger than the network's input: sliding windows, slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, sliding_window_inference
from torch import Tensor

from ctan_monai.engines.distributed.processes import unwrap
from ctan_monai.errors import ConfigError

_ON_CPU, _ON_GPU = 16, 128  # slices in a batch; fewer leave a large GPU waiting
Outputs = dict[str, Tensor]
Predict = Callable[[Tensor], Outputs]


class MultiTaskInferer(Inferer):  # type: ignore[misc]  # monai has no types
    """Compute float32 logits of all tasks for an image of any size, with the image's metadata.

    * Image and network have the same number of spatial dimensions: one call, or a sliding window of ``roi_size``.
    * A 2D network on a volume: axial slices (the last axis) in batches, put together to (B, K, H, W, D) again.

    A task with one answer per image gets the mean of its logits over windows or slices.
    (`monai.inferers.SlidingWindowInferer` raises for such tasks and loses affine and file name of the others.)

    Args:
        roi_size: size of the window, one number or one per dimension of the network, -1 or None for the image's; an
            image that is smaller is not padded, its window is as large as itself. None: no window.
        slice_batch: slices in a batch. None: 16, on a GPU 128 or as many as its memory turns out to hold.
        overlap: fraction of a window that the next one repeats, 0 <= overlap < 1.
        window_batch: windows in a batch.
        blend: 'gaussian' counts the middle of a window more than its border, 'constant' does not.
        spatial_dims: of the network, for one that does not tell (TorchScript).
    """

    def __init__(
        self,
        roi_size: int | Sequence[int | None] | None = None,
        slice_batch: int | None = None,
        overlap: float = 0.25,
        window_batch: int = 4,
        blend: str = "gaussian",
        spatial_dims: int | None = None,
    ) -> None:
        if (slice_batch is not None and slice_batch < 1) or window_batch < 1:
            raise ConfigError("inferer", f"slice_batch {slice_batch}, window_batch {window_batch}.", "Use at least 1.")
        if not 0 <= overlap < 1:
            raise ConfigError("inferer: overlap", f"{overlap} is not in [0, 1).", "Use for example 0.25.")
        self.roi_size, self.slice_batch, self.overlap = roi_size, slice_batch, overlap
        self.window_batch, self.blend, self.spatial_dims = window_batch, blend, spatial_dims
        self._fitting: int | None = None  # slices in a batch that the memory held, where more did not fit

    def __call__(self, inputs: Tensor, network: Callable[..., Outputs], *args: Any, **kwargs: Any) -> Outputs:
        """Compute the logits of every task.

        Args:
            inputs: (B, C, *S) image.
            network: a multi-task network, also wrapped or compiled.
            args: passed on to every call of the network.
            kwargs: passed on to every call of the network.

        Returns:
            Task name -> float32 (B, K, *S), with the metadata of ``inputs`` if it has any, or (B, K).

        Raises:
            ConfigError: a 3D network meets a 2D image, or ``roi_size`` has another number of dimensions.
        """
        image = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        image_dims = image.ndim - 2
        network_dims = self._network_dims(network, image_dims)

        def predict(part: Tensor) -> Outputs:
            return network(part, *args, **kwargs)

        if network_dims == image_dims:
            outputs = self._windows(image, predict)
        elif (network_dims, image_dims) == (2, 3):
            outputs = self._slices(image, predict)
        else:
            raise ConfigError(
                "spatial_dims",
                f"the network takes {network_dims}D images, found an image of shape {tuple(image.shape)}.",
                "Create the network with the image's spatial_dims.",
            )
        return {name: _with_metadata(_float(logits), inputs) for name, logits in outputs.items()}

    def _network_dims(self, network: Callable[..., Outputs], image_dims: int) -> int:
        if self.spatial_dims is not None:
            return self.spatial_dims
        inner = unwrap(network) if isinstance(network, torch.nn.Module) else network
        return int(getattr(inner, "spatial_dims", image_dims))

    def _windows(self, image: Tensor, predict: Predict) -> Outputs:
        """Predict an image (B, C, *S) of the network's dimensionality, by sliding windows if it is larger than one."""
        size = tuple(image.shape[2:])
        window = self._window_size(size)
        if window == size:
            return predict(image)
        names: list[str] = []
        whole_image: dict[str, list[Tensor]] = {}  # logits of tasks with one answer per image, one row per window

        def predict_windows(windows: Tensor) -> Outputs:
            outputs = {name: _float(logits) for name, logits in predict(windows).items()}
            names[:] = outputs
            for name, logits in outputs.items():
                if logits.ndim == 2:
                    whole_image.setdefault(name, []).append(logits)
            pixel = _apart({name: logits for name, logits in outputs.items() if logits.ndim > 2})
            return pixel or {"": torch.zeros_like(windows[:, :1])}  # MONAI needs one map

        stitched: Outputs = sliding_window_inference(
            image, window, self.window_batch, predict_windows, overlap=self.overlap, mode=self.blend
        )
        for name, rows in whole_image.items():
            logits = torch.cat(rows)  # (B * windows, K), all windows of the first image first
            stitched[name] = logits.reshape(image.shape[0], -1, logits.shape[1]).mean(dim=1)  # (B, K)
        return {name: stitched[name] for name in names}

    def _window_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        wanted = [self.roi_size] * len(size) if isinstance(self.roi_size, int | None) else list(self.roi_size)
        if len(wanted) != len(size):
            raise ConfigError(
                "inferer: roi_size", f"{self.roi_size} for an image of {size}.", f"Give {len(size)} numbers."
            )
        return tuple(have if not want or want < 0 else min(want, have) for want, have in zip(wanted, size, strict=True))

    def _slices(self, volume: Tensor, predict: Predict) -> Outputs:
        """Predict a volume (B, C, H, W, D) slice by slice."""
        slices = volume.movedim(-1, 1)  # (B, D, C, H, W), a view
        batch, depth = slices.shape[:2]
        stacked: Outputs = {}
        for case in range(batch):
            start = 0
            while start < depth:
                outputs = self._next_slices(slices[case, start:], predict)
                stop = start + len(next(iter(outputs.values())))
                for name, logits in outputs.items():
                    part = _float(logits).movedim(0, -1)  # (K, H, W, n) or (K, n)
                    if name not in stacked:
                        stacked[name] = part.new_empty((batch, *part.shape[:-1], depth))
                    stacked[name][case, ..., start:stop] = part
                start = stop
        return {name: logits.mean(dim=-1) if logits.ndim == 3 else logits for name, logits in stacked.items()}

    def _next_slices(self, slices: Tensor, predict: Predict) -> Outputs:
        """Predict the first of slices (D, C, H, W), as many as a batch has."""
        many = self.slice_batch or self._fitting or (_ON_GPU if slices.device.type == "cuda" else _ON_CPU)
        many = min(many, len(slices))
        try:
            return self._windows(slices[:many].contiguous(), predict)
        except torch.OutOfMemoryError:
            if self.slice_batch is not None or many == 1:
                raise
        self._fitting = many // 2  # outside of the handler, whose traceback keeps what did not fit
        return self._next_slices(slices, predict)


def _apart(outputs: Outputs) -> Outputs:
    """Copy a tensor that several names have: MONAI weighs windows in place, and would do so once for each name."""
    found: Outputs = {}
    for name, logits in outputs.items():
        found[name] = logits.clone() if any(logits is other for other in found.values()) else logits
    return found


def _float(logits: Tensor) -> Tensor:
    """Cast half-precision logits to float32."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def _with_metadata(logits: Tensor, image: Tensor) -> Tensor:
    if isinstance(image, MetaTensor) and logits.shape[2:] == image.shape[2:]:
        copied: Tensor = MetaTensor(logits).copy_meta_from(image)
        return copied
    return logits
