"""metadata.json of a packed bundle: inputs, outputs, metrics, files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ctan_monai import __version__
from ctan_monai.errors import ConfigError
from ctan_monai.share.image_format import is_scored, output_format
from ctan_monai.share.pack_source import Trained
from ctan_monai.share.pack_tables import RunMetrics
from ctan_monai.tasks import Task, task_from

_OURS = "ctan-monai"  # in no registry; whoever took the name there could run code where a bundle is installed
_VERSIONS = {"monai_version": "monai", "pytorch_version": "torch", "numpy_version": "numpy"}
SYNTHETIC = "synthetic data, computed by a program that is part of the package"
_NEEDED = ("version", "changelog", "network_data_format", "name", "description")


def packed_metadata(
    metadata: Mapping[str, Any],
    trained: Trained,
    image_channels: Sequence[str],
    metrics: RunMetrics,
    weights: Mapping[str, Mapping[str, Any]],
    packages: Mapping[str, str] | None,
    image: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Complete a bundle's metadata by what is known about its weights.

    Args:
        metadata: the bundle's own.
        trained: the weights and their run.
        image_channels: names of the image's channels.
        metrics: how good it is.
        weights: by file: bytes and digests.
        packages: what must be installed, with versions; None: what the bundle says, and a checkout of this package.
        image: what is known about its images, see `image_format.image_format`.

    Raises:
        ConfigError: something is missing, or the outputs are not those of the tasks.
    """
    if missing := [key for key in _NEEDED if not metadata.get(key)]:
        raise ConfigError("BUNDLE, configs/metadata.json", f"{missing} is missing.", "Write it.")
    version = str(metadata["version"])
    if version not in metadata["changelog"]:
        reason = f"the changelog does not say what is new in version {version}."
        raise ConfigError("BUNDLE, configs/metadata.json", reason, "Add a line to it.")
    known = dict(metadata)
    for key, package in _VERSIONS.items():
        if found := trained.versions.get(package):
            known[key] = str(found).split("+")[0]
    own = {name: version for name, version in known.get("required_packages_version", {}).items() if name != _OURS}
    known["required_packages_version"] = dict(own if packages is None else packages)  # what pip finds under its name
    if packages is None:
        known["code"] = f"ctan_monai {__version__}, installed from its repository by pip install -e ."
    known["training_data"] = metrics.trained_on
    if trained.synthetic:
        known["data_source"] = SYNTHETIC
    known["eval_metrics"] = {f"{metrics.prefix}{name}": value for name, value in metrics.values.items()}
    known["network_data_format"] = _format(metadata["network_data_format"], trained, image_channels, image or {})
    known["weights"] = {"parameters": _parameters(trained), "files": dict(weights)}
    return known


def _parameters(trained: Trained) -> int:
    floating = (entry for entry in trained.state.values() if entry.is_floating_point())
    return sum(math.prod(entry.shape) for entry in floating)


def _format(
    given: Mapping[str, Any], trained: Trained, image_channels: Sequence[str], said: Mapping[str, Any]
) -> dict[str, Any]:
    tasks = [task_from(entry) for entry in trained.record["tasks"]]
    expected = ["pred", *(task.name for task in tasks[1:])]
    outputs = given.get("outputs", {})
    if list(outputs) != expected or "image" not in given.get("inputs", {}):
        found = f"network_data_format has outputs {list(outputs)}, the network's are {expected}."
        raise ConfigError("BUNDLE, configs/metadata.json", found, "Describe each output, the first task's as pred.")
    image = dict(given["inputs"]["image"])
    image["num_channels"] = trained.record["in_channels"]
    image["spatial_shape"] = _shape(image["spatial_shape"], trained)
    if len(image.get("channel_def", {})) != len(image_channels):
        image["channel_def"] = {str(at): name for at, name in enumerate(image_channels)}
    for key in ("values", "windows", "mean", "std", "normalize", "axes", "spacing_mm", "spacing_range_mm", "note"):
        if key in said:
            image[key] = said[key]
    about = (image["spatial_shape"], str(image.get("modality", "n/a")), bool(image.get("is_patch_data")))
    scored = is_scored(trained.record)
    described = {name: output_entry(task, *about, scored) for name, task in zip(expected, tasks, strict=True)}
    return {"inputs": {"image": image}, "outputs": described}


def _shape(given: Sequence[Any], trained: Trained) -> list[Any]:
    """Return the image size: the run's, where it is an option, else the bundle's."""
    dims = int(trained.record["spatial_dims"])
    size = trained.settings.get("image_size") or trained.settings.get("size")
    if isinstance(size, list) and dims == len(size) + 1 and trained.settings.get("depth"):
        size = [*size, trained.settings["depth"]]
    if isinstance(size, list) and len(size) == dims:
        return size
    if len(given) != dims:
        found = f"spatial_shape {list(given)} does not fit a network of {dims} dimensions."
        raise ConfigError("BUNDLE, configs/metadata.json", found, f"Give {dims} numbers.")
    return list(given)


def output_entry(
    task: Task, shape: Sequence[Any], modality: str, patches: bool = False, scored: bool = False
) -> dict[str, Any]:
    """Describe the network's output for a task: logits, and their postprocessing.

    Args:
        task: the task.
        shape: (*S) of an image.
        modality: what the images are.
        patches: the network sees parts of images.
        scored: see `image_format.output_format`.
    """
    how = output_format(task, scored)
    unit = f" in units of {how['scale']:g} {how['unit']}" if "scale" in how else ""
    channels = how.pop("channels")
    return {
        "type": "image" if task.pixel_level else "value" if task.answer_unit else "logits",
        "format": type(task).__name__.lower(),
        "modality": modality,
        "num_channels": len(channels),
        "spatial_shape": list(shape) if task.pixel_level else [1],
        "dtype": "float32",
        "value_range": [],  # logits have no bounds
        "is_patch_data": patches and task.pixel_level,
        "channel_def": {str(at): f"{name}{unit}" for at, name in enumerate(channels)},
        "task": task.name,
        **how,
    }
