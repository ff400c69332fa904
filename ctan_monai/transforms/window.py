"""Intensity windows for the channels that have one, so that contours beside a CT stay 0 and 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ctan_monai.errors import ConfigError
from ctan_monai.transforms.batch import Batch, BatchTransform, RandBatchTransform, upload
from ctan_monai.transforms.load import check_channels

Windows = Mapping[int, tuple[float, float]]  # what becomes 0 and 1, by channel


class WindowChannelsd(BatchTransform):
    """Scale channels of ``image`` from an intensity window to [0, 1], clipping what lies outside.

    Channels without a window, such as contours, are left alone (MONAI's ``ScaleIntensityRanged`` has one range for
    all of them).

    Args:
        image_channels: names of the image's channels, in order, as `LoadCaseFiled` has them.
        windows: for each channel to scale the values that become 0 and 1, for example ``{ct: [-160, 240]}`` in HU.

    Raises:
        ConfigError: a window belongs to no channel or is empty.
    """

    def __init__(self, image_channels: Sequence[str], windows: Mapping[str, Sequence[float]]) -> None:
        self.image_channels = check_channels(image_channels)
        self.windows = check_windows(self.image_channels, windows)

    def apply(self, batch: Mapping[str, Any], drawn: Sequence[None]) -> Batch:
        """Scale the images."""
        return {**batch, "image": scale_windows(batch["image"], [self.windows] * len(drawn))}


class RandWindowChannelsd(RandBatchTransform):
    """Scale as `WindowChannelsd` with randomly shifted windows, to augment brightness and contrast.

    Args:
        image_channels: names of the image's channels, in order.
        windows: for each channel to scale the values that become 0 and 1.
        jitter: how far either end of a window may move, as a fraction of its width.
        prob: how often they move.

    Raises:
        ConfigError: a window belongs to no channel or is empty, or the jitter could turn one inside out.
    """

    def __init__(
        self,
        image_channels: Sequence[str],
        windows: Mapping[str, Sequence[float]],
        jitter: float = 0.1,
        prob: float = 0.5,
    ) -> None:
        super().__init__(prob)
        self.image_channels = check_channels(image_channels)
        self.windows = check_windows(self.image_channels, windows)
        if not 0 <= jitter < 0.5:
            raise ConfigError("RandWindowChannelsd.jitter", f"found {jitter}, expected 0 to 0.5.", "Use about 0.1.")
        self.jitter = jitter

    def draw(self) -> Windows:
        """Draw shifted windows, with a fixed number of draws."""
        self.randomize(None)
        moves = {channel: self.R.uniform(-self.jitter, self.jitter, 2).tolist() for channel in self.windows}
        if not self._do_transform:
            return self.windows
        return {channel: _shift_window(window, moves[channel]) for channel, window in self.windows.items()}

    def apply(self, batch: Mapping[str, Any], drawn: Sequence[Windows]) -> Batch:
        """Scale each image by its windows."""
        return {**batch, "image": scale_windows(batch["image"], drawn)}


def check_windows(channels: Sequence[str], windows: Mapping[str, Sequence[float]]) -> dict[int, tuple[float, float]]:
    """Check windows and return them by the position of their channel.

    Raises:
        ConfigError: a window belongs to no channel, is no pair of numbers or is empty.
    """
    for name, window in windows.items():
        if name not in channels or len(window) != 2 or not window[0] < window[1]:
            raise ConfigError(
                f"windows.{name}",
                f"found {window!r}, expected [lower, upper] for one of the channels {list(channels)}.",
                "Write for example windows: {ct: [-160, 240]}.",
            )
    return {channels.index(name): (float(window[0]), float(window[1])) for name, window in windows.items()}


def scale_windows(image: Tensor, windows: Sequence[Windows]) -> Tensor:
    """Scale each channel with a window to [0, 1], in a copy of the images.

    Args:
        image: (B, C, *S).
        windows: of each image, all for the same channels.
    """
    scaled = image.clone()
    for channel in windows[0]:
        ends = [(each[channel][0], each[channel][1] - each[channel][0]) for each in windows]
        table = upload(ends, image.device, image.dtype).reshape(-1, 2, *[1] * (image.ndim - 2))  # (B, 2, 1 ...)
        scaled[:, channel] = ((image[:, channel] - table[:, 0]) / table[:, 1]).clamp(0, 1)  # (B, *S)
    return scaled


def _shift_window(window: tuple[float, float], shares: Sequence[float]) -> tuple[float, float]:
    width = window[1] - window[0]
    return window[0] + shares[0] * width, window[1] + shares[1] * width
