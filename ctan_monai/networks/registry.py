"""The registry of architectures, and the function that creates them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ctan_monai.errors import ConfigError, check_choice
from ctan_monai.networks.base import MultiTaskNetwork, NetworkPlan
from ctan_monai.networks.decoders import DecoderPlan
from ctan_monai.networks.encoder import ResNetEncoder
from ctan_monai.networks.weights import load_imagenet_weights
from ctan_monai.tasks import Task, check_tasks

_Architecture = TypeVar("_Architecture", bound=type[MultiTaskNetwork])
_ARCHITECTURES: dict[str, type[MultiTaskNetwork]] = {}
_BEFORE: dict[str, dict[str, Any]] = {}
_BACKBONES: dict[str, str] = {}  # of architectures that bring their own
_DECODERS: dict[str, set[str]] = {}  # options of decoders that these take
_RESNET = "resnet50"
_COMMON = {"self", "tasks", "encoder", "decoder_options", "spatial_dims", "in_channels", "plan"}
_HEAD_OPTIONS = {"full_resolution", "slice_score"}  # of heads at the image's size, for which the first is always so
_DECODER_OPTIONS = {"join", "full_resolution", "skips", "deepest_skip", "image_level", "slice_score"}


def register(
    method: str,
    before: Mapping[str, Any] | None = None,
    backbone: str | None = None,
    package_decoders: bool = False,
) -> Callable[[_Architecture], _Architecture]:
    """Register an architecture under a name (class decorator).

    Args:
        method: the name that users give as ``--method``.
        before: options that came later, with what runs have that were made before; records of new runs name them.
        backbone: name of what the architecture has in the encoder's place. It is then called with (`NetworkPlan`,
            options ...) instead of (tasks, encoder, decoder_options, options ...).
        package_decoders: an architecture with a backbone has the package's decoders, with all their options.
    """

    def add(architecture: _Architecture) -> _Architecture:
        architecture.method = method
        _ARCHITECTURES[method] = architecture
        _BEFORE[method] = dict(before or {})
        if backbone:
            _BACKBONES[method] = backbone
            _DECODERS[method] = _DECODER_OPTIONS if package_decoders else _HEAD_OPTIONS
        return architecture

    return add


def methods() -> list[str]:
    """Return the names of all architectures."""
    return sorted(_ARCHITECTURES)


def options_before(method: str) -> dict[str, Any]:
    """Return the values of an architecture's later options in runs made before them."""
    return dict(_BEFORE.get(method, {}))


def own_backbone(method: str) -> str | None:
    """Return the name of an architecture's own backbone, None if it has an encoder."""
    return _BACKBONES.get(method)


def create_network(
    method: str,
    tasks: Sequence[Task],
    encoder: str | None = None,
    spatial_dims: int = 2,
    in_channels: int = 1,
    pretrained: str | Mapping[str, str] | None = None,
    encoder_options: Mapping[str, Any] | None = None,
    decoder_options: Mapping[str, Any] | None = None,
    network_options: Mapping[str, Mapping[str, Any]] | None = None,
) -> MultiTaskNetwork:
    """Create a multi-task network.

    Args:
        method: one of `methods()`: 'ctan', 'mtan', 'hps', 'stl', 'sfg', 'mt_estan' ...
        tasks: what is predicted, in the order of the outputs.
        encoder: 'resnet18', 'resnet34', 'resnet50' or 'resnet101'; None: 'resnet50', or the method's own backbone.
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        pretrained: None, 'imagenet' or a file, see `load_imagenet_weights`; of a method with its own backbone what its
            ``load_pretrained`` takes.
        encoder_options: `ResNetEncoder`'s stem, stem_stride and split.
        decoder_options: `DecoderPlan`'s join, full_resolution, skips, deepest_skip, image_level and slice_score.
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
        check_choice("method", name, methods())
    for name, options in chosen.items():
        _check_options(f"network_options: {name}", options, _ARCHITECTURES[name])
    given = {
        "encoder_options": dict(encoder_options or {}),
        "decoder_options": dict(decoder_options or {}),
        "network_options": chosen.get(method, {}),
    }
    _check_options("encoder_options", given["encoder_options"], ResNetEncoder, {"name", "spatial_dims", "in_channels"})
    _check_options("decoder_options", given["decoder_options"], _DECODER_OPTIONS)
    architecture: Any = _ARCHITECTURES[method]
    later = {name: inspect.signature(architecture).parameters[name].default for name in _BEFORE[method]}
    settings = {**given, "network_options": {**later, **given["network_options"]}}
    if method in _BACKBONES:
        _refuse_encoder(method, encoder, given)
        start: tuple[Any, ...] = (NetworkPlan(found, spatial_dims, in_channels, given["decoder_options"]),)
    else:
        body = ResNetEncoder(encoder or _RESNET, spatial_dims, in_channels, **given["encoder_options"])
        if pretrained:
            load_imagenet_weights(body, str(pretrained))
        settings["decoder_options"] = {"join": DecoderPlan.join, **given["decoder_options"]}
        start = (found, body, settings["decoder_options"])
    network: MultiTaskNetwork = architecture(*start, **settings["network_options"])
    if pretrained and method in _BACKBONES:
        network.load_pretrained(pretrained)
    name = _BACKBONES.get(method, encoder or _RESNET)
    network.settings = {"encoder": name, "in_channels": in_channels, **settings}
    network.given = {group: frozenset(options) for group, options in given.items()}
    return network


def _refuse_encoder(method: str, encoder: str | None, given: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse encoder options that an architecture with its own backbone would ignore."""
    own = _BACKBONES[method]
    for setting, value in (
        ("encoder", None if encoder == own else encoder),
        ("encoder_options", dict(given["encoder_options"])),
        ("decoder_options", sorted(set(given["decoder_options"]) - _DECODERS[method])),
    ):
        if value:
            found = f"{value!r} cannot be used with {method}, which brings its own backbone ({own})."
            raise ConfigError(setting, found, f"Leave it out, or use another --method than {method}.")


def _check_options(
    setting: str, options: Mapping[str, Any], accepts: type | set[str], exclude: set[str] | None = None
) -> None:
    known = accepts if isinstance(accepts, set) else set(inspect.signature(accepts).parameters)
    known = known - _COMMON - (exclude or set())
    unknown = sorted(set(options) - known)
    if unknown:
        raise ConfigError(setting, f"{unknown} is unknown.", f"Use {sorted(known) or 'no option here'}.")
