"""Other light and another camera, for color images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai.transforms import RandomizableTransform
from torch import Tensor

from ctan_monai.errors import ConfigError

_LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in what the eye sees as brightness (ITU-R BT.601)


class RandColorJitterd(RandomizableTransform):  # type: ignore[misc]  # MONAI has no type hints
    """Randomly change brightness, contrast, saturation and white balance of an RGB image with probability ``prob``.

    The image is (3, *S), red, green and blue, 0 to 255, and stays in that range; put this before the normalization.

    Args:
        brightness: largest change of all values, as a fraction.
        contrast: largest change of the distance from the image's mean brightness, as a fraction.
        saturation: largest change of the distance from gray, as a fraction.
        balance: largest change of each channel on its own, as a fraction.
        prob: how often to do anything.

    Raises:
        ConfigError: a share is not in [0, 1); (when called) the image has not three channels.
    """

    def __init__(
        self,
        brightness: float = 0.15,
        contrast: float = 0.15,
        saturation: float = 0.15,
        balance: float = 0.05,
        prob: float = 0.5,
    ) -> None:
        super().__init__(prob)
        self.shares = {
            "brightness": brightness,
            "contrast": contrast,
            "saturation": saturation,
            "balance": balance,
        }
        for name, share in self.shares.items():
            if not 0 <= share < 1:
                raise ConfigError(f"RandColorJitterd.{name}", f"found {share}.", "Give a fraction from 0 to below 1.")
        self.factors: list[float] = []

    def randomize(self, data: Any = None) -> None:
        """Draw brightness, contrast, saturation and three channels' factors, the same number of draws each time."""
        super().randomize(data)
        spread = [self.shares[name] for name in ("brightness", "contrast", "saturation", *["balance"] * 3)]
        self.factors = [1 + share * float(self.R.uniform(-1, 1)) for share in spread]

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Return the sample, perhaps with another image."""
        self.randomize()
        if not self._do_transform:
            return dict(sample)
        return {**sample, "image": change_colors(sample["image"], self.factors)}


def change_colors(image: Tensor, factors: list[float]) -> Tensor:
    """Return an RGB image (3, *S), 0 to 255, in other colors.

    Args:
        image: (3, *S).
        factors: of brightness, contrast, saturation, red, green and blue; 1 changes nothing.

    Raises:
        ConfigError: the image has not three channels.
    """
    if image.shape[0] != len(_LUMA):
        raise ConfigError("RandColorJitterd", f"the image has {image.shape[0]} channels.", "Give red, green and blue.")
    brightness, contrast, saturation, *balance = factors
    ones = [1] * (image.ndim - 1)
    found = image * image.new_tensor(balance).reshape(3, *ones) * brightness  # (3, *S)
    luma = (found * image.new_tensor(_LUMA).reshape(3, *ones)).sum(0, keepdim=True)  # (1, *S)
    found = luma + saturation * (found - luma)
    found = luma.mean() + contrast * (found - luma.mean())
    changed: Tensor = found.clamp(0, 255)
    return changed
