"""Grid and canvas of a phantom, and a CT scanner's blur, beam hardening and noise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from ctan_monai.data.phantom.shapes import Coordinates, Floats, Point, smooth_field
from ctan_monai.errors import ConfigError, check_choice

Block = tuple[slice, slice, slice]
Region = Literal["pelvis", "thorax"]
Modality = Literal["CT", "MR"]
_WARP_MM, _WARP_KNOT_MM = 2.0, 55.0  # how far and over which distance the anatomy is bent
_REACH_MM = 12.0  # more than the warp ever moves a place, with room for a wall
AIR_HU, HIGHEST_HU = -1024, 3071  # 12 bits, as scanners store
_BLUR_MM = 0.8
_NOISE_HU = 15.0  # in the middle of the pelvis; planning CTs have 10 to 20
_STREAK_HU, _HARDENING_HU = 7.0, -9.0
# T2-weighted signal by HU where HU tell the tissue: nothing in gas and couch, then fat, skin, muscle, bone with
# fatty marrow, cortex; shaped after the usual contrast, not measured
_HU_OF_TISSUE = (-250.0, -130.0, -70.0, 0.0, 52.0, 150.0, 400.0, 700.0)
_T2_OF_TISSUE = (0.0, 0.80, 0.80, 0.40, 0.25, 0.55, 0.55, 0.04)


@dataclass(frozen=True)
class PhantomGrid:
    """Voxels of the CT or MR, its axes along the patient's.

    Args:
        rows: pixels from front to back.
        columns: pixels from right to left.
        slices: slices from foot to head.
        row_mm: distance of rows, front to back.
        column_mm: distance of columns, right to left.
        slice_mm: distance of slices.
        region: what is drawn.
        others: structures to draw beside the region's, as ellipsoids; see ``thorax.draw_others``.
        modality: of the images: 'CT', or 'MR', T2-weighted.

    Raises:
        ConfigError: the grid cannot hold a body, or the region or modality is unknown.
    """

    rows: int = 256
    columns: int = 256
    slices: int = 64
    row_mm: float = 1.875
    column_mm: float = 1.875
    slice_mm: float = 3.0
    region: Region = "pelvis"
    others: tuple[str, ...] = ()
    modality: Modality = "CT"

    def __post_init__(self) -> None:
        """Check that the grid covers a body with small enough voxels, and the region."""
        object.__setattr__(self, "others", tuple(self.others))
        check_choice("region", self.region, get_args(Region))
        check_choice("modality", self.modality, get_args(Modality))
        field_mm = (self.slices * self.slice_mm, self.rows * self.row_mm, self.columns * self.column_mm)
        spacing_mm = (self.slice_mm, self.row_mm, self.column_mm)
        if (
            min(field_mm) < 1
            or any(f < n for f, n in zip(field_mm, (90, 300, 450), strict=True))
            or not all(0.4 <= s <= 8 for s in spacing_mm)
        ):
            raise ConfigError(
                "grid",
                f"{self} spans {field_mm} mm (slices, rows, columns) with voxels of {spacing_mm} mm.",
                "Span at least 90 x 300 x 450 mm with voxels of 0.4 to 8 mm.",
            )

    def to_json(self) -> dict[str, Any]:
        """Serialize the grid; a CT and a pelvis alone as before there were others, so that its files stay the same."""
        found = asdict(self)
        plain = {"region", "others"} if self.region == "pelvis" and not self.others else set()
        plain |= {"modality"} if self.modality == "CT" else set()
        return {key: value for key, value in found.items() if key not in plain}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (K, R, C): slices, rows, columns."""
        return self.slices, self.rows, self.columns

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of slices, rows, columns."""
        return self.slice_mm, self.row_mm, self.column_mm

    def axes_mm(self) -> tuple[Floats, Floats, Floats]:
        """Return z (K,), y (R,), x (C,) in mm from the prostate's usual center, LPS.

        The field is placed like a planning CT's: more above the prostate than below, the patient in the middle.
        """
        z = (np.arange(self.slices) - 0.43 * (self.slices - 1)) * self.slice_mm
        y = (np.arange(self.rows) - 0.5 * (self.rows - 1)) * self.row_mm + 12
        x = (np.arange(self.columns) - 0.5 * (self.columns - 1)) * self.column_mm
        return z.astype(np.float32), y.astype(np.float32), x.astype(np.float32)


class Canvas:
    """Canvas on which bodies are painted over each other, with partial volume at their surface.

    Args:
        grid: voxels.
        random: bends the space, so that no organ is a perfect ellipsoid.

    Attributes:
        ct_hu: (K, R, C) float32, air at first.
        t2: (K, R, C) float32, ideal signal of a T2-weighted image, 0 where there is none.
    """

    def __init__(self, grid: PhantomGrid, random: np.random.Generator) -> None:
        self.grid, self.axes_mm = grid, grid.axes_mm()
        self.ct_hu: Floats = np.full(grid.shape, -1000, np.float32)
        self.t2: Floats = np.zeros(grid.shape, np.float32)
        bend = [smooth_field(random, self.axes_mm, (_WARP_KNOT_MM,) * 3) * np.float32(_WARP_MM) for _ in range(3)]
        z, y, x = self.axes_mm
        self._at = Coordinates(x + bend[0], y[:, None] + bend[1], z[:, None, None] + bend[2])

    def block(self, low: Point, high: Point) -> Block:
        """Return the part of the grid in which a body between two corners (x, y, z) lies."""
        found = []
        for axis_mm, a, b in zip(self.axes_mm, reversed(low), reversed(high), strict=True):
            first, last = np.searchsorted(axis_mm, [a - _REACH_MM, b + _REACH_MM])
            found.append(slice(int(first), max(int(last), int(first) + 1)))
        return found[0], found[1], found[2]

    def around(self, center: Point, reach_mm: float | Point) -> Block:
        """Return the part of the grid around a place."""
        reach = [reach_mm] * 3 if isinstance(reach_mm, int | float) else reach_mm
        return self.block(
            [c - r for c, r in zip(center, reach, strict=True)], [c + r for c, r in zip(center, reach, strict=True)]
        )

    def at(self, block: Block | None = None) -> Coordinates:
        """Return the coordinates of a part's voxels in the warped space, in mm."""
        return self._at if block is None else Coordinates(*(axis[block] for axis in self._at))

    def axes_of(self, block: Block) -> tuple[Floats, Floats, Floats]:
        """Return z, y, x of a part in the unwarped space, in mm."""
        z, y, x = self.axes_mm
        return z[block[0]], y[block[1]], x[block[2]]

    def paint(
        self, distance_mm: Floats, hu: Floats | float, block: Block | None = None, t2: float | None = None
    ) -> None:
        """Paint a body.

        Args:
            distance_mm: of each voxel to the body, negative inside; shape of the block.
            hu: what it is made of; a number, or one per voxel.
            block: the part of the grid; None: all of it.
            t2: its signal in a T2-weighted image, from 0 to 1; None: that of tissue of such HU.
        """
        edge_mm = np.float32(0.5 * (self.grid.row_mm + self.grid.column_mm))
        share = np.clip(np.float32(0.5) - distance_mm / edge_mm, 0, 1)
        signal = np.interp(hu, _HU_OF_TISSUE, _T2_OF_TISSUE) if t2 is None else t2
        for image, value in ((self.ct_hu, hu), (self.t2, signal)):
            part = image if block is None else image[block]
            part += share * (np.asarray(value, np.float32) - part)


def scan(
    ct_hu: Floats,
    axes_mm: tuple[Floats, Floats, Floats],
    grid: PhantomGrid,
    dense_z_mm: float,
    random: np.random.Generator,
) -> npt.NDArray[np.int16]:
    """Simulate a planning CT from ideal HU.

    Args:
        ct_hu: (K, R, C) ideal HU; changed in place.
        axes_mm: z, y, x of the voxels.
        grid: voxel sizes.
        dense_z_mm: height where noise and beam hardening are strongest, as of the femoral heads.
        random: the only source of randomness.

    Returns:
        (K, R, C) int16 HU within 12 bits.
    """
    z, y, x = axes_mm
    for axis, spacing_mm in ((1, grid.row_mm), (2, grid.column_mm)):
        ct_hu = gaussian_filter1d(ct_hu, _BLUR_MM / spacing_mm, axis=axis, truncate=3)
    hips = np.exp(-(((z - dense_z_mm) / 28) ** 2)).astype(np.float32)[:, None, None]
    middle = np.exp(-((y / 95) ** 2))[:, None] * np.exp(-((x / 150) ** 2))  # (R, C)
    noise = random.standard_normal(ct_hu.shape, dtype=np.float32)
    noise = gaussian_filter1d(noise, 0.6, axis=2, truncate=3) * np.float32(1.5)
    noise = gaussian_filter1d(noise, 0.6, axis=1, truncate=3) * np.float32(1.5)
    noise *= _NOISE_HU * (0.35 + 0.65 * middle) * (1 + 0.25 * hips)
    rows = random.standard_normal((*ct_hu.shape[:2], max(ct_hu.shape[2] // 24, 4)), dtype=np.float32)
    streaks = np.repeat(rows, -(-ct_hu.shape[2] // rows.shape[2]), axis=2)[:, :, : ct_hu.shape[2]]
    streaks = gaussian_filter1d(streaks, 10, axis=2, truncate=2)
    between = np.exp(-((y / 45) ** 2))[:, None] * np.exp(-((x / 85) ** 4))
    noise += hips * between * (_STREAK_HU * 2 * streaks + _HARDENING_HU)
    noise *= np.clip((ct_hu + 1000) / 800, 0.45, 1)  # less noise in air
    ct_hu += noise
    return np.clip(np.rint(ct_hu), AIR_HU, HIGHEST_HU).astype(np.int16)
