"""Architectures by name, and the one function that builds them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ctan_monai.errors import ConfigError
from ctan_monai.networks.base import MultiTaskNetwork
from ctan_monai.networks.encoder import ResNetEncoder
from ctan_monai.networks.weights import load_imagenet_weights
from ctan_monai.tasks import Task, check_tasks

_Architecture = TypeVar("_Architecture", bound=type[MultiTaskNetwork])
_ARCHITECTURES: dict[str, type[MultiTaskNetwork]] = {}
_ENCODER_DEFAULTS: dict[str, dict[str, Any]] = {}
_COMMON = {"self", "tasks", "encoder", "decoder_options"}
_DECODER_OPTIONS = {"full_resolution", "skips", "deepest_skip", "image_level", "slice_score"}


def register(
    method: str, encoder_defaults: Mapping[str, Any] | None = None
) -> Callable[[_Architecture], _Architecture]:
    """Register an architecture under a name (class decorator).

    Args:
        method: the name that users give as ``--method``.
        encoder_defaults: options of `ResNetEncoder` that this architecture wants unless told otherwise.
    """

    def add(architecture: _Architecture) -> _Architecture:
        architecture.method = method
        _ARCHITECTURES[method] = architecture
        _ENCODER_DEFAULTS[method] = dict(encoder_defaults or {})
        return architecture

    return add


def methods() -> list[str]:
    """Return the names of all architectures."""
    return sorted(_ARCHITECTURES)


def create_network(
    method: str,
    tasks: Sequence[Task],
    encoder: str = "resnet50",
    spatial_dims: int = 2,
    in_channels: int = 1,
    pretrained: str | None = None,
    encoder_options: Mapping[str, Any] | None = None,
    decoder_options: Mapping[str, Any] | None = None,
    network_options: Mapping[str, Mapping[str, Any]] | None = None,
) -> MultiTaskNetwork:
    """Build a network for some tasks.

    Args:
        method: 'ctan', 'mtan', 'hps' or 'stl'.
        tasks: what is predicted, in the order of the outputs.
        encoder: 'resnet18', 'resnet34', 'resnet50' or 'resnet101'.
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        pretrained: None, 'imagenet' or a file, see `load_imagenet_weights`.
        encoder_options: `ResNetEncoder`'s stem, stem_stride and split.
        decoder_options: `DecoderPlan`'s full_resolution, skips, deepest_skip, image_level and slice_score.
        network_options: options by method, of which the chosen method's entry is used.

    Returns:
        The network; its ``settings`` say how it was built.

    Raises:
        ConfigError: the method or an option is unknown, or the tasks do not fit the method.
        DataError: the pretrained weights cannot be read.
    """
    found = check_tasks(tasks)
    chosen = {name: dict(options or {}) for name, options in (network_options or {}).items()}
    for name in [method, *chosen]:
        if name not in _ARCHITECTURES:
            raise ConfigError("method", f"{name!r} is unknown.", f"Use one of {methods()}.")
    for name, options in chosen.items():
        _check_options(f"network_options: {name}", options, _ARCHITECTURES[name])
    merged = {**_ENCODER_DEFAULTS[method], **(encoder_options or {})}
    _check_options("encoder_options", merged, ResNetEncoder, exclude={"name", "spatial_dims", "in_channels"})
    body = ResNetEncoder(encoder, spatial_dims, in_channels, **merged)
    if pretrained:
        load_imagenet_weights(body, pretrained)
    decoders = dict(decoder_options or {})
    _check_options("decoder_options", decoders, _DECODER_OPTIONS)
    network = _ARCHITECTURES[method](found, body, decoders, **chosen.get(method, {}))  # type: ignore[call-arg,arg-type]
    network.settings = {
        "encoder": encoder,
        "in_channels": in_channels,
        "encoder_options": merged,
        "decoder_options": decoders,
        "network_options": chosen.get(method, {}),
    }
    return network


def _check_options(
    setting: str, options: Mapping[str, Any], accepts: type | set[str], exclude: set[str] | None = None
) -> None:
    known = accepts if isinstance(accepts, set) else set(inspect.signature(accepts).parameters)
    known = known - _COMMON - (exclude or set())
    unknown = sorted(set(options) - known)
    if unknown:
        raise ConfigError(setting, f"{unknown} is unknown.", f"Use {sorted(known) or 'no option here'}.")
