"""Divide patients into training, validation and test; all cases of a patient stay together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ctan_monai.data.lists.splits import SPLITS, draw
from ctan_monai.errors import ConfigError


def divide(
    patients: Mapping[str, str],
    seed: int = 0,
    shares: Sequence[float] = (0.7, 0.15, 0.15),
    kept: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Divide patients.

    The order in which patients are drawn depends on the seed and who they are only, not on their pseudonyms, so the
    same seed divides the same patients alike wherever they are prepared. Patients that already have a split keep it,
    so that adding others moves nobody from training into the test.

    Args:
        patients: who each pseudonym is.
        seed: another seed draws others.
        shares: of training, validation and test; they add up to 1.
        kept: splits of an earlier run.

    Returns:
        Split by patient. With three patients or more, no split of a positive share is empty; with fewer, training
        comes first.

    Raises:
        ConfigError: the shares are no three numbers from 0 to 1 that add up to 1.
    """
    check_shares(shares)
    names = sorted(patients, key=lambda name: draw(seed, patients[name]))
    found = {name: split for name, split in (kept or {}).items() if name in patients}
    left = dict(zip(SPLITS, _sizes(len(names), shares), strict=True))
    for split in found.values():
        left[split] -= 1
    for name in names:
        if name in found:
            continue
        split = max(SPLITS, key=lambda each: left[each])  # the first of equals
        found[name] = split
        left[split] -= 1
    return {name: found[name] for name in names}


def check_shares(shares: Sequence[float]) -> None:
    """Refuse shares that divide nothing.

    Raises:
        ConfigError: they are no three numbers from 0 to 1 that add up to 1, or nothing is left for training.
    """
    numbers = isinstance(shares, list | tuple) and all(isinstance(share, int | float) for share in shares)
    usable = numbers and len(shares) == 3 and all(0 <= share <= 1 for share in shares) and abs(sum(shares) - 1) < 1e-6
    if not usable or shares[0] <= 0:
        raise ConfigError("split", f"{shares} was found.", "Give three shares that add up to 1, as 0.7,0.15,0.15.")


def _sizes(count: int, shares: Sequence[float]) -> list[int]:
    others = [0 if share == 0 or count < 3 else max(1, round(share * count)) for share in shares[1:]]
    if count == 2 and shares[1] > 0:
        others[0] = 1
    return [count - sum(others), *others]
