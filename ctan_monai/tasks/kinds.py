"""The three kinds of task: segmentation, regression and classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ctan_monai.config_values import refuse_code
from ctan_monai.errors import ConfigError, check_choice
from ctan_monai.tasks.base import Task


def _check_entries(task: str, field: str, entries: tuple[str, ...]) -> None:
    refuse_code(entries, f"tasks: {task}.{field}", f"Give the {field} names that begin otherwise.")
    if not entries or len(set(entries)) != len(entries):
        raise ConfigError(
            f"tasks: {task}.{field}", f"{entries} is empty or repeats an entry.", f"List each of the {field} once."
        )


@dataclass(frozen=True)
class Segmentation(Task):
    """Segmentation: find the voxels of each label.

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

    labels: Sequence[str]
    overlapping: bool = False
    mirror_pairs: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        """Convert YAML's lists to tuples and check the fields."""
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "mirror_pairs", tuple((str(a), str(b)) for a, b in self.mirror_pairs))
        super().__post_init__()
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
        """Number of channels: one per label, and one for the background if exclusive."""
        return len(self.labels) if self.overlapping else len(self.labels) + 1

    @property
    def pixel_level(self) -> bool:
        """Whether the prediction is an image rather than one answer per image."""
        return True

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape (L,) of one case's label before the axes of the image."""
        return (len(self.labels),)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the masks."""
        return tuple(self.labels)

    @property
    def present_shape(self) -> tuple[int, ...]:
        """Shape (L,): each mask is known or unknown by itself."""
        return (len(self.labels),)

    @property
    def masks(self) -> bool:
        """Whether label and answer are masks of 0 and 1."""
        return True

    @property
    def exclusive(self) -> bool:
        """Whether a voxel belongs to one label or the background (softmax) rather than to any number of labels."""
        return not self.overlapping

    @property
    def summary(self) -> str:
        """One-line description of what is predicted."""
        return f"{'overlapping masks' if self.overlapping else 'label map'} of {', '.join(self.labels)}"


@dataclass(frozen=True)
class Regression(Task):
    """Regression: predict a quantity in every voxel (dose, a synthetic CT) or one per image.

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

    unit: str
    scale: float
    level: Literal["voxel", "image"] = "voxel"
    region: Literal["all", "mask"] = "all"
    nonnegative: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        refuse_code(self.unit, f"tasks: {self.name}.unit", "Write it in letters, such as percent.")
        if not self.scale > 0:
            raise ConfigError(f"tasks: {self.name}.scale", f"{self.scale} is not positive.", "Give a positive number.")
        check_choice(f"tasks: {self.name}.level", self.level, ("voxel", "image"))
        check_choice(f"tasks: {self.name}.region", self.region, ("all", "mask"))

    @property
    def channels(self) -> int:
        """Number of channels that a network returns for this task."""
        return 1

    @property
    def pixel_level(self) -> bool:
        """Whether the prediction is an image rather than one answer per image."""
        return self.level == "voxel"

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape (1,) of one case's label, before the axes of the image at voxel level."""
        return (1,)

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Name of the volume, or the unit of the value of an image."""
        return (self.name,) if self.pixel_level else (self.unit,)

    @property
    def answer_unit(self) -> str:
        """Unit of the answer."""
        return self.unit

    @property
    def summary(self) -> str:
        """One-line description of what is predicted."""
        return f"{self.unit} per {self.level}"


@dataclass(frozen=True)
class Classification(Task):
    """Classification: predict the class, or the findings, of the whole image.

    With one class (a finding that is there or not) or ``multilabel`` the label is (B, K) of 0/1 and each class has
    a sigmoid; otherwise it is (B,) of class indices and the classes share a softmax.

    Args:
        name: key of the task in batches and outputs.
        classes: names of the classes.
        multilabel: several classes may hold at once.

    Raises:
        ConfigError: a name cannot be a key, classes are empty, repeated or begin with $, @ or %.
    """

    classes: Sequence[str]
    multilabel: bool = False

    def __post_init__(self) -> None:
        """Convert YAML's lists to tuples and check the fields."""
        object.__setattr__(self, "classes", tuple(self.classes))
        super().__post_init__()
        _check_entries(self.name, "classes", tuple(self.classes))

    @property
    def channels(self) -> int:
        """Number of channels: one per class."""
        return len(self.classes)

    @property
    def exclusive(self) -> bool:
        """Whether exactly one class holds (softmax) rather than any number of them (sigmoids)."""
        return len(self.classes) > 1 and not self.multilabel

    @property
    def pixel_level(self) -> bool:
        """Whether the prediction is an image rather than one answer per image."""
        return False

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of one case's label: (), a class index, if classes exclude each other, else (K,)."""
        return () if self.exclusive else (len(self.classes),)

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.classes)

    @property
    def summary(self) -> str:
        """One-line description of what is predicted."""
        return f"classes {', '.join(self.classes)}"
