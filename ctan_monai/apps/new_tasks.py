"""Parsing of ``--task`` and ``--image``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ctan_monai.aliases import VALUES
from ctan_monai.data.datasets.tabular.layout import ABOUT, IMAGE, LABEL, RGB
from ctan_monai.data.datasets.tabular.sides import side_of
from ctan_monai.data.datasets.tabular.synthetic import IMAGE_FILE_KINDS, KINDS
from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification, Regression, Segmentation, Task

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_MOST = 1000  # labels or classes
_SCALES = {"Gy": 70.0, "HU": 1000.0, "years": 100.0, "mm": 100.0, "percent": 100.0, "kg": 100.0, "cm": 100.0}
_EXAMPLES = {
    "segmentation": "segmentation:organs=Liver,Kidney_L,Kidney_R",
    "classification": "classification:grade=low,high",
    "regression": "regression:age=years@image",
}
_NUMBERED = "segmentation:tumor=core:1,edema:2 or segmentation:regions=whole:1+2+4,core:1+4"
_OPTIONS = {
    "segmentation": ("overlapping",),
    "classification": ("multilabel",),
    "regression": ("image", "scale", "nonnegative", "region"),
}
_LEFT_RIGHT = ((r"^left", "right"), (r"^Left", "Right"), (r"_L$", "_R"), (r"_l$", "_r"), (r"left$", "right"))


@dataclass(frozen=True)
class NewTask:
    """A task of a new bundle.

    Args:
        task: the task.
        label_values: of a Segmentation whose label maps do not count from 1, the numbers of each label.
    """

    task: Task
    label_values: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class NewImage:
    """The image of a new bundle.

    Args:
        kind: ct, mr, rgb or gray.
        channels: names.
    """

    kind: str
    channels: tuple[str, ...]

    @property
    def is_image_file(self) -> bool:
        """Whether an image is a JPEG or PNG, not a volume."""
        return self.kind in IMAGE_FILE_KINDS


def parse_task(text: str) -> NewTask:
    """Parse a task: ``KIND:NAME=DETAILS@OPTION``.

    >>> parse_task("classification:grade=low,high").task
    Classification(name='grade', classes=('low', 'high'), multilabel=False)
    >>> parse_task("segmentation:tumour=core:1,edema:2,enhancing:4").label_values
    {'core': (1,), 'edema': (2,), 'enhancing': (4,)}
    >>> parse_task("segmentation:regions=whole:1+2+4,core:1+4").task  # a voxel of 1 is in both
    Segmentation(name='regions', labels=('whole', 'core'), overlapping=True, mirror_pairs=())
    >>> parse_task("regression:dose=Gy").task.scale
    70.0

    Raises:
        ConfigError: it cannot be understood; says why, with an example.
    """
    parts, options = _split(text)
    kind, name, details = parts
    if kind == "segmentation":
        return _segmentation(text, name, details, options)
    if kind == "classification":
        return _classification(text, name, details, options)
    return _regression(text, name, details, options)


def new_task(task: Task, label_values: Mapping[str, Sequence[int]] | None = None) -> NewTask:
    """Convert a task to one of a new bundle.

    Raises:
        ConfigError: a label or class cannot be the name of a column, or the numbers are not those of the labels.
    """
    words = task.labels if isinstance(task, Segmentation) else getattr(task, "classes", ())
    _check_words(task.name, words)
    numbers = {label: tuple(values) for label, values in (label_values or {}).items()}
    if numbers and set(numbers) != set(words):
        reason = f"{sorted(numbers)} have numbers, the labels are {list(words)}."
        raise ConfigError(f"label_values: {task.name}", reason, "Give each label its numbers.")
    return NewTask(task, numbers)


def parse_image(text: str, spatial_dims: int) -> NewImage:
    """Parse ``--image``: a kind, and names of channels.

    >>> parse_image("mr:t1,flair", 3)
    NewImage(kind='mr', channels=('t1', 'flair'))

    Raises:
        ConfigError: the kind is unknown, does not fit the dimensions, or a channel's name cannot be used.
    """
    kind, _, names = (text or ("rgb" if spatial_dims == 2 else "ct")).partition(":")
    channels = tuple(name.strip() for name in names.split(",")) if names else RGB if kind == "rgb" else (kind,)
    wrong = [name for name in channels if not _WORD.fullmatch(name) or name in (*ABOUT, IMAGE, LABEL)]
    if kind not in KINDS:
        reason = f"{kind!r} is {VALUES[kind]} now." if kind in VALUES else f"{kind!r} is unknown."
        raise ConfigError("--image", reason, f"Use one of {', '.join(KINDS)}; mr:t1,t2 for channels.")
    if kind in IMAGE_FILE_KINDS and spatial_dims == 3:
        raise ConfigError("--image", f"{kind} means images, which have two axes.", "Use ct or mr, or 2 dimensions.")
    if wrong or len(set(channels)) < len(channels) or (kind == "rgb" and channels != RGB):
        raise ConfigError("--image", f"{text!r} has channels that cannot be used.", "Write for example mr:t1,t2,flair.")
    return NewImage(kind, channels)


def _split(text: str) -> tuple[tuple[str, str, str], dict[str, str]]:
    """Return kind, name and details, and the options."""
    front, *rest = text.strip().split("@")
    found = re.fullmatch(r"\s*(\w+)\s*:\s*([^=:]+?)\s*(?:=(.*))?", front)
    if not found or found[1] not in _OPTIONS:
        kinds = f"the kind is none of {', '.join(_OPTIONS)}." if found else "it is not KIND:NAME=DETAILS."
        raise _error(text, kinds, _EXAMPLES.get(found[1] if found else "", " or ".join(_EXAMPLES.values())))
    options = {}
    for option in rest:
        name, _, value = option.strip().partition("=")
        if name not in _OPTIONS[found[1]]:
            known = ", ".join(f"@{each}" for each in _OPTIONS[found[1]])
            raise _error(text, f"@{name} is unknown; {found[1]} has {known}.", _EXAMPLES[found[1]])
        options[name] = value
    return (found[1], found[2], (found[3] or "").strip()), options


def _segmentation(text: str, name: str, details: str, options: Mapping[str, str]) -> NewTask:
    words = _words(text, name, details or "1", lambda number, count: name if count == 1 else f"{name}_{number + 1}")
    labels = [word.partition(":")[0] for word in words]
    numbers = {label: _group(text, word) for label, word in zip(labels, words, strict=True) if ":" in word}
    if numbers and len(numbers) < len(labels):
        raise _error(text, "only some labels have a number.", _NUMBERED)
    if len({frozenset(group) for group in numbers.values()}) < len(numbers):
        raise _error(text, "two labels have the same number.", _NUMBERED)
    _check_words(text, labels)
    every = [number for group in numbers.values() for number in group]
    overlapping = "overlapping" in options or len(labels) == 1 or len(set(every)) < len(every)
    return NewTask(Segmentation(name, labels, overlapping, mirror_pairs(labels)), numbers)


def _group(text: str, word: str) -> tuple[int, ...]:
    """Return the numbers of a label, which are joined by plus signs."""
    numbers = word.partition(":")[2].split("+")
    if not all(re.fullmatch(r"[0-9]{1,5}", number.strip()) and int(number) > 0 for number in numbers):
        raise _error(text, f"{word.partition(':')[2]!r} is no number of a label, nor several.", _NUMBERED)
    found = tuple(int(number) for number in numbers)
    if len(set(found)) < len(found):
        raise _error(text, f"{word!r} names a number twice.", _NUMBERED)
    return found


def _classification(text: str, name: str, details: str, options: Mapping[str, str]) -> NewTask:
    classes = _words(text, name, details or "1", lambda number, count: name if count == 1 else f"{name}_{number}")
    _check_words(text, classes)
    return NewTask(Classification(name, classes, "multilabel" in options))


def _regression(text: str, name: str, details: str, options: Mapping[str, str]) -> NewTask:
    if not details:
        raise _error(text, "the unit is missing.", _EXAMPLES["regression"])
    scale = options.get("scale", str(_SCALES.get(details, "")))
    try:
        number = float(scale)
    except ValueError:
        reason = f"the scale of {details!r} is not known." if not scale else f"the scale {scale!r} is no number."
        remedy = f"regression:{name}={details}@scale=10 (about the largest usual value)"
        raise _error(text, reason, remedy) from None
    nonnegative = "nonnegative" in options or details in ("Gy", "years")
    level: Literal["image", "voxel"] = "image" if "image" in options else "voxel"
    region: Literal["all", "mask"] = "mask" if "region" in options else "all"
    if region == "mask" and level == "image":
        raise _error(text, "a value of the whole image has no region.", _EXAMPLES["regression"])
    return NewTask(Regression(name, details, number, level, region, nonnegative))


def mirror_pairs(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Find pairs of left and right labels by their names.

    >>> mirror_pairs(["Kidney_L", "Liver", "Kidney_R", "LeftLung", "RightLung"])
    [('Kidney_L', 'Kidney_R'), ('LeftLung', 'RightLung')]
    """
    found = []
    for label in labels:
        other = next((re.sub(left, right, label) for left, right in _LEFT_RIGHT if re.search(left, label)), label)
        if side_of(label) < 0 and other != label and other in labels:
            found.append((label, other))
    return found


def _words(text: str, name: str, details: str, names: Callable[[int, int], str]) -> list[str]:
    """Return the entries of a list, or numbered names for a number."""
    if re.fullmatch(r"\d+", details):
        count = int(details)
        if not 1 <= count <= _MOST:
            raise _error(text, f"{count} is no number of labels or classes.", f"a number from 1 to {_MOST}")
        return [names(number, count) for number in range(count)]
    return [word.strip() for word in details.split(",")]


def _check_words(text: str, words: Sequence[str]) -> None:
    wrong = [word for word in words if not _WORD.fullmatch(word)]
    twice = sorted({word for word in words if words.count(word) > 1})
    if wrong or twice:
        reason = f"{(wrong or twice)[0]!r} cannot be used" + (" twice." if not wrong else " as a name.")
        raise _error(text, reason, "letters, digits, _, -, + and dots, separated by commas")


def _error(text: str, reason: str, example: str) -> ConfigError:
    return ConfigError(f"--task {text}", reason, f"Write for example {example}.")
