"""Gray value windows for the channels that have one, so that contours beside a CT stay 0 and 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai.transforms import RandomizableTransform, Transform
from torch import Tensor

from ctan_monai.errors import ConfigError
from ctan_monai.transforms.load import check_channels


class WindowChannelsd(Transform):  # type: ignore[misc]  # MONAI has no type hints that mypy could follow
    """Scale channels of ``image`` from a window of gray values to 0 ... 1, and cut off what lies outside.

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

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sample with a new image."""
        return {**sample, "image": scale_windows(sample["image"], self.windows)}


class RandWindowChannelsd(RandomizableTransform):  # type: ignore[misc]  # MONAI has no type hints
    """Scale as `WindowChannelsd`, with windows that vary a little: brightness and contrast for augmentation.

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
        self.moves: dict[int, tuple[float, float]] = {}

    def randomize(self, data: Any = None) -> None:
        """Draw how far the ends of each window move, the same number of draws each time."""
        super().randomize(data)
        self.moves = {channel: tuple(self.R.uniform(-self.jitter, self.jitter, 2)) for channel in self.windows}

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sample with a new image."""
        self.randomize()
        windows = self.windows
        if self._do_transform:
            windows = {channel: _moved(self.windows[channel], self.moves[channel]) for channel in self.windows}
        return {**sample, "image": scale_windows(sample["image"], windows)}


def check_windows(channels: Sequence[str], windows: Mapping[str, Sequence[float]]) -> dict[int, tuple[float, float]]:
    """Return the windows by the position of their channel.

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


def scale_windows(image: Tensor, windows: Mapping[int, tuple[float, float]]) -> Tensor:
    """Return a copy of the image (C, *S) in which each channel with a window runs from 0 to 1."""
    scaled = image.clone()
    for channel, (lower, upper) in windows.items():
        scaled[channel] = ((image[channel] - lower) / (upper - lower)).clamp(0, 1)  # (*S)
    return scaled


def _moved(window: tuple[float, float], shares: tuple[float, float]) -> tuple[float, float]:
    width = window[1] - window[0]
    return window[0] + shares[0] * width, window[1] + shares[1] * width
