"""Simulated T2-weighted MR of the synthetic pelvis: contrast, blur, bias field, Rician noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from ctan_monai.data.phantom.patient import Pelvis
from ctan_monai.data.phantom.shapes import Floats, smooth_field

_BLUR_MM = 1.0
_BRIGHTEST = 1000.0  # stored value of urine; MR has no unit
_NOISE = 0.03  # of that, in both channels of the complex image
_BIAS, _BIAS_KNOT_MM = 0.12, 150.0  # standard deviation of the logarithm of the coils' sensitivity, and its scale


def t2_weighted(pelvis: Pelvis) -> npt.NDArray[np.int16]:
    """Return a T2-weighted image of a drawn pelvis; once, as it draws from the noise.

    The magnitude of a complex signal with noise in both channels is distributed as Rice found; in air that is Rayleigh
    noise, whose mean is not 0. The bias field is smooth and positive, another for each patient.

    Args:
        pelvis: as `draw_pelvis` made it.

    Returns:
        (K, R, C) int16, without unit.

    Source: Gudbjartsson and Patz, Magn Reson Med 34(6), 1995 (noise).
    """
    grid, random = pelvis.canvas.grid, pelvis.mr_random
    signal: Floats = pelvis.canvas.t2
    for axis, spacing_mm in ((1, grid.row_mm), (2, grid.column_mm)):
        signal = gaussian_filter1d(signal, _BLUR_MM / spacing_mm, axis=axis, truncate=3)
    bias = np.exp(np.float32(_BIAS) * smooth_field(random, pelvis.canvas.axes_mm, (_BIAS_KNOT_MM,) * 3))
    real = signal * bias + np.float32(_NOISE) * random.standard_normal(signal.shape, dtype=np.float32)
    imaginary = np.float32(_NOISE) * random.standard_normal(signal.shape, dtype=np.float32)
    found: npt.NDArray[np.int16] = np.rint(np.float32(_BRIGHTEST) * np.hypot(real, imaginary)).astype(np.int16)
    return found
