"""A bundle whose prediction is a sphere that is drawn without a network, for tests of what is around a prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom

from ctan_monai.data.dicom.write import CtReference, predicted_by, write_rtdose, write_rtstruct

KINDS = ("RTSTRUCT", "RTDOSE")
_CONFIG = """
bundle_root: null
input: null
run_dir: null
output_dir: null
cache_dir: null
inferring:
- {_target_: node_bundle.answer, source: '@input', output: '@output_dir'}
"""


def write_bundle(folder):
    """Write the bundle and a run of it; returns both folders."""
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "inference.yaml").write_text(_CONFIG)
    (folder / "runs" / "run").mkdir(parents=True)
    (folder / "runs" / "run" / "model.pt").write_bytes(b"weights")
    return folder, folder / "runs" / "run"


def answer(source, output):
    """Write a structure and a dose on the CT of a folder."""
    files = sorted(Path(source).iterdir(), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])
    reference, first = CtReference.read(files), pydicom.dcmread(files[0])
    shape = (int(first.Columns), int(first.Rows), len(files))
    affine = np.diag([-float(first.PixelSpacing[1]), -float(first.PixelSpacing[0]), 3.0, 1.0])
    affine[:3, 3] = np.array([-1, -1, 1]) * [float(value) for value in first.ImagePositionPatient]
    if len(files) > 1:
        affine[2, 2] = float(pydicom.dcmread(files[1]).ImagePositionPatient[2] - first.ImagePositionPatient[2])
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) - (np.array(shape) - 1) / 2
    mask = (points**2).sum(-1) <= (min(shape) / 2) ** 2
    origin = predicted_by("sphere", "Drawn by a test.")
    out = Path(output) / "case"
    write_rtstruct({"Sphere": mask}, affine, reference, out / "RS.dcm", origin)
    write_rtdose(mask * np.float32(40), affine, reference, out / "RD.dcm", origin)
