"""Write synthetic CTs as NIfTI, and their organs as label maps, from the cached cases of a training.

python volumes.py CACHE STUDIES LABELS

The last of them stays beside the label maps: a viewer uploads it.
"""

import sys
from pathlib import Path

import numpy as np

from ctan_monai.data.cases.cache import read_case_file
from ctan_monai.data.formats.nifti import write_nifti

ORGANS = ("Rectum", "Bladder", "Femur_L", "Femur_R", "CTV")  # in the order of the bundle's task
COUNT = 4


def main(cache, studies, labels):
    """Write as many as the checks need."""
    studies, labels = Path(studies), Path(labels)
    for folder in (studies, labels):
        folder.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(sorted(Path(cache).rglob("*.case"))[:COUNT]):
        case = read_case_file(file)
        numbers = np.zeros(case.shape, np.uint8)
        for at, organ in enumerate(ORGANS, start=1):
            numbers[case.masks[organ]] = at
        place = studies / f"synthetic_{number}.nii.gz" if number < COUNT - 1 else labels / "upload.nii.gz"
        write_nifti(case.volumes["ct"], case.affine_ras, place)
        write_nifti(numbers, case.affine_ras, labels / f"synthetic_{number}.nii.gz")


if __name__ == "__main__":
    main(*sys.argv[1:])
