"""A case: images, masks and labels of one patient (or image) on one grid, independent of file formats."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.errors import DataError

_CASE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NUMBER_KINDS = "iuf"


def is_case_id(case: object) -> bool:
    """Tell whether a text is a valid case id, see `check_case_id`."""
    return isinstance(case, str) and bool(_CASE_ID.fullmatch(case)) and set(case) != {"."}


def check_case_id(case: str) -> str:
    """Check that the id of a case can be used in file names, and return it.

    Ids reach file names, and from MONAI Label's requests unchecked ones, so only ``[A-Za-z0-9._-]{1,64}`` passes,
    and neither ``.`` nor ``..``.

    Raises:
        DataError: the id holds another character, is empty, too long or a name of a folder.
    """
    if not is_case_id(case):
        raise DataError(
            repr(case)[:100],
            None,
            "a case id is 1 to 64 of the characters A-Z, a-z, 0-9, dot, underscore and hyphen, not only dots.",
            "Rename the case.",
        )
    return case


@dataclass(frozen=True, eq=False)
class Case:
    """Images, masks and labels of one case on one grid.

    A structure that is unknown is absent from ``masks``; a structure that is known not to be there is an empty
    mask. The same holds for ``volumes`` (no dose was planned) and ``values``.

    Args:
        case: id, ``[A-Za-z0-9._-]{1,64}``.
        volumes: images by name, (*S) each, any integer or real type: ``ct`` int16 HU, ``dose`` float32 Gy.
        masks: bool (*S) by name; ``<task>_region`` names the voxels that count for a regression.
        affine_ras: (4, 4) voxel index -> mm, in the RAS frame that nibabel and MONAI's MetaTensor use. A 2D image
            uses the first two columns as its axes.
        values: labels of the whole image by name: a number or a list of numbers.
        meta: anything else that JSON can hold.

    Raises:
        DataError: the id, a shape, a type, the affine or a value does not fit the above.
    """

    case: str
    volumes: Mapping[str, npt.NDArray[Any]]
    masks: Mapping[str, npt.NDArray[np.bool_]]
    affine_ras: npt.NDArray[np.float64]
    values: Mapping[str, float | int | list[float]] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Copy the mappings and check them."""
        check_case_id(self.case)
        for name in ("volumes", "masks", "values", "meta"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        self._check_arrays()
        object.__setattr__(self, "affine_ras", self._checked_affine())
        object.__setattr__(self, "values", {name: self._checked_value(name, v) for name, v in self.values.items()})

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape *S of the grid."""
        return next(iter([*self.volumes.values(), *self.masks.values()])).shape

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Distance of neighboring voxels along each axis of the grid, in mm."""
        lengths = np.linalg.norm(self.affine_ras[:3, :3], axis=0)
        return tuple(float(length) for length in lengths[: len(self.shape)])

    def _refuse(self, reason: str, remedy: str) -> DataError:
        return DataError("case", self.case, reason, remedy)

    def _check_arrays(self) -> None:
        arrays: dict[str, Any] = {**self.volumes, **self.masks}
        if not arrays or len(arrays) != len(self.volumes) + len(self.masks):
            raise self._refuse(
                f"it has volumes {list(self.volumes)} and masks {list(self.masks)}.",
                "Give at least one array, and no volume and mask of the same name.",
            )
        for name, array in arrays.items():
            allowed = "b" if name in self.masks else _NUMBER_KINDS
            if not isinstance(array, np.ndarray) or array.dtype.kind not in allowed or array.dtype.itemsize > 8:
                found = getattr(array, "dtype", type(array).__name__)
                raise self._refuse(
                    f"{name} is {found}.",
                    "Masks are numpy arrays of bool, volumes of integers or real numbers of at most 8 bytes.",
                )
        shapes = {name: array.shape for name, array in arrays.items()}
        if len(set(shapes.values())) != 1 or not 1 <= len(self.shape) <= 3 or 0 in self.shape:
            raise self._refuse(
                f"the shapes are {shapes}.", "Resample all arrays to one non-empty grid of at most three axes."
            )

    def _checked_affine(self) -> npt.NDArray[np.float64]:
        try:
            affine = np.array(self.affine_ras, dtype=np.float64)
        except (TypeError, ValueError):
            affine = np.empty(0)
        usable = affine.shape == (4, 4) and bool(np.isfinite(affine).all())
        if usable:
            lengths = np.linalg.norm(affine[:3, :3], axis=0)
            volume = abs(float(np.linalg.det(affine[:3, :3])))
            usable = bool(lengths.min() > 0) and volume > 1e-6 * float(lengths.prod())
            usable = usable and bool((affine[3] == (0, 0, 0, 1)).all())
        if not usable:
            raise self._refuse(
                f"affine_ras is {np.array(self.affine_ras).tolist()}.",
                "Give a finite (4, 4) matrix that can be inverted, with the last row 0 0 0 1.",
            )
        return affine

    def _checked_value(self, name: str, value: Any) -> float | int | list[float]:
        if isinstance(value, np.ndarray | np.generic):
            value = value.tolist()
        if isinstance(value, tuple):
            value = list(value)
        entries = value if isinstance(value, list) else [value]
        if not entries or not all(isinstance(entry, int | float) and math.isfinite(entry) for entry in entries):
            raise self._refuse(
                f"the value {name} is {value!r}.",
                "Give a finite number or a list of them, and leave out a value that is unknown.",
            )
        return value  # type: ignore[no-any-return]  # narrowed entry by entry above
