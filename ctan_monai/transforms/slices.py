"""Draw one slice of a patient, another one in each epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai.transforms import Randomizable, Transform

from ctan_monai.errors import ConfigError


class RandSelectSliced(Randomizable, Transform):  # type: ignore[misc]  # MONAI has no type hints
    """Turn an item with ``slices`` into an item with one ``slice``; put it before `LoadCaseFiled`.

    Items without ``slices``, whole volumes, pass as they are.

    Raises:
        ConfigError: (when called) ``slices`` is no pair of the first slice and the last + 1.
    """

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Draw the slice."""
        if "slices" not in item:
            return dict(item)
        first, stop = item["slices"]
        if not 0 <= first < stop:
            raise ConfigError("slices", f"{item['slices']} of {item.get('case')}.", "Give the first and the last + 1.")
        return {**item, "slice": int(self.R.randint(first, stop))}
