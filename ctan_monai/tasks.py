"""What is predicted: the three kinds of task, described once and used by every layer of the package.

A task says nothing about networks, losses or metrics. Each layer contributes one `functools.singledispatch`
function over these kinds (`decoder_for`, `loss_for`, `activate`, `postprocess_for`, `metrics_for`).

A batch is a flat dictionary. For a task named ``dose`` it holds the label under ``dose``, whether the label is
known under ``dose_present`` and, for voxel-level regression, the voxels that count under ``dose_region``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ctan_monai.config_values import refuse_code
from ctan_monai.errors import ConfigError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_RESERVED = ("_present", "_region")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name.endswith(_RESERVED) or name in {"image", "case", "file", "pred"}:
        raise ConfigError(
            "tasks",
            f"the task name {name!r} cannot be used as a key of a batch.",
            "Use a letter followed by letters, digits or _, not image, case, file or pred, not ending in "
            + " or ".join(_RESERVED)
            + ".",
        )


def _check_entries(task: str, field: str, entries: tuple[str, ...]) -> None:
    refuse_code(entries, f"tasks: {task}.{field}", f"Give the {field} names that begin otherwise.")
    if not entries or len(set(entries)) != len(entries):
        raise ConfigError(
            f"tasks: {task}.{field}", f"{entries} is empty or repeats an entry.", f"List each of the {field} once."
        )


@dataclass(frozen=True)
class Segmentation:
    """Find the voxels of each label.

    A label tensor is (B, L, *S) with one 0/1 mask per label, in the order of ``labels``, whether they may overlap
    or not; ``<name>_present`` is (B, L).

    Args:
        name: key of the task in batches and outputs.
        labels: names of the structures (TG-263 where there is one), background not among them.
        overlapping: a voxel may belong to several labels (a sigmoid each) instead of to one (softmax with background).
        mirror_pairs: pairs of labels that change places when the image is mirrored left to right.

    Raises:
        ConfigError: a name cannot be a key, labels are empty, repeated or begin with $, @ or %, a pair names an unknown
            label.
    """

    name: str
    labels: Sequence[str]
    overlapping: bool = False
    mirror_pairs: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        """Turn YAML's lists into tuples and check the fields."""
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "mirror_pairs", tuple((str(a), str(b)) for a, b in self.mirror_pairs))
        _check_name(self.name)
        _check_entries(self.name, "labels", tuple(self.labels))
        unknown = {label for pair in self.mirror_pairs for label in pair} - set(self.labels)
        if unknown:
            raise ConfigError(
                f"tasks: {self.name}.mirror_pairs",
                f"{sorted(unknown)} is not among the labels {list(self.labels)}.",
                "Name labels of this task.",
            )

    @property
    def channels(self) -> int:
        """Channels that a network returns for this task: one per label, and one for the background if exclusive."""
        return len(self.labels) if self.overlapping else len(self.labels) + 1

    @property
    def pixel_level(self) -> bool:
        """Whether the answer is an image rather than one answer per image."""
        return True


@dataclass(frozen=True)
class Regression:
    """Predict a quantity in every voxel (dose, a synthetic CT) or one per image.

    A label tensor is (B, 1, *S) or (B, 1), in ``unit``; networks return it divided by ``scale``.

    Args:
        name: key of the task in batches and outputs.
        unit: unit of the label and of everything that is reported, for example Gy or HU.
        scale: what one unit of the network's output means, in ``unit``; about the quantity's typical maximum.
        level: 'voxel' or 'image'.
        region: voxels that the loss counts: 'all', or 'mask' for those of ``<name>_region``.
        nonnegative: predictions below 0 are set to 0 (docs/adr/0004, A14).

    Raises:
        ConfigError: a name cannot be a key, the unit begins with $, @ or %, the scale is not positive, level or
            region is unknown.
    """

    name: str
    unit: str
    scale: float
    level: Literal["voxel", "image"] = "voxel"
    region: Literal["all", "mask"] = "all"
    nonnegative: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        _check_name(self.name)
        refuse_code(self.unit, f"tasks: {self.name}.unit", "Write it in letters, such as percent.")
        if not self.scale > 0:
            raise ConfigError(f"tasks: {self.name}.scale", f"{self.scale} is not positive.", "Give a positive number.")
        for field, value, allowed in (
            ("level", self.level, ("voxel", "image")),
            ("region", self.region, ("all", "mask")),
        ):
            if value not in allowed:
                raise ConfigError(f"tasks: {self.name}.{field}", f"{value!r} is unknown.", f"Use one of {allowed}.")

    @property
    def channels(self) -> int:
        """Channels that a network returns for this task."""
        return 1

    @property
    def pixel_level(self) -> bool:
        """Whether the answer is an image rather than one answer per image."""
        return self.level == "voxel"


@dataclass(frozen=True)
class Classification:
    """Answer one question about the whole image.

    With one class (a finding that is there or not) or ``multilabel`` the label is (B, K) of 0/1 and each class has
    a sigmoid; otherwise it is (B,) of class indices and the classes share a softmax.

    Args:
        name: key of the task in batches and outputs.
        classes: names of the classes.
        multilabel: several classes may hold at once.

    Raises:
        ConfigError: a name cannot be a key, classes are empty, repeated or begin with $, @ or %.
    """

    name: str
    classes: Sequence[str]
    multilabel: bool = False

    def __post_init__(self) -> None:
        """Turn YAML's lists into tuples and check the fields."""
        object.__setattr__(self, "classes", tuple(self.classes))
        _check_name(self.name)
        _check_entries(self.name, "classes", tuple(self.classes))

    @property
    def channels(self) -> int:
        """Channels that a network returns for this task: one per class."""
        return len(self.classes)

    @property
    def exclusive(self) -> bool:
        """Whether exactly one class holds (softmax) rather than any number of them (sigmoids)."""
        return len(self.classes) > 1 and not self.multilabel

    @property
    def pixel_level(self) -> bool:
        """Whether the answer is an image rather than one answer per image."""
        return False


Task = Segmentation | Regression | Classification


def present_key(task: Task) -> str:
    """Name the batch entry that says for which cases (and labels) the label of a task is known."""
    return f"{task.name}_present"


def region_key(task: Task) -> str:
    """Name the batch entry that marks the voxels which count for a voxel-level regression."""
    return f"{task.name}_region"


def check_tasks(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Return the tasks as a tuple.

    Raises:
        ConfigError: there is none, an entry is no task, or two share a name.
    """
    found = tuple(tasks)
    strangers = [entry for entry in found if not isinstance(entry, Task)]
    names = [task.name for task in found if isinstance(task, Task)]
    if strangers or not found or len(set(names)) != len(names):
        raise ConfigError(
            "tasks",
            f"found {strangers or names}, expected at least one task, each with a name of its own.",
            "List Segmentation, Regression or Classification entries with different names.",
        )
    return found


def describe_task(task: Task) -> dict[str, Any]:
    """Return a task as plain values, its class as ``kind``.

    >>> describe_task(Classification("grade", ["low", "high"]))
    {'kind': 'Classification', 'name': 'grade', 'classes': ('low', 'high'), 'multilabel': False}
    """
    return {"kind": type(task).__name__, **asdict(task)}


def task_from(description: Mapping[str, Any]) -> Task:
    """Return the task that `describe_task` described, also after a journey through JSON.

    Raises:
        ConfigError: there is no such kind, or its values are not those of this version.
    """
    kinds: dict[str, type[Segmentation] | type[Regression] | type[Classification]] = {
        kind.__name__: kind for kind in (Segmentation, Regression, Classification)
    }
    values = {key: value for key, value in description.items() if key != "kind"}
    try:
        return kinds[description["kind"]](**values)
    except (KeyError, TypeError) as error:
        found = f"{dict(description)} is no task of this version ({error})."
        raise ConfigError("tasks", found, f"Use one of {list(kinds)} with its own settings.") from error
