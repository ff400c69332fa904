"""Color jitter for RGB images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ctan_monai.errors import ConfigError
from ctan_monai.transforms.batch import Batch, RandBatchTransform, change_rows, chosen, upload

_LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in what the eye sees as brightness (ITU-R BT.601)


class RandColorJitterd(RandBatchTransform):
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

    def draw(self) -> list[float] | None:
        """Draw the factors of brightness, contrast, saturation and white balance, with a fixed number of draws."""
        self.randomize(None)
        spread = [self.shares[name] for name in ("brightness", "contrast", "saturation", *["balance"] * 3)]
        factors = [1 + share * float(self.R.uniform(-1, 1)) for share in spread]
        return factors if self._do_transform else None

    def apply(self, batch: Mapping[str, Any], drawn: Sequence[list[float] | None]) -> Batch:
        """Jitter the images that factors were drawn for."""
        rows = chosen(drawn)
        if not rows:
            return dict(batch)
        factors = [drawn[row] for row in rows]
        return {**batch, "image": change_rows(batch["image"], rows, change_colors, factors)}


def change_colors(image: Tensor, factors: Sequence[Any]) -> Tensor:
    """Adjust brightness, contrast, saturation and white balance of RGB images, 0 to 255.

    Args:
        image: (B, 3, *S), or one of (3, *S).
        factors: of each image's brightness, contrast, saturation, red, green and blue, (B, 6), or (6,) for one; 1
            changes nothing.

    Raises:
        ConfigError: the images have not three channels.
    """
    if isinstance(factors[0], int | float):
        return change_colors(image[None], [factors])[0]
    if image.shape[1] != len(_LUMA):
        raise ConfigError("RandColorJitterd", f"the image has {image.shape[1]} channels.", "Give red, green and blue.")
    ones = [1] * (image.ndim - 2)
    table = upload(factors, image.device, image.dtype).reshape(-1, 6, *ones)  # (B, 6, 1 ...)
    brightness, contrast, saturation, balance = table[:, :1], table[:, 1:2], table[:, 2:3], table[:, 3:]
    found = (image * balance).mul_(brightness)  # (B, 3, *S)
    luma = (found * upload(_LUMA, image.device, image.dtype).reshape(3, *ones)).sum(1, keepdim=True)  # (B, 1, *S)
    mean = luma.mean(tuple(range(1, image.ndim)), keepdim=True)  # (B, 1 ...)
    found.sub_(luma).mul_(saturation).add_(luma)
    return found.sub_(mean).mul_(contrast).add_(mean).clamp_(0, 255)
