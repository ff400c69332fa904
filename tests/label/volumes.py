"""Write synthetic CTs as NIfTI, and their organs as label maps, from the cached cases of a training.

python volumes.py CACHE STUDIES LABELS
"""

import sys
from pathlib import Path

import numpy as np

from ctan_monai.data.cache import read_case_file
from ctan_monai.data.nifti import write_nifti

ORGANS = ("Rectum", "Bladder", "Femur_L", "Femur_R", "CTV")  # in the order of the bundle's task
COUNT = 3


def main(cache, studies, labels):
    """Write as many as the checks need."""
    for folder in (studies, labels):
        Path(folder).mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(sorted(Path(cache).rglob("*.case"))[:COUNT]):
        case = read_case_file(file)
        numbers = np.zeros(case.shape, np.uint8)
        for at, organ in enumerate(ORGANS, start=1):
            numbers[case.masks[organ]] = at
        write_nifti(case.volumes["ct"], case.affine_ras, Path(studies) / f"synthetic_{number}.nii.gz")
        write_nifti(numbers, case.affine_ras, Path(labels) / f"synthetic_{number}.nii.gz")


if __name__ == "__main__":
    main(*sys.argv[1:])
