"""Find the body in a CT and in an MR: the largest piece of tissue, without the couch, holes filled; crop to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ctan_monai.data.cases.case import Case

TISSUE_HU = -250.0  # below it is air, and what couches are made of
_MR_SHARE = 0.1  # of the 99th percentile: above the noise of air, below muscle
_OPENING_MM = 3.0  # what is thinner, such as a couch's cover, does not hang on the body
_SMALLEST = 0.005  # fraction of the image that a body fills at least

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]


def body_of_ct(ct_hu: Array, spacing_mm: Sequence[float]) -> Mask | None:
    """Return the body in a CT (*S), axial slices along the last axis; None where there is none."""
    return _largest(ct_hu > TISSUE_HU, spacing_mm)


def body_of_mr(mr: Array, spacing_mm: Sequence[float]) -> Mask | None:
    """Return the body in an MR (*S), axial slices along the last axis; None where there is none.

    It is what is brighter than a tenth of the 99th percentile, after a median filter; cortical bone and gas inside are
    filled, and are lost where the body's outline runs along them.
    """
    smooth = ndimage.median_filter(np.asarray(mr, np.float32), (3, 3, 1))  # keeps the skin where it is
    return _largest(smooth > _MR_SHARE * np.percentile(smooth, 99), spacing_mm)


def crop_to_body(case: Case, margin_mm: float) -> Case:
    """Crop the first two axes of a case with a CT or MR to its body and a margin; without a body it stays whole.

    Args:
        case: with the volume ``ct`` in HU, or ``mr``, axial slices along the last axis.
        margin_mm: on each side of the body, as far as the image goes.
    """
    ct = case.volumes.get("ct")
    body = body_of_mr(case.volumes["mr"], case.spacing_mm) if ct is None else body_of_ct(ct, case.spacing_mm)
    if body is None:
        return case
    box = []
    for axis in (0, 1):
        inside = np.flatnonzero(body.any(axis=tuple(each for each in range(3) if each != axis)))
        reach = int(np.ceil(margin_mm / case.spacing_mm[axis]))
        box.append(slice(max(0, int(inside[0]) - reach), min(body.shape[axis], int(inside[-1]) + 1 + reach)))
    affine_ras = case.affine_ras.copy()
    affine_ras[:3, 3] += affine_ras[:3, :2] @ [each.start for each in box]
    volumes = {name: np.ascontiguousarray(each[tuple(box)]) for name, each in case.volumes.items()}
    masks = {name: np.ascontiguousarray(each[tuple(box)]) for name, each in case.masks.items()}
    return dataclasses.replace(case, volumes=volumes, masks=masks, affine_ras=affine_ras)


def _largest(tissue: Mask, spacing_mm: Sequence[float]) -> Mask | None:
    steps = max(1, round(_OPENING_MM / float(np.mean(spacing_mm[:2]))))
    disk = ndimage.generate_binary_structure(2, 1)[..., None]  # within a slice
    opened = np.pad(tissue, [(steps, steps), (steps, steps), (0, 0)], mode="edge")  # a border is no edge
    opened = ndimage.binary_opening(opened, disk, iterations=steps)[steps:-steps, steps:-steps]
    pieces, count = ndimage.label(opened)
    if not count:
        return None
    sizes = np.bincount(pieces.ravel())[1:]
    body: Mask = pieces == 1 + int(sizes.argmax())
    for index in range(body.shape[-1]):
        body[..., index] = ndimage.binary_fill_holes(body[..., index])
    return body if body.mean() >= _SMALLEST else None
