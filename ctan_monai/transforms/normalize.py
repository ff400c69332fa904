"""Bring gray values of any kind of image to about 0 to 1, or to mean 0 and standard deviation 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai.transforms import Transform
from torch import Tensor

from ctan_monai.data.cases.cache import read_header
from ctan_monai.data.datasets.tabular.values import STATISTICS
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.transforms.load import check_channels
from ctan_monai.transforms.window import scale_windows

METHODS = ("window", "zscore", "imagenet")
IMAGENET_MEAN, IMAGENET_DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of values from 0 to 255


class NormalizeChannelsd(Transform):  # type: ignore[misc]  # MONAI has no type hints that mypy could follow
    """Scale every channel of ``image``.

    Put it right after `LoadCaseFiled`, before what fills borders with zeros.

    Args:
        image_channels: names of the image's channels, in order.
        method: 'window': from the window's ends to 0 and 1, cut off beyond, for CT in HU and images of 0 to 255;
            'zscore': mean 0 and standard deviation 1 over the voxels of the whole case that are not 0, which stay 0,
            for MR; 'imagenet': by ImageNet's mean and standard deviation of red, green and blue.
        window: values that become 0 and 1.

    Raises:
        ConfigError: the method is unknown, the window is none, or 'imagenet' meets other channels than three.
        DataError: (when called, for 'zscore') the case was prepared without statistics of its channels.
    """

    def __init__(self, image_channels: Sequence[str], method: str, window: Sequence[float] | None = None) -> None:
        self.channels = check_channels(image_channels)
        self.method = method
        ends = tuple(window) if isinstance(window, list | tuple) else ()
        if method not in METHODS:
            raise ConfigError("normalize", f"{method!r} is unknown.", f"Use one of {METHODS}.")
        if method == "window" and not (len(ends) == 2 and ends[0] < ends[1]):
            raise ConfigError("window", f"{window!r} was found.", "Give the values that become 0 and 1: [-160, 240].")
        if method == "imagenet" and len(self.channels) != len(IMAGENET_MEAN):
            raise ConfigError("normalize", f"imagenet for {len(self.channels)} channels.", "Use window or zscore.")
        self.window = ends

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sample with a new image."""
        image = sample["image"]  # (C, *S)
        if self.method == "window":
            lower, upper = self.window
            return {**sample, "image": scale_windows(image, {at: (lower, upper) for at in range(len(self.channels))})}
        if self.method == "imagenet":
            return {**sample, "image": _standardized(image, IMAGENET_MEAN, IMAGENET_DEVIATION)}
        mean, deviation = zip(*(self._statistics(sample)), strict=True)
        return {**sample, "image": _standardized(image, mean, deviation) * (image != 0)}

    def _statistics(self, sample: Mapping[str, Any]) -> list[list[float]]:
        """Return mean and standard deviation of each channel of the case, of which the sample may be a slice."""
        found = read_header(sample["file"]).meta.get(STATISTICS, {})
        if not all(name in found for name in self.channels):
            reason = f"it has no statistics of {list(self.channels)}."
            raise DataError(sample["file"], sample["case"], reason, "Prepare it again from a table of cases.")
        return [found[name] for name in self.channels]


def _standardized(image: Tensor, mean: Sequence[float], deviation: Sequence[float]) -> Tensor:
    shape = (-1, *[1] * (image.ndim - 1))
    standardized: Tensor = (image - image.new_tensor(mean).reshape(shape)) / image.new_tensor(deviation).reshape(shape)
    return standardized
