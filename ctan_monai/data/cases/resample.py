"""Resample predictions from the network's grid to another one, such as the CT's, by their affines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Box = tuple[slice, slice, slice]
_HALF = 0.5
_RIM = 1


@dataclass(frozen=True, eq=False)
class Resample:
    """Resampling from one grid to another; axes may be permuted, flipped, rotated and sheared.

    Args:
        affine_ras: (4, 4) of the grid to come from, voxel index -> mm.
        target_affine_ras: (4, 4) of the grid to go to.
        target_shape: its shape.
    """

    affine_ras: npt.NDArray[np.float64]
    target_affine_ras: npt.NDArray[np.float64]
    target_shape: tuple[int, int, int]

    @property
    def to_source(self) -> npt.NDArray[np.float64]:
        """(4, 4) index in the target -> index in the source."""
        return np.asarray(np.linalg.solve(self.affine_ras, self.target_affine_ras), np.float64)

    def linear(self, values: Array, box: Box | None = None) -> npt.NDArray[np.float32]:
        """Resample a volume by linear interpolation.

        Args:
            values: (*S) real numbers.
            box: the part of the target that is wanted; None for all of it.

        Returns:
            float32 on the target, or that part of it; 0 outside the source. The outermost voxels count for one more
            voxel outwards: a coarser grid that covers the same area ends up to one of its own pixels earlier.
        """
        part = box or self._whole()
        to_source = self.to_source
        first = np.array([side.start for side in part])
        shift = to_source[:3, :3] @ first + to_source[:3, 3] + _RIM
        rimmed = np.pad(np.asarray(values, np.float32), _RIM, mode="edge")
        size = [side.stop - side.start for side in part]
        return linear_in_index(rimmed, to_source[:3, :3], shift, size)

    def reached(self, mask: Array) -> Box | None:
        """Return the part of the target in which a mask's linear interpolation is not 0, None if it is none.

        Args:
            mask: bool (*S) on the source.
        """
        held = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        if not all(len(each) for each in held):
            return None
        edges = [(each[0] - 1 - _RIM, each[-1] + 1 + _RIM) for each in held]
        corners = np.stack(np.meshgrid(*edges, indexing="ij"), -1).reshape(-1, 3)
        back = np.linalg.inv(self.to_source)
        index = corners @ back[:3, :3].T + back[:3, 3]
        low = np.clip(np.floor(index.min(0)).astype(int), 0, self.target_shape)
        high = np.clip(np.ceil(index.max(0)).astype(int) + 1, 0, self.target_shape)
        return None if (high <= low).any() else _box(low, high)

    def _whole(self) -> Box:
        return _box((0, 0, 0), self.target_shape)

    def _nothing(self) -> npt.NDArray[np.bool_]:
        return np.zeros(self.target_shape, np.bool_, order="F")  # slices, the last axis, in one piece each

    # ---- masks

    def mask(self, probability: Array) -> npt.NDArray[np.bool_]:
        """Resample a probability, and threshold it at 0.5.

        Args:
            probability: (*S) from 0 to 1.
        """
        found = self._nothing()
        box = self.reached(probability >= _HALF)
        if box is not None:
            found[box] = self.linear(probability, box) >= _HALF
        return found

    def most_probable(self, background: Array, labels: Iterable[Array]) -> list[npt.NDArray[np.bool_]]:
        """Resample the probabilities of mutually exclusive labels, and take the argmax.

        Args:
            background: (*S) probability of none of the labels.
            labels: (*S) of each.
        """
        labels = list(labels)
        found = [self._nothing() for _ in labels]
        box = self.reached(np.any([label > background for label in labels], axis=0)) if labels else None
        if box is None:
            return found
        highest = self.linear(background, box)
        winner = np.zeros(highest.shape, np.uint8 if len(labels) < 256 else np.uint16)
        for number, label in enumerate(labels, start=1):
            probability = self.linear(label, box)
            better = probability > highest  # of two that are equal the earlier, as argmax has it
            highest[better], winner[better] = probability[better], number
        for number, mask in enumerate(found, start=1):
            mask[box] = winner == number
        return found


def linear_in_index(
    values: npt.NDArray[np.float32], matrix: Array, shift: Array, shape: Sequence[int], outside: float = 0.0
) -> npt.NDArray[np.float32]:
    """Interpolate a volume linearly at ``matrix @ index + shift`` for each index of another grid.

    Args:
        values: (*S).
        matrix: (3, 3), from indices of the other grid to those of the values.
        shift: (3,).
        shape: of the other grid.
        outside: value beyond the volume.
    """
    import SimpleITK as sitk

    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix.ravel().tolist())
    transform.SetTranslation(shift.tolist())
    image = sitk.GetImageFromArray(values.T)  # sitk's index order is the array's own
    size, axes = [int(side) for side in shape], np.eye(3).ravel().tolist()
    image = sitk.Resample(image, size, transform, sitk.sitkLinear, [0.0] * 3, [1.0] * 3, axes, float(outside))
    found: npt.NDArray[np.float32] = sitk.GetArrayFromImage(image).T
    return found


def _box(low: Iterable[int], high: Iterable[int]) -> Box:
    x, y, z = (slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
    return x, y, z
