"""The base class of tasks, and functions for tasks of any kind."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

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


@dataclass(frozen=True)
class Task(ABC):
    """Base class of all kinds of task.

    A new kind is a frozen dataclass that derives from this one; it is found by its class name in run.json and
    cases.json once its module is imported.

    Args:
        name: key of the task in batches and outputs.

    Raises:
        ConfigError: the name cannot be a key.
    """

    name: str
    kinds: ClassVar[dict[str, type[Task]]] = {}  # by class name

    def __init_subclass__(cls) -> None:
        """Register the kind by its name."""
        Task.kinds[cls.__name__] = cls

    def __post_init__(self) -> None:
        """Check the name."""
        _check_name(self.name)

    @property
    @abstractmethod
    def channels(self) -> int:
        """Number of channels that a network returns for this task."""

    @property
    @abstractmethod
    def pixel_level(self) -> bool:
        """Whether the prediction is an image rather than one answer per image."""

    @property
    @abstractmethod
    def label_shape(self) -> tuple[int, ...]:
        """Shape of one case's label, before the axes *S of the image if the task is pixel-level."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """One-line description of what is predicted."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names under which a case holds the label: one for each part that may be unknown by itself."""
        return (self.name,)

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Names of the channels of the final answer."""
        return self.label_names

    @property
    def present_shape(self) -> tuple[int, ...]:
        """Shape of ``<name>_present`` of one case: () if the label is known or unknown as a whole."""
        return ()

    @property
    def labels_in_values(self) -> bool:
        """Whether a case holds the label among its values rather than its arrays."""
        return not self.pixel_level

    @property
    def region(self) -> Literal["all", "mask"]:
        """Voxels whose label is known: 'all', or 'mask' for those of ``<name>_region``."""
        return "all"

    @property
    def masks(self) -> bool:
        """Whether label and answer are masks of 0 and 1, and are interpolated as such."""
        return False

    @property
    def exclusive(self) -> bool:
        """Whether exactly one of the channels holds (softmax) rather than any number of them."""
        return False

    @property
    def classifies(self) -> bool:
        """Whether the prediction is a probability per class of the whole image."""
        return not self.pixel_level and not self.answer_unit

    @property
    def answer_unit(self) -> str:
        """Unit of the answer; '' for masks and probabilities."""
        return ""

    @property
    def mirror_pairs(self) -> Sequence[tuple[str, str]]:
        """Pairs of `label_names` that are swapped when the image is mirrored left to right."""
        return ()


def present_key(task: Task) -> str:
    """Return the key of the batch entry that says for which cases (and labels) a task's label is known."""
    return f"{task.name}_present"


def region_key(task: Task) -> str:
    """Return the key of the batch entry that marks the voxels which count for a voxel-level regression."""
    return f"{task.name}_region"


def check_tasks(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Check tasks and return them as a tuple.

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
    """Serialize a task to plain values, its class as ``kind``.

    >>> from ctan_monai.tasks import Classification
    >>> describe_task(Classification("grade", ["low", "high"]))
    {'kind': 'Classification', 'name': 'grade', 'classes': ('low', 'high'), 'multilabel': False}
    """
    return {"kind": type(task).__name__, **asdict(task)}


def task_from(description: Mapping[str, Any]) -> Task:
    """Create the task that `describe_task` serialized, also from JSON.

    Raises:
        ConfigError: there is no such kind, or its values are not those of this version.
    """
    values = {key: value for key, value in description.items() if key != "kind"}
    try:
        return Task.kinds[description["kind"]](**values)
    except (KeyError, TypeError) as error:
        found = f"{dict(description)} is no task of this version ({error})."
        raise ConfigError("tasks", found, f"Use one of {list(Task.kinds)} with its own settings.") from error


def unregistered(task: object, concern: str, function: str) -> ConfigError:
    """Create the error of a layer's function that does not support a kind of task.

    Args:
        task: of that kind.
        concern: what is missing, such as "loss".
        function: the name of the layer's `functools.singledispatch` function.
    """
    reason = f"{type(task).__name__} has no {concern}."
    return ConfigError("tasks", reason, f"Register one with {function}.register (docs/new-task.md).")
