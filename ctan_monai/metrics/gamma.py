"""The gamma index between two doses on one grid, computed by pymedphys.

Low et al., Med. Phys. 25, 656 (1998). Global normalization: the dose criterion is a percentage of the highest
reference dose. Each examined reference voxel is compared with the evaluated dose interpolated linearly around it, in
three dimensions, at steps of a tenth of the distance criterion (Wendling et al., Med. Phys. 34, 1647, 2007).
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctan_monai.data.cases.file_layers import bounding_box
from ctan_monai.errors import ConfigError, DataError, install

Array = NDArray[Any]
INSTALL = install("gamma", "pymedphys") + " (Python 3.10 to 3.12)"
_LATTICE_VOXELS = 2_000_000  # of the reference that pymedphys gets; it keeps about 80 bytes for each
_RAM_BYTES = 2**28  # for the points that are searched at once
PLANE_HIGHEST = 2.0  # gamma of a plane is searched up to this
_PLANE_STEPS = 5
_JUST_ABOVE_ONE = 1.01  # for pass or fail, the search may stop here


@dataclass(frozen=True)
class Gamma:
    """Options of the gamma index.

    Args:
        criteria: pairs of dose in percent of the highest reference dose, and distance in mm.
        cutoff_percent: reference doses below this fraction of the highest are left out.
        max_points: examine so many voxels at most, drawn at random; None for all. 5,000 give the pass rate within
            1.4 percentage points (95 % interval), within 0.6 for rates over 95 %.
        steps: the distance criterion is divided into so many steps.
        seed: of the draw.

    Raises:
        ConfigError: a number is out of range.
    """

    criteria: Sequence[tuple[float, float]] = ((3.0, 3.0), (2.0, 2.0))
    cutoff_percent: float = 10.0
    max_points: int | None = 5000
    steps: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        pairs = tuple((float(dose), float(distance)) for dose, distance in self.criteria)
        object.__setattr__(self, "criteria", pairs)
        points = 1 if self.max_points is None else self.max_points
        if not pairs or min(min(pair) for pair in pairs) <= 0 or points < 1 or self.steps < 1:
            raise ConfigError("gamma", f"{self}.", "Give criteria, max_points and steps above 0.")
        if not 0 <= self.cutoff_percent < 100:
            raise ConfigError("gamma", f"cutoff_percent is {self.cutoff_percent}.", "Give 0 to under 100.")


@dataclass(frozen=True)
class PassRate:
    """The gamma pass rate of one criterion.

    Args:
        dose_percent: dose criterion, percent of the highest reference dose.
        distance_mm: distance criterion.
        percent: examined voxels with gamma of at most 1, percent; nan where nothing was examined.
        points: examined voxels.
        eligible: voxels above the cutoff, of which those were drawn.
        normalization_gy: the highest reference dose.
    """

    dose_percent: float
    distance_mm: float
    percent: float
    points: int
    eligible: int
    normalization_gy: float

    @property
    def name(self) -> str:
        """Name of the criterion, as in 3 %/2 mm."""
        return f"{self.dose_percent:g} %/{self.distance_mm:g} mm"

    @property
    def interval(self) -> float:
        """Half-width of the 95 % interval due to sampling voxels, percentage points; 0 if all voxels were evaluated."""
        if self.points >= self.eligible or not self.points:
            return 0.0
        share = self.percent / 100
        unseen = 1 - self.points / self.eligible
        return 196 * math.sqrt(share * (1 - share) / self.points * unseen)


def has_gamma() -> bool:
    """Tell whether pymedphys is installed."""
    return importlib.util.find_spec("pymedphys") is not None


def pass_rates(
    reference_gy: Array,
    evaluated_gy: Array,
    spacing_mm: Sequence[float],
    region: Array | None = None,
    options: Gamma | None = None,
) -> list[PassRate]:
    """Compute gamma pass rates.

    Args:
        reference_gy: (*S) planned dose, Gy.
        evaluated_gy: (*S) dose to be judged, Gy, on the same grid.
        spacing_mm: of the voxels, along each axis.
        region: (*S) voxels that may be examined, such as those whose planned dose is known; None for all.
        options: criteria, cutoff, number of voxels.

    Returns:
        One for each criterion.

    Raises:
        DataError: shapes differ, a dose is not finite, or there is no dose.
        ConfigError: pymedphys is not installed.
    """
    options = options or Gamma()
    module = _pymedphys()
    highest, eligible = _eligible(reference_gy, evaluated_gy, region, options.cutoff_percent)
    lattice = _lattice(eligible)
    chosen = _draw(eligible[lattice], options)
    rates = []
    for criterion in options.criteria:
        settings = {"max_gamma": _JUST_ABOVE_ONE, "skip_once_passed": True, "interp_fraction": options.steps}
        gamma = _gamma(module, reference_gy, evaluated_gy, spacing_mm, lattice, chosen, highest, criterion, settings)
        known = gamma[np.isfinite(gamma)]
        percent = 100 * float(np.mean(known <= 1)) if known.size else math.nan
        rates.append(PassRate(*criterion, percent, int(known.size), int(np.count_nonzero(eligible)), highest))
    return rates


def gamma_plane(
    reference_gy: Array,
    evaluated_gy: Array,
    spacing_mm: Sequence[float],
    axis: int,
    index: int,
    region: Array | None = None,
    criterion: tuple[float, float] = (3.0, 3.0),
    options: Gamma | None = None,
) -> Array:
    """Compute gamma on one plane by a search in three dimensions, up to `PLANE_HIGHEST`.

    Args:
        reference_gy: (*S) planned dose, Gy.
        evaluated_gy: (*S) dose to be judged, Gy.
        spacing_mm: of the voxels.
        axis: that the plane is perpendicular to.
        index: of the plane on that axis.
        region: (*S) voxels that may be examined, None for all.
        criterion: percent of the highest reference dose, mm.
        options: of these, the cutoff counts.

    Returns:
        (*S) with one voxel along ``axis``; nan below the cutoff.

    Raises:
        DataError: shapes differ, a dose is not finite, or there is no dose.
        ConfigError: pymedphys is not installed.
    """
    module, options = _pymedphys(), options or Gamma()
    highest, eligible = _eligible(reference_gy, evaluated_gy, region, options.cutoff_percent)
    plane = tuple(slice(0, n, 1) if at != axis else slice(index, index + 1, 1) for at, n in enumerate(eligible.shape))
    settings = {"max_gamma": PLANE_HIGHEST, "interp_fraction": _PLANE_STEPS}
    chosen = eligible[plane]
    return _gamma(module, reference_gy, evaluated_gy, spacing_mm, plane, chosen, highest, criterion, settings)


def _pymedphys() -> ModuleType:
    try:
        return importlib.import_module("pymedphys")
    except ImportError as error:
        raise ConfigError("gamma", f"pymedphys cannot be imported ({error}).", f"Install it: {INSTALL}.") from error


def _eligible(
    reference_gy: Array, evaluated_gy: Array, region: Array | None, cutoff_percent: float
) -> tuple[float, Array]:
    """Return the maximum reference dose, and the voxels that are above the cutoff."""
    shapes = {reference_gy.shape, evaluated_gy.shape, *([] if region is None else [region.shape])}
    if len(shapes) != 1:
        raise DataError("gamma", None, f"the shapes are {sorted(shapes)}.", "Resample all to one grid.")
    if not (np.isfinite(reference_gy).all() and np.isfinite(evaluated_gy).all()):
        raise DataError("gamma", None, "a dose is not finite.", "Correct the dose.")
    highest = float(reference_gy[region].max(initial=0.0) if region is not None else reference_gy.max())
    if highest <= 0:
        raise DataError("gamma", None, "there is no planned dose.", "Give a plan with a dose.")
    above: Array = (reference_gy > 0) & (reference_gy >= cutoff_percent / 100 * highest)
    return highest, above if region is None else above & (region > 0)


def _lattice(eligible: Array) -> tuple[slice, ...]:
    """Crop to the eligible voxels, and subsample each axis where they are too many."""
    spans, stride = bounding_box(eligible), 1
    while math.prod(-(-(stop - start) // stride) for start, stop in spans) > _LATTICE_VOXELS:
        stride += 1
    return tuple(slice(start, stop, stride) for start, stop in spans)


def _draw(eligible: Array, options: Gamma) -> Array:
    """Draw voxels at random, with a fixed seed."""
    places = np.flatnonzero(eligible)
    if options.max_points is not None and places.size > options.max_points:
        places = np.random.default_rng(options.seed).choice(places, options.max_points, replace=False)
    chosen = np.zeros(eligible.shape, bool)
    chosen.flat[places] = True
    return chosen


def _gamma(
    module: ModuleType,
    reference_gy: Array,
    evaluated_gy: Array,
    spacing_mm: Sequence[float],
    lattice: tuple[slice, ...],
    chosen: Array,
    highest: float,
    criterion: tuple[float, float],
    settings: Mapping[str, Any],
) -> Array:
    """Compute gamma by pymedphys at the chosen voxels of the reference's lattice; nan elsewhere."""
    most = float(settings["max_gamma"])
    reach = [criterion[1] * most / step for step in spacing_mm]  # voxels
    more = [math.ceil(voxels) + 1 for voxels in reach]
    ranges = zip(lattice, more, reference_gy.shape, strict=False)
    around = tuple(slice(max(0, part.start - by), min(size, part.stop + by)) for part, by, size in ranges)
    wanted, nearby = reference_gy[lattice].astype(np.float64), evaluated_gy[around].astype(np.float64)
    pairs = zip(lattice, around, strict=True)
    inside = tuple(slice(part.start - wide.start, part.stop - wide.start, part.step) for part, wide in pairs)
    lost = chosen & _beyond(wanted, nearby, inside, reach, criterion[0] / 100 * highest * most)
    gamma = np.where(lost, most, np.nan)
    if not (chosen & ~lost).any():
        return gamma
    axes = [np.arange(size) * step for size, step in zip(reference_gy.shape, spacing_mm, strict=False)]
    short = tuple(axis for axis, size in enumerate(reference_gy.shape) if size == 1)  # it refuses such axes
    long = [axis for axis in range(reference_gy.ndim) if axis not in short]
    with _quietly(module):
        found = module.gamma(
            tuple(axes[axis][lattice[axis]] for axis in long),
            np.squeeze(np.where(chosen & ~lost, wanted, -1.0), short),  # what lies under the cutoff is not examined
            tuple(axes[axis][around[axis]] for axis in long),
            np.squeeze(nearby, short),
            *criterion,
            lower_percent_dose_cutoff=0,
            global_normalisation=highest,
            ram_available=_RAM_BYTES,
            interp_algo="scipy",  # the other one needs numba
            **settings,
        )
    return np.where(lost, gamma, np.asarray(found, np.float64).reshape(chosen.shape))


@contextlib.contextmanager
def _quietly(module: ModuleType) -> Iterator[None]:
    """Keep a module from logging on the root logger.

    pymedphys 0.41 does so; one of its messages cannot be formatted with NumPy 2.4, which prints a traceback; and where
    nothing has a handler yet, `logging.info` would set one up for the whole process.
    """
    root, own = logging.getLogger(), str(Path(module.__file__ or "").parent)
    handler = logging.NullHandler()

    def not_its_own(record: logging.LogRecord) -> bool:
        return not record.pathname.startswith(own)

    root.addFilter(not_its_own)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.removeFilter(not_its_own)


def _beyond(wanted: Array, nearby: Array, places: tuple[slice, ...], reach: Sequence[float], tolerance: float) -> Array:
    """Find voxels whose gamma exceeds the search limit, without a search.

    What is interpolated lies between the lowest and highest of the voxels around; if even these are too far off, so is
    every dose within reach.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    sides = [2 * math.ceil(voxels) + 1 for voxels in reach][: nearby.ndim]
    highest, lowest = maximum_filter(nearby, sides)[places], minimum_filter(nearby, sides)[places]
    beyond: Array = (wanted - tolerance > highest) | (wanted + tolerance < lowest)
    return beyond
