"""Put a dose on the grid of the CT."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ctan_monai.data.dicom.read.dose_file import DoseGrid
from ctan_monai.data.dicom.read.geometry import Grid

_EDGE = 1e-4  # voxels; the outermost voxel centers belong to the dose grid in spite of rounding

DoseAndRegion = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]


def dose_on_grid(dose: DoseGrid, grid: Grid) -> DoseAndRegion:
    """Interpolate a dose linearly at the centers of a grid's voxels.

    Any orientation of either grid and any spacing of the dose's frames are right, as positions are compared in
    millimeters.

    Args:
        dose: a dose on its own grid.
        grid: of the CT.

    Returns:
        dose_gy (rows, columns, slices) float32, 0 where it is unknown; region (rows, columns, slices) bool: the
        voxels within the hull of the dose's voxel centers, where it is known. Nothing is extrapolated.
    """
    from scipy.ndimage import map_coordinates

    # (row, column, slice) of the CT -> (row, column, mm along the normal) of the dose
    change = np.linalg.inv(dose.affine_lps) @ grid.affine_lps
    frames, rows, columns = dose.dose_gy.shape
    ends = ((0.0, rows - 1.0), (0.0, columns - 1.0), (float(dose.offsets_mm[0]), float(dose.offsets_mm[-1])))
    slack = (_EDGE, _EDGE, _EDGE * float(np.diff(dose.offsets_mm).min()))
    at_row = np.arange(grid.shape[0], dtype=np.float64)[:, None]
    at_column = np.arange(grid.shape[1], dtype=np.float64)[None, :]
    dose_gy = np.zeros(grid.shape, np.float32)
    region = np.zeros(grid.shape, np.bool_)
    numbers = np.arange(frames, dtype=np.float64)
    for number in range(grid.shape[2]):
        places = [line[0] * at_row + line[1] * at_column + (line[2] * number + line[3]) for line in change[:3]]
        inside = np.ones(grid.shape[:2], np.bool_)
        for place, (low, high), edge in zip(places, ends, slack, strict=True):
            inside &= (place >= low - edge) & (place <= high + edge)
        if not inside.any():
            continue
        row, column, along = (np.clip(place[inside], *end) for place, end in zip(places, ends, strict=True))
        frame = np.interp(along, dose.offsets_mm, numbers)
        dose_gy[inside, number] = map_coordinates(dose.dose_gy, [frame, row, column], order=1, prefilter=False)
        region[:, :, number] = inside
    return dose_gy, region
