"""Keep a sample's layout through a transform of MONAI's, which turns every entry into a MetaTensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor


def with_layout_of(sample: Mapping[str, Any], changed: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return a changed sample whose entries are of the types that they were: masks uint8, labels plain tensors.

    Args:
        sample: before the transform.
        changed: after it.
        keys: entries that it touched, of which the sample may lack some.
    """
    kept = dict(changed)
    for key in set(keys) & sample.keys():
        if isinstance(kept[key], MetaTensor):
            kept[key].applied_operations = []  # nobody inverts this, and collating it costs time
        if not isinstance(sample[key], MetaTensor):
            plain = kept[key].as_tensor() if isinstance(kept[key], MetaTensor) else kept[key]
            kept[key] = torch.as_tensor(plain, dtype=sample[key].dtype)
    return kept
