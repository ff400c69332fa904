"""What is packed comes back to the bit, and takes no more memory than it has to."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctan_monai.data.lists.packed import PackedArray, PackedSamples
from ctan_monai.errors import DataError

CPU = torch.device("cpu")
WIDTH = 20  # no multiple of 8
VALUES = {  # what only the kind can hold, and bytes per row of 3 x 20
    "bits": (torch.tensor([0.0, 1.0]), 3 * 3),
    "8 bits": (torch.tensor([0.0, 255.0]), 60),
    "16 bits": (torch.tensor([-1024.0, 3071.0]), 120),
    "as they are": (torch.tensor([0.001, -70.25]), 240),
}


def _rows(kind: str, seed: int, count: int = 2) -> torch.Tensor:
    values, _ = VALUES[kind]
    at = torch.randint(0, 2, (count, 3, WIDTH), generator=torch.Generator().manual_seed(seed))
    at[..., :2] = torch.tensor([0, 1])  # both values occur
    return values[at]


@settings(max_examples=30, deadline=None)
@given(kinds=st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_rows_come_back_as_they_were_and_the_widest_of_them_sets_the_size(kinds, seed):
    packed = PackedArray(CPU)
    parts = [_rows(kind, seed + number) for number, kind in enumerate(kinds)]
    for part in parts:
        packed.append(part)
    everything, count = torch.cat(parts), 2 * len(kinds)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(packed.take(order), everything[order])
    assert packed.nbytes == count * max(VALUES[kind][1] for kind in kinds)


@pytest.mark.parametrize(
    "odd", [[300.0, -1.0], [32768.0, 0.0], [0.5, 1.0], [float("nan"), 0.0], [float("inf"), 1.0], [-0.25, 2.0**24]]
)
def test_what_no_integer_holds_stays_as_it_is(odd):
    packed, rows = PackedArray(CPU), torch.tensor([odd])
    packed.append(rows)
    assert torch.equal(packed.take(torch.tensor([0])).nan_to_num(-7), rows.nan_to_num(-7))


def test_masks_stay_of_their_type():
    packed, masks = PackedArray(CPU), torch.ones(2, 4, 5, 9, dtype=torch.uint8)
    packed.append(masks)
    taken = packed.take(torch.tensor([1, 1]))
    assert taken.dtype == torch.uint8
    assert torch.equal(taken, masks)


def _sample(number: int, side: int = 8, **more: object) -> dict[str, object]:
    image = torch.full((2, side, side), float(number))
    image[1] = number % 2
    return {
        "image": image,
        "oar": torch.full((3, side, side), number % 2, dtype=torch.uint8),
        "oar_present": torch.tensor([True, False, number > 1]),
        "stage": torch.tensor(number),
        "case": f"pt_{number}",
        "file": "x.case",
        **more,
    }


def test_samples_are_taken_by_key_in_any_order_with_all_their_entries():
    packed = PackedSamples(CPU, ["image", "oar"])
    samples = {number: _sample(number) for number in range(5)}
    packed.append(list(samples)[:2], [samples[0], samples[1]])
    packed.append(list(samples)[2:], [samples[number] for number in (2, 3, 4)])
    ((positions, batch),) = packed.take([3, 0, 3])
    assert positions == [0, 1, 2]
    assert batch["case"] == ["pt_3", "pt_0", "pt_3"]
    for key in ("image", "oar", "oar_present", "stage"):
        assert torch.equal(batch[key], torch.stack([samples[number][key] for number in (3, 0, 3)])), key
    assert (len(packed), packed.nbytes) == (5, 5 * (64 + 8 + 3 * 8))  # CT 8 bits, contour 1 bit, masks 1 bit


def test_samples_of_other_sizes_are_batches_of_their_own():
    packed = PackedSamples(CPU, ["image", "oar"])
    packed.append(["a", "b", "c"], [_sample(0), _sample(1, side=12), _sample(2)])
    groups = packed.take(["c", "b", "a"])
    assert [(positions, batch["case"]) for positions, batch in groups] == [([0, 2], ["pt_2", "pt_0"]), ([1], ["pt_1"])]


def test_a_case_that_lacks_what_others_have_is_named():
    packed = PackedSamples(CPU, ["image", "oar", "oar_region"])
    packed.append(["a"], [_sample(0)])
    with pytest.raises(DataError, match=r"pt_1.*oar_region"):
        packed.append(["b"], [_sample(1, oar_region=torch.ones(1, 8, 8))])
