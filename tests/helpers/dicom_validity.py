"""What independent programs say about DICOM files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

# (0008,001C) is SyntheticData, in the standard since 2022; Debian's dicom3tools are older.
_TOO_NEW = "</(0008,001c)> - Attribute with an even group number is not a recognized standard attribute"


def errors_of(path: Path) -> list[str]:
    """Return the lines in which dciodvfy finds an error; skips the test where it is not installed."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian: apt-get install dicom3tools)")
    done = subprocess.run([program, "-new", str(path)], capture_output=True, text=True, timeout=60)
    lines = (done.stdout + done.stderr).splitlines()
    assert lines, f"dciodvfy says nothing about {path}: exit {done.returncode}"
    assert done.returncode >= 0, f"dciodvfy was ended by signal {-done.returncode}"
    return [line for line in lines if line.startswith("Error")]


def errors_but_synthetic(path: Path) -> list[str]:
    """Return the errors but for the one about SyntheticData, which dciodvfy does not know yet."""
    return [line for line in errors_of(path) if _TOO_NEW not in line]


def rasterized(structures, number: int, shape: tuple[int, int, int], affine_ras: np.ndarray) -> np.ndarray:
    """Return (C, R, K) bool: voxel centers inside a structure's contours by the even-odd rule, with matplotlib.

    Args:
        structures: an RTSTRUCT.
        number: ROINumber.
        shape: of the grid.
        affine_ras: (column, row, slice) -> mm.
    """
    from matplotlib.path import Path as Polygon

    to_index = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_ras)
    centers = np.stack(np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij"), -1).reshape(-1, 2)
    found = np.zeros(shape, bool)
    (roi,) = [roi for roi in structures.ROIContourSequence if roi.ReferencedROINumber == number]
    for contour in roi.ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        index = points @ to_index[:3, :3].T + to_index[:3, 3]
        plane = int(np.rint(index[:, 2].mean()))
        assert np.abs(index[:, 2] - plane).max() < 0.01
        found[:, :, plane] ^= Polygon(index[:, :2]).contains_points(centers).reshape(shape[:2])
    return found


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Dice coefficient."""
    return 2 * float((first & second).sum()) / float(first.sum() + second.sum())
