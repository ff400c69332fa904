"""What a scanner adds to an ideal image: blur, beam hardening between the hips, noise and its streaks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from ctan_monai.data.datasets.prostate.phantom.grid import PhantomGrid
from ctan_monai.data.datasets.prostate.phantom.shapes import Floats

AIR_HU, HIGHEST_HU = -1024, 3071  # 12 bits, as scanners store
_BLUR_MM = 0.8
_NOISE_HU = 15.0  # in the middle of the pelvis; planning CTs have 10 to 20
_STREAK_HU, _HARDENING_HU = 7.0, -9.0


def scan(
    ct_hu: Floats,
    axes_mm: tuple[Floats, Floats, Floats],
    grid: PhantomGrid,
    hip_z_mm: float,
    random: np.random.Generator,
) -> npt.NDArray[np.int16]:
    """Turn ideal HU into what a planning CT shows.

    Args:
        ct_hu: (K, R, C) ideal HU; changed in place.
        axes_mm: z, y, x of the voxels.
        grid: voxel sizes.
        hip_z_mm: height of the femoral heads, where noise and beam hardening are strongest.
        random: the only source of randomness.

    Returns:
        (K, R, C) int16 HU within 12 bits.
    """
    z, y, x = axes_mm
    for axis, spacing_mm in ((1, grid.row_mm), (2, grid.column_mm)):
        ct_hu = gaussian_filter1d(ct_hu, _BLUR_MM / spacing_mm, axis=axis, truncate=3)
    hips = np.exp(-(((z - hip_z_mm) / 28) ** 2)).astype(np.float32)[:, None, None]
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
