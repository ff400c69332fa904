"""Normalize the intensities of any kind of image to about 0 to 1, or to mean 0 and standard deviation 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ctan_monai.data.cases.cache import read_header
from ctan_monai.data.datasets.mr_ct.reader import PERCENTILES
from ctan_monai.data.datasets.tabular.values import STATISTICS
from ctan_monai.errors import ConfigError, DataError, check_choice
from ctan_monai.transforms.batch import Batch, BatchTransform, upload
from ctan_monai.transforms.load import check_channels
from ctan_monai.transforms.window import scale_windows

METHODS = ("window", "zscore", "imagenet", "percentiles")
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of values from 0 to 255


class NormalizeChannelsd(BatchTransform):
    """Normalize the intensities of every channel of ``image``.

    Put it right after `LoadCaseFiled`, before what fills borders with zeros.

    Args:
        image_channels: names of the image's channels, in order.
        method: 'window': from the window's ends to 0 and 1, cut off beyond, for CT in HU and images of 0 to 255;
            'zscore': mean 0 and standard deviation 1 over the voxels of the whole case that are not 0, which stay 0,
            for MR; 'imagenet': by ImageNet's mean and standard deviation of red, green and blue; 'percentiles': from
            the two percentiles that the case's reader took (inside the body, in a case of MR and CT) to 0 and 1, cut
            off beyond.
        window: values that become 0 and 1.

    Raises:
        ConfigError: the method is unknown, the window is none, or 'imagenet' meets other channels than three.
        DataError: (when called, for 'zscore' and 'percentiles') the case was prepared without such numbers of its
            channels.
    """

    def __init__(self, image_channels: Sequence[str], method: str, window: Sequence[float] | None = None) -> None:
        self.channels = check_channels(image_channels)
        self.method = method
        ends = tuple(window) if isinstance(window, list | tuple) else ()
        check_choice("normalize", method, METHODS)
        if method == "window" and not (len(ends) == 2 and ends[0] < ends[1]):
            raise ConfigError("window", f"{window!r} was found.", "Give the values that become 0 and 1: [-160, 240].")
        if method == "imagenet" and len(self.channels) != len(IMAGENET_MEAN):
            raise ConfigError("normalize", f"imagenet for {len(self.channels)} channels.", "Use window or zscore.")
        self.window = ends
        self._known: dict[str, list[list[float]]] = {}

    def apply(self, batch: Mapping[str, Any], drawn: Sequence[None]) -> Batch:
        """Scale the images."""
        image = batch["image"]  # (B, C, *S)
        if self.method == "window":
            lower, upper = self.window
            windows = {at: (lower, upper) for at in range(len(self.channels))}
            return {**batch, "image": scale_windows(image, [windows] * len(drawn))}
        if self.method == "imagenet":
            return {**batch, "image": _standardized(image, [[IMAGENET_MEAN, IMAGENET_STD]])}
        numbers = [self._of_case(*origin) for origin in zip(batch["file"], batch["case"], strict=True)]
        if self.method == "percentiles":
            ends = [{at: (low, high) for at, (low, high) in enumerate(each)} for each in numbers]
            return {**batch, "image": scale_windows(image, ends)}
        table = [list(zip(*channels, strict=True)) for channels in numbers]  # (B, 2, C)
        return {**batch, "image": _standardized(image, table) * (image != 0)}

    def _of_case(self, file: str, case: str) -> list[list[float]]:
        """Return two numbers for each channel of the case, of which the sample may be a slice."""
        if file not in self._known:
            key = PERCENTILES if self.method == "percentiles" else STATISTICS
            found = read_header(file).meta.get(key, {})
            if not all(name in found for name in self.channels):
                reason = f"it has no {key} of {list(self.channels)}."
                remedy = "Use another normalization, or prepare the case again."
                raise DataError(file, case, reason, remedy)
            self._known[file] = [found[name] for name in self.channels]
        return self._known[file]


def _standardized(image: Tensor, table: Any) -> Tensor:
    """Standardize images (B, C, *S) by the means and standard deviations of a table (B or 1, 2, C)."""
    numbers = upload(table, image.device, image.dtype)
    mean, std = numbers.reshape(*numbers.shape, *[1] * (image.ndim - 2)).unbind(1)  # (B or 1, C, 1 ...)
    standardized: Tensor = (image - mean) / std
    return standardized
