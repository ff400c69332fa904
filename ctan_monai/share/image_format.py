"""Description of a network's input and logits as plain values, for other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import singledispatch
from pathlib import Path
from typing import Any

import yaml

from ctan_monai.aliases import settings_under_all_names
from ctan_monai.engines.runs.manifest import SETTINGS_FILE
from ctan_monai.tasks import Classification, Regression, Segmentation, Task, task_from, unregistered
from ctan_monai.transforms.normalize import IMAGENET_MEAN, IMAGENET_STD

AXES = ("batch", "channel", "height", "width", "depth")
SLICE_SCORE = "slice_score"
_ENTRY = "image_format"  # of train.yaml
_UNKNOWN = object()


def output_format(task: Task, scored: bool = False) -> dict[str, Any]:
    """Describe a task's logits and their postprocessing.

    Args:
        task: the task.
        scored: for a task with one answer per image, the network adds a score of the slice, by softmax over the slices
            the slice's share in the answer of the volume.

    Returns:
        ``channels``: names in order; ``activation``: sigmoid (each channel), softmax (over the channels) or none, where
        the value is ``logit * scale`` in ``unit``; ``threshold``: 0.5, argmax for the most probable channel, or words;
        ``minimum``: what lower values are set to.

    >>> output_format(Regression("dose", "Gy", 70.0, nonnegative=True))
    {'channels': ['dose'], 'activation': 'none', 'scale': 70.0, 'unit': 'Gy', 'minimum': 0.0}
    """
    found = logits_format(task)
    if scored and not task.pixel_level and not task.answer_unit:
        found["channels"].append(SLICE_SCORE)
    return found


@singledispatch
def logits_format(task: Task) -> dict[str, Any]:
    """Return `output_format` without a score of the slice.

    Raises:
        ConfigError: nothing is known about this kind of task.
    """
    raise unregistered(task, "format of its logits", "logits_format")


@logits_format.register
def _(task: Segmentation) -> dict[str, Any]:
    background = ["background"] if task.exclusive else []
    return {"channels": [*background, *task.labels], **_probabilities(task)}


@logits_format.register
def _(task: Regression) -> dict[str, Any]:
    least = {"minimum": 0.0} if task.nonnegative else {}
    return {"channels": [task.name], "activation": "none", "scale": float(task.scale), "unit": task.unit, **least}


@logits_format.register
def _(task: Classification) -> dict[str, Any]:
    return {"channels": list(task.classes), **_probabilities(task)}


def _probabilities(task: Task) -> dict[str, Any]:
    if task.exclusive:
        return {"activation": "softmax", "threshold": "argmax"}
    return {"activation": "sigmoid", "threshold": 0.5}


def image_format(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry ``image_format`` of a bundle's train.yaml, with the values of a run.

    Nothing of the config is evaluated: references to options and plain entries are followed, anything else is left out.

    Args:
        config: train.yaml as YAML has it.
        settings: the run's options.

    Returns:
        Some of ``channels``, ``values`` (what is stored: HU, or 0 to 255), ``windows`` (values that become 0 and 1, by
        channel; what lies beyond is cut off), ``mean`` and ``std`` (value - mean, divided by std, by channel),
        ``normalize``, ``axes`` (where height, width and depth point in the patient), ``spacing_mm`` (along these; null:
        the image's own), ``spacing_range_mm`` (pixels of such sizes are left alone), ``size`` (along the axes, of
        training; other sizes are taken), ``note``.
    """
    entry = config.get(_ENTRY)
    if not isinstance(entry, Mapping):
        return {}
    found = {name: _plain(value, config, settings) for name, value in entry.items()}
    found = {name: value for name, value in found.items() if value is not _UNKNOWN and value is not None}
    method, window = found.pop("normalize", None), found.pop("window", None)
    if method == "window":
        found["windows"] = dict.fromkeys(found.get("channels", []), window)
    elif method == "imagenet":
        found |= {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}
    elif method == "percentiles":
        found["normalize"] = "percentiles: two percentiles of the image inside the body become 0 and 1, cut off beyond"
    elif method is not None:
        found["normalize"] = f"{method}: mean 0, standard deviation 1 over the voxels of the whole image that are not 0"
    return found


def is_scored(record: Mapping[str, Any]) -> bool:
    """Tell by run.json whether image-level outputs have a slice score after their logits."""
    return bool((record.get("decoder_options") or {}).get(SLICE_SCORE))


def file_description(record: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of an exported network: run.json's entries, and ``image`` and ``outputs``.

    Args:
        record: run.json.
        image: what `image_format` returned.
    """
    tasks = [task_from(entry) for entry in record["tasks"]]
    dims = int(record["spatial_dims"])
    outputs = {}
    for task in tasks:
        axes = AXES[: 2 + dims] if task.pixel_level else AXES[:2]
        outputs[task.name] = {"layout": list(axes), **output_format(task, is_scored(record))}
    return {**record, "image": {"layout": list(AXES[: 2 + dims]), "dtype": "float32", **image}, "outputs": outputs}


def image_format_of_run(run_dir: str | Path) -> dict[str, Any]:
    """Return `image_format` of a run by the copy of its train.yaml; empty where there is none."""
    folder = Path(str(run_dir))
    try:
        config = yaml.safe_load((folder / "configs" / "train.yaml").read_text(encoding="utf-8"))
        settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}  # weights without their run, or of a config with another name: the file says less
    if not isinstance(config, dict) or not isinstance(settings, dict):
        return {}
    return image_format(config, settings_under_all_names(settings))


def _plain(value: Any, config: Mapping[str, Any], settings: Mapping[str, Any], depth: int = 0) -> Any:
    """Resolve references; `_UNKNOWN` for what only MONAI's parser could resolve."""
    if depth > 8:  # references in a circle
        return _UNKNOWN
    if isinstance(value, str) and value[:1] in "$%":
        return _UNKNOWN
    if isinstance(value, str) and value.startswith("@"):
        name = value[1:]
        known = settings if name in settings else config
        return _plain(known[name], config, settings, depth + 1) if name in known else _UNKNOWN
    if isinstance(value, list):
        parts = [_plain(entry, config, settings, depth + 1) for entry in value]
        return _UNKNOWN if any(part is _UNKNOWN for part in parts) else parts
    if isinstance(value, dict) and {"value", "options"} <= set(value):  # engines.choose
        chosen = _plain(value["value"], config, settings, depth + 1)
        options = value["options"]
        known_option = isinstance(options, dict) and isinstance(chosen, str) and chosen in options
        return _plain(options[chosen], config, settings, depth + 1) if known_option else _UNKNOWN
    if isinstance(value, dict):
        if "_target_" in value:
            return _UNKNOWN
        parts_by_name = {name: _plain(entry, config, settings, depth + 1) for name, entry in value.items()}
        return _UNKNOWN if any(part is _UNKNOWN for part in parts_by_name.values()) else parts_by_name
    return value
