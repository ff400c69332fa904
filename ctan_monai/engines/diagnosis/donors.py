"""The choice of the other case whose values a part gets."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from ctan_monai.errors import DataError


def choose_donors(groups: Sequence[Hashable], seed: int = 0) -> list[int]:
    """Draw for each case another one: a seeded permutation without a fixed point.

    Cases are put into a random order, those of a patient or lesion side by side, and each gets the case that stands as
    many places further as the largest group has members: never one of its own group, unless that holds most cases.

    Args:
        groups: for each case the patient or lesion that it belongs to.
        seed: of the order.

    Returns:
        For each case the position of its donor.

    Raises:
        DataError: there are fewer than two cases.

    >>> choose_donors(["a", "b"])
    [1, 0]
    """
    count = len(groups)
    if count < 2:
        remedy = "A part is exchanged between cases, so two are needed: try another --split, a run with more "
        remedy += "cases in it, or -- --datalist FILE, where the bundle has that option."
        raise DataError("cases", None, f"{count} was found.", remedy)
    drawn = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    places: dict[Hashable, list[int]] = {}
    for case in drawn:
        places.setdefault(groups[case], []).append(case)
    order = [case for members in places.values() for case in members]
    largest = max(len(members) for members in places.values())
    shift = largest if largest < count else 1
    donors = {order[place]: order[(place + shift) % count] for place in range(count)}
    return [donors[case] for case in range(count)]


def at_same_position(values: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B, C, *S) by nearest neighbor at the same relative position.

    >>> at_same_position(torch.tensor([[[10.0, 20.0, 30.0, 40.0]]]), [2])
    tensor([[[20., 40.]]])
    """
    for axis, (have, want) in enumerate(zip(values.shape[2:], size, strict=True), start=2):
        if have != want:
            place = ((torch.arange(want, device=values.device) + 0.5) * have / want).long()
            values = values.index_select(axis, place)
    return values
