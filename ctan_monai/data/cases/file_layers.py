"""Encoding of a case's arrays as layers of a cache file, lossless.

A layer is one volume, or up to 16 masks as the bits of a uint16, cropped to the box outside of which it holds one
background value. Layers lie with the last axis first, so that a slab of axial slices is one contiguous piece.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Box = tuple[tuple[int, int], ...]

MASKS_PER_LAYER = 16
DECIMALS_SCALE = 1000  # OpenKBP's doses have three decimals; as whole mGy they take a third less space
_LARGEST_EXACT = 2**24  # float32 holds every whole number up to here


@dataclass(frozen=True)
class Layer:
    """Position and encoding of a layer.

    Args:
        names: the volume's name, or the masks' in the order of their bits.
        is_mask: bits of masks rather than a volume.
        dtype: type of the array in the case, as numpy's type string.
        stored: type in the file; differs from ``dtype`` where a volume was stored as whole thousandths.
        background: bytes, as hex, of the value outside the box.
        box: (start, stop) per axis of the case; empty if everything is background.
        mask_boxes: box of each mask.
    """

    names: tuple[str, ...]
    is_mask: bool
    dtype: str
    stored: str
    background: str
    box: Box
    mask_boxes: tuple[Box, ...] = ()

    @property
    def crop_shape(self) -> tuple[int, ...]:
        """Shape of the box with the last axis first; (0,) if the box is empty."""
        sides = [stop - start for start, stop in self.box]
        return (sides[-1], *sides[:-1]) if sides else (0,)

    def to_json(self) -> dict[str, Any]:
        """Serialize the fields to JSON values."""
        return {**self.__dict__}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Layer:
        """Create the layer that ``to_json`` serialized."""
        return cls(
            names=tuple(fields["names"]),
            is_mask=bool(fields["is_mask"]),
            dtype=fields["dtype"],
            stored=fields["stored"],
            background=fields["background"],
            box=_box(fields["box"]),
            mask_boxes=tuple(_box(box) for box in fields["mask_boxes"]),
        )


def _box(pairs: Sequence[Sequence[int]]) -> Box:
    return tuple((int(start), int(stop)) for start, stop in pairs)


def slices_of(box: Box) -> tuple[slice, ...]:
    """Return the box as an index."""
    return tuple(slice(start, stop) for start, stop in box)


def bounding_box(foreground: npt.NDArray[np.bool_]) -> Box:
    """Return the smallest box that holds every True, an empty tuple if there is none."""
    box: list[tuple[int, int]] = []
    for axis in range(foreground.ndim):
        along = foreground.any(axis=tuple(other for other in range(foreground.ndim) if other != axis))
        found = np.flatnonzero(along)
        if not found.size:
            return ()
        box.append((int(found[0]), int(found[-1]) + 1))
    return tuple(box)


def _bits(array: Array) -> Array:
    """View numbers as unsigned integers, so that NaN equals NaN and -0.0 differs from 0.0."""
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}") if array.dtype.itemsize <= 8 else array


def foreground_of(volume: Array) -> npt.NDArray[np.bool_]:
    """Mark the voxels that differ in any bit from the volume's first voxel, which is taken for the background."""
    bits = _bits(volume)
    return np.asarray(bits != bits.flat[0])


def _as_thousandths(crop: Array) -> Array | None:
    """Convert float32 numbers to whole thousandths, None if that is not lossless."""
    if crop.dtype != np.float32 or not np.isfinite(crop).all():
        return None
    scaled = np.rint(crop.astype(np.float64) * DECIMALS_SCALE)
    if crop.size and np.abs(scaled).max() > _LARGEST_EXACT:
        return None
    whole = scaled.astype(np.int32)
    return whole if np.array_equal(_bits(_from_thousandths(whole)), _bits(crop)) else None


def _from_thousandths(whole: Array) -> Array:
    # Both operands are exact in float32, so the quotient is the float32 nearest to the decimal number.
    values = whole.astype(np.float32)
    values /= np.float32(DECIMALS_SCALE)
    return values


def volume_layer(name: str, volume: Array) -> tuple[Layer, Array]:
    """Encode a volume: crop it to its foreground.

    Args:
        name: its name.
        volume: (*S).

    Returns:
        The layer and its crop, contiguous, last axis first, in the stored type.
    """
    volume = volume.astype(volume.dtype.newbyteorder("="), copy=False)
    box = bounding_box(foreground_of(volume))
    crop = np.ascontiguousarray(np.moveaxis(volume[slices_of(box)], -1, 0)) if box else np.empty(0, volume.dtype)
    whole = _as_thousandths(crop)
    stored = crop if whole is None else whole
    background = volume.flat[0].tobytes().hex()
    return Layer((name,), False, volume.dtype.str, stored.dtype.str, background, box), stored


def mask_layer(masks: Mapping[str, npt.NDArray[np.bool_]]) -> tuple[Layer, Array]:
    """Encode up to 16 masks as the bits of one crop.

    Args:
        masks: (*S) by name.

    Returns:
        The layer and its crop, contiguous, last axis first, uint16.
    """
    shape = next(iter(masks.values())).shape
    words = np.zeros(shape, np.uint16)
    for bit, mask in enumerate(masks.values()):
        words |= mask.astype(np.uint16) << np.uint16(bit)
    box = bounding_box(words != 0)
    crop = np.ascontiguousarray(np.moveaxis(words[slices_of(box)], -1, 0)) if box else np.empty(0, np.uint16)
    boxes = tuple(bounding_box(mask) for mask in masks.values())
    dtype = crop.dtype.str
    return Layer(tuple(masks), True, dtype, dtype, "0000", box, boxes), crop


def clip(box: Box, window: tuple[int, int]) -> Box:
    """Return the part of a box within a window of the last axis, counted from the window's start; () if none."""
    if not box:
        return ()
    start, stop = max(box[-1][0], window[0]), min(box[-1][1], window[1])
    return (*box[:-1], (start - window[0], stop - window[0])) if start < stop else ()


def expand_volume(layer: Layer, crop: Array, shape: tuple[int, ...], window: tuple[int, int]) -> Array:
    """Decode a volume, or some slices of it.

    Args:
        layer: its description.
        crop: what ``volume_layer`` returned, or its part within the window.
        shape: shape of the case.
        window: (start, stop) of the slices along the last axis.

    Returns:
        The volume within the window.
    """
    found = (*shape[:-1], window[1] - window[0])
    box = clip(layer.box, window)
    background = np.frombuffer(bytes.fromhex(layer.background), dtype=layer.dtype)[0]
    # Zeros cost less than any other value: the system hands out zeroed pages.
    volume = np.full(found, background) if layer.background.strip("0") else np.zeros(found, layer.dtype)
    if box:
        values = crop if layer.stored == layer.dtype else _from_thousandths(crop)
        volume[slices_of(box)] = np.moveaxis(values, 0, -1)
    return volume


def expand_masks(
    layer: Layer, crop: Array, shape: tuple[int, ...], window: tuple[int, int]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Decode masks, or some slices of them; arguments as for ``expand_volume``."""
    box = clip(layer.box, window)
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    for bit, (name, whole_mask_box) in enumerate(zip(layer.names, layer.mask_boxes, strict=True)):
        mask = np.zeros((*shape[:-1], window[1] - window[0]), np.bool_)
        mask_box = clip(whole_mask_box, window)
        if mask_box:
            # Only the part of the crop in which this mask has voxels is looked at.
            inside = [slice(a - low, b - low) for (a, b), (low, _) in zip(mask_box, box, strict=True)]
            words = np.moveaxis(crop[(inside[-1], *inside[:-1])], 0, -1)
            np.not_equal(words & np.uint16(1 << bit), 0, out=mask[slices_of(mask_box)])
        masks[name] = mask
    return masks
