"""The layout of a tabular dataset: tasks, image channels, grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ctan_monai.errors import ConfigError
from ctan_monai.tasks import Classification, Regression, Segmentation, Task, region_key

RGB = ("red", "green", "blue")
IMAGE, LABEL = "image", "label"
ABOUT = ("case", "group", "split", "fold")  # columns that are neither image nor label
_SMALLEST, _LARGEST = 32, 4096  # pixels; below, nothing is left of an image after an encoder's five halvings
KINDS = (Segmentation, Regression, Classification)  # of tasks that a table can hold labels of


@dataclass(frozen=True)
class Layout:
    """Tasks, image channels and grid that a table is read for.

    Args:
        tasks: what is predicted; none where only images are read, for inference.
        image_channels: names of the volumes that form the image; red, green and blue come from one color image.
        spatial_dims: 2 takes images, and volumes whose slices are wanted; 3 takes volumes only.
        size: rows and columns that images are resized to; None keeps the files'.
        spacing_mm: voxel size that volumes are resampled to, along the axes of ``axes``; None keeps the image's.
        axes: where each axis of a volume points, as nibabel names it; slices are cut along the last.
        label_values: by task, the number of each label in its label maps, or several that make a group; a number may be
            in several groups if labels overlap. Without it, labels count from 1.

    Raises:
        ConfigError: tables do not know a task's kind, names collide, or a number is none that can be used.
    """

    tasks: tuple[Task, ...]
    image_channels: tuple[str, ...]
    spatial_dims: int = 2
    size: tuple[int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    axes: str = "RAS"
    label_values: Mapping[str, Mapping[str, int | Sequence[int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the fields."""
        values = {
            task: {label: (group,) if isinstance(group, int) else tuple(group) for label, group in numbers.items()}
            for task, numbers in self.label_values.items()
        }
        object.__setattr__(self, "label_values", values)
        self._check_kinds()
        self._check_names()
        self._check_grid()
        self._check_values()

    @property
    def color(self) -> bool:
        """Whether the image is a color image."""
        return self.image_channels == RGB

    @property
    def segmentations(self) -> tuple[Segmentation, ...]:
        """The tasks whose labels are masks."""
        return tuple(task for task in self.tasks if isinstance(task, Segmentation))

    @property
    def voxel_regressions(self) -> tuple[Regression, ...]:
        """The tasks whose labels are volumes."""
        return tuple(task for task in self.tasks if isinstance(task, Regression) and task.pixel_level)

    @property
    def in_regions(self) -> tuple[Regression, ...]:
        """The voxel-level regressions that are limited to a region."""
        return tuple(task for task in self.voxel_regressions if task.region == "mask")

    @property
    def image_level(self) -> tuple[Task, ...]:
        """The tasks with one label per image."""
        return tuple(task for task in self.tasks if not task.pixel_level)

    def numbers_of(self, task: Segmentation) -> dict[str, tuple[int, ...]]:
        """Return the numbers of each label in a label map."""
        counted = {name: (at,) for at, name in enumerate(task.labels, start=1)}
        given: Mapping[str, Any] = self.label_values.get(task.name) or counted
        return dict(given)

    def grouped(self, task: Segmentation) -> bool:
        """Tell whether a label of a task is several numbers in a label map."""
        return any(len(group) > 1 for group in self.numbers_of(task).values())

    def _check_kinds(self) -> None:
        for task in self.tasks:
            if not issubclass(type(task), KINDS):
                known = ", ".join(kind.__name__ for kind in KINDS)
                reason = f"{task.name} is a {type(task).__name__}, of which tables know nothing."
                raise ConfigError("tasks", reason, f"The kinds that a table can hold are {known}.")

    def _check_names(self) -> None:
        labels = [label for task in self.segmentations for label in task.labels]
        volumes = [task.name for task in self.voxel_regressions]
        regions = [region_key(task) for task in self.voxel_regressions]
        columns = [*self.image_channels, *labels, *volumes, *regions, *(task.name for task in self.image_level)]
        maps = [task.name for task in self.segmentations if tuple(task.labels) != (task.name,)]
        lower = [name.lower() for name in (*columns, *maps)]
        twice = sorted({name for name in lower if lower.count(name) > 1})
        taken = sorted({*ABOUT, LABEL} & set(lower)) + [IMAGE] * (IMAGE in lower and len(self.image_channels) > 1)
        if not self.image_channels or twice or taken:
            raise ConfigError(
                "tasks and image_channels",
                f"each needs a column name of its own; found twice {twice}, taken otherwise {taken}.",
                f"Rename a channel, a label or a task; not {(*ABOUT, IMAGE, LABEL)}.",
            )

    def _check_grid(self) -> None:
        if self.spatial_dims not in (2, 3):
            raise ConfigError("spatial_dims", f"found {self.spatial_dims!r}.", "Use 2 or 3.")
        known = isinstance(self.axes, str) and sorted(_direction(letter) for letter in self.axes) == [0, 1, 2]
        if not known:
            raise ConfigError("axes", f"{self.axes!r} was found.", "Use one of R L, A P and S I each, such as RAS.")

    def _check_values(self) -> None:
        names = {task.name: task for task in self.segmentations}
        for name, numbers in self.label_values.items():
            groups = [tuple(group) for group in numbers.values() if isinstance(group, tuple)]
            every = [number for group in groups for number in group]
            usable = all(groups) and all(isinstance(number, int) and number > 0 for number in every)
            labels = set(names[name].labels) if name in names else set()
            alone = name in names and not names[name].overlapping
            twice = len({frozenset(group) for group in groups}) < len(groups) or any(
                len(set(group)) < len(group) for group in groups
            )
            if set(numbers) != labels or not usable or twice or (alone and len(set(every)) < len(every)):
                raise ConfigError(
                    f"label_values: {name}",
                    f"found {dict(numbers)} for the labels {sorted(labels)}.",
                    "Give each label of a segmentation a positive number of its own, or a group of numbers; a number "
                    "may be in several groups if the task is overlapping.",
                )


def as_layout(
    tasks: Sequence[Task],
    image_channels: Sequence[str],
    spatial_dims: int = 2,
    size: Sequence[int] | None = None,
    spacing_mm: Sequence[float] | None = None,
    axes: str = "RAS",
    label_values: Mapping[str, Mapping[str, int | Sequence[int]]] | None = None,
) -> Layout:
    """Create a `Layout` from a config's values.

    Raises:
        ConfigError: see `Layout`.
    """
    channels = (image_channels,) if isinstance(image_channels, str) else tuple(image_channels)
    return Layout(
        tuple(tasks),
        channels,
        spatial_dims,
        None if size is None else _pair(size),
        None if spacing_mm is None else _steps(spacing_mm),
        axes,
        label_values or {},
    )


def _pair(size: Sequence[int]) -> tuple[int, int]:
    found = tuple(size) if isinstance(size, list | tuple) else ()
    if len(found) != 2 or not all(isinstance(side, int) and _SMALLEST <= side <= _LARGEST for side in found):
        reason = f"{size!r} was found."
        raise ConfigError("size", reason, f"Give rows and columns from {_SMALLEST} to {_LARGEST}, as [256, 256].")
    return found[0], found[1]


def _steps(spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    found = tuple(spacing_mm) if isinstance(spacing_mm, list | tuple) else ()
    if len(found) != 3 or not all(isinstance(step, int | float) and 0 < step < 1000 for step in found):
        raise ConfigError("spacing_mm", f"{spacing_mm!r} was found.", "Give three lengths in mm, as [1.0, 1.0, 3.0].")
    return float(found[0]), float(found[1]), float(found[2])


def _direction(letter: str) -> int:
    """Return which axis of the patient a letter names, -1 for none."""
    return next((at for at, pair in enumerate(("RL", "AP", "SI")) if letter in pair), -1)
