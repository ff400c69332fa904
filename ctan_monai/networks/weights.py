"""ImageNet weights for encoders, from the official files."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from ctan_monai.errors import ConfigError, DataError, check_choice
from ctan_monai.networks.encoder import ResNetEncoder, torchvision_name
from ctan_monai.networks.estan import TappedResNet
from ctan_monai.networks.swin_v2 import SwinV2Encoder

_LOGGER = logging.getLogger(__name__)
_SERVER = "https://download.pytorch.org/models/"
# torchvision's IMAGENET1K_V1 files; the eight digits are the beginning of the file's SHA-256
OFFICIAL_FILES = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
}
_TIMM_MERGING = re.compile(r"^layers\.(\d)\.downsample")
_SWIN_TABLES = ("relative_coords_table", "relative_position_index", "attn_mask", "k_bias")  # computed, not learned
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")


def load_swin_weights(encoder: SwinV2Encoder, source: str) -> None:
    """Load published weights of Swin Transformer V2 into an encoder, and log unused ones.

    Args:
        encoder: changed in place. For images that do not have three channels, each of n channels gets the sum of the
            RGB kernels of the patch embedding divided by n.
        source: a local file or URL as Microsoft (``{"model": ...}``) or timm publish it. Where its name ends in
            '-<hash>.pth', the content's SHA-256 must begin with it.

    Raises:
        DataError: the file is missing, damaged, or holds another network.

    Source: github microsoft/Swin-Transformer; timm (patch merging stands in the stage that follows).
    """
    weights: Any = read_weights(source)
    weights = weights.get("model", weights)
    if any(key.startswith("layers.3.downsample") for key in weights):  # timm's names
        weights = {
            _TIMM_MERGING.sub(lambda found: f"layers.{int(found[1]) - 1}.downsample", key): value
            for key, value in weights.items()
        }
    own, loaded = encoder.state_dict(), {}
    for key, tensor in own.items():
        found = weights.get(key)
        if found is not None and key == "patch_embed.proj.weight" and found.shape[1] != tensor.shape[1]:
            found = _for_channels(found, tensor, "sum")
        if found is None or found.shape != tensor.shape:
            shape = None if found is None else tuple(found.shape)
            reason = f"{key} is {shape}, expected {tuple(tensor.shape)}."
            raise DataError(source, None, reason, f"Give the weights of {encoder.name} or pretrained: null.")
        loaded[key] = found
    unused = [key for key in weights if key not in own and not key.endswith(_SWIN_TABLES)]
    encoder.load_state_dict(loaded, strict=True)
    _LOGGER.info(
        "Swin Transformer V2: %d tensors from %s; unused: %s", len(loaded), source, ", ".join(unused) or "none"
    )


def load_imagenet_weights(encoder: ResNetEncoder, source: str, first_layer: str = "sum") -> None:
    """Load torchvision's ImageNet weights into an encoder.

    Args:
        encoder: a 2D encoder, changed in place.
        source: 'imagenet' for the official file (downloaded once into torch.hub's folder), an URL, or a local file.
            Where the name ends in '-<hash>.pth', as the official ones do, the content's SHA-256 must begin with it.
        first_layer: for images that do not have three channels, how the RGB kernels of the first layer are used:
            'sum' (each of n channels gets the sum over RGB divided by n: equal to replicating a single channel, and
            3 times cheaper) or 'random' (they are not).

    Raises:
        ConfigError: the encoder is 3D, or an option is unknown.
        DataError: the file is missing, offline, damaged, or holds another network.

    Source: CTAN section 2.1 ("pre-trained with ImageNet"); docs/adr/0004.
    """
    if encoder.spatial_dims != 2:
        raise ConfigError("pretrained", "ImageNet weights exist for 2D encoders only.", "Use pretrained: null.")
    check_choice("first_layer", first_layer, ("sum", "random"))
    loaded = _loaded(encoder, source, encoder.name, torchvision_name, "stem.0.weight", first_layer)
    own = encoder.state_dict()
    encoder.load_state_dict({**own, **loaded}, strict=True)
    _LOGGER.info("ImageNet weights: %d of %d tensors from %s", len(loaded), len(own), source)


def load_tapped_weights(encoder: TappedResNet, source: str) -> None:
    """Load torchvision's weights of ResNet-50 into MT-ESTAN's ResNet, see `load_imagenet_weights`.

    Raises:
        DataError: the file is missing, offline, damaged, or holds another network, as for other sizes than 'base'.
    """
    loaded = _loaded(encoder, source, "resnet50", _tapped_name, "conv1.weight", "sum")
    encoder.load_state_dict(loaded, strict=True)
    _LOGGER.info("ImageNet weights: %d tensors from %s", len(loaded), source)


def _tapped_name(key: str) -> str:
    """Translate a key of `TappedResNet` to torchvision's layout.

    >>> _tapped_name("stages.2.rest.5.conv1.weight"), _tapped_name("stages.0.first.bn2.bias")
    ('layer3.5.conv1.weight', 'layer1.0.bn2.bias')
    """
    part, *rest = key.split(".")
    if part != "stages":
        return key
    block = ["0", *rest[2:]] if rest[1] == "first" else rest[2:]
    return ".".join([f"layer{int(rest[0]) + 1}", *block])


def _loaded(
    encoder: nn.Module, source: str, name: str, rename: Callable[[str], str], first: str, first_layer: str
) -> dict[str, Tensor]:
    """Rename a file's tensors to the encoder's keys; all but the first layer's must exist and fit."""
    weights = read_weights(_SERVER + OFFICIAL_FILES[name] if source == "imagenet" else source)
    loaded = {}
    for key, tensor in encoder.state_dict().items():
        found = weights.get(rename(key))
        fits = found is not None and (found.shape == tensor.shape or (key == first and len(found) == len(tensor)))
        if found is not None and key == first and found.shape[2:] != tensor.shape[2:]:
            _LOGGER.info("the stem %s of this encoder is not that of %s: it keeps its random weights", key, source)
        elif found is not None and fits:
            loaded[key] = _for_channels(found, tensor, first_layer) if key == first else found
        else:
            shape = None if found is None else tuple(found.shape)
            raise DataError(
                source,
                None,
                f"{rename(key)} is {shape}, expected {tuple(tensor.shape)}.",
                f"Give the weights of torchvision's {name} or pretrained: null.",
            )
    return loaded


def _for_channels(kernels: Tensor, own: Tensor, first_layer: str) -> Tensor:
    """Return a first layer's kernels for another number of channels: their mean, or the untrained ones."""
    if kernels.shape[1] == own.shape[1]:
        return kernels
    channels = own.shape[1]
    summed = kernels.sum(1, keepdim=True) / channels  # (64, 1, 7, 7)
    return summed.repeat(1, channels, 1, 1) if first_layer == "sum" else own


def read_weights(source: str) -> dict[str, Tensor]:
    """Read a PyTorch file of weights without running code that it may hold.

    Args:
        source: an URL or a local file; a hash in its name is checked as in `load_imagenet_weights`.

    Raises:
        DataError: the file is missing, offline or damaged.
    """
    remedy = "Check the connection, give a local file by its path, or use pretrained: null."
    if "://" in source:
        try:
            weights: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
                source, map_location="cpu", check_hash=True, weights_only=True
            )
        except (URLError, OSError, RuntimeError) as error:
            raise DataError(source, None, f"cannot be loaded ({error}).", remedy) from error
        return weights
    path = Path(source)
    if not path.is_file():
        raise DataError(path, None, "there is no such file.", remedy)
    expected = _HASH_IN_NAME.search(path.name)
    if expected and not hashlib.sha256(path.read_bytes()).hexdigest().startswith(expected[1]):
        raise DataError(
            path, None, f"the content does not have the SHA-256 {expected[1]}... of its name.", "Load it again."
        )
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the damaged bytes make of it
        raise DataError(path, None, f"is no readable PyTorch file ({error}).", remedy) from error
    return state
