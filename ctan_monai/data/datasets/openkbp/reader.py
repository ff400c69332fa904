"""Read patients of the OpenKBP challenge from the official CSV files.

Axes (i, j, k) run anterior to posterior, right to left, superior to inferior, so a voxel lies at
LPS (j*dx, i*dy, -k*dz) mm and RAS (-j*dx, -i*dy, -k*dz) mm. A patient's folder holds::

    ct.csv                   HU + 1024 of the voxels that have an entry; the others are air, -1024 HU
    dose.csv                 Gy; absent where only a prediction is wanted
    possible_dose_mask.csv   voxels that can receive dose -> masks["dose_region"]
    <structure>.csv          voxels of a structure; an absent file is an unknown structure
    voxel_dimensions.csv     three spacings in mm

Source: Babier et al., Med Phys 48(9), 2021.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.case import Case, check_case_id
from ctan_monai.data.datasets.openkbp.sparse import SHAPE, SIZE, read_entries, read_index, read_spacing
from ctan_monai.data.lists.splits import SPLITS
from ctan_monai.errors import DataError

OARS = ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible")
PTVS = ("PTV56", "PTV63", "PTV70")
READER_VERSION = "openkbp-1"  # raise it when what read_case returns for the same files changes: caches are rebuilt

AIR_HU = -1024
_HU_OFFSET = 1024
_HU_MAX = np.iinfo(np.int16).max
_DOSE_MAX_GY = 200.0  # the challenge's highest dose is 80.0 Gy; a dose in cGy or in percent of it lies far above
_REGION = "possible_dose_mask"


def read_case(folder: str | Path) -> Case:
    """Read one patient.

    CT values above 4095 + 1024 (metal), voxels of the dose mask without CT and structures of a few voxels occur in
    the official data and pass. A structure's file without a voxel does not occur there: it could mean either
    'not there' or 'the export failed', so it is refused.

    Args:
        folder: a patient's folder, such as ``provided-data/train-pats/pt_1``.

    Returns:
        volumes: ct (128, 128, 128) int16 HU, not windowed, and dose float32 Gy if there is one.
        masks: every structure that has a file, and dose_region.

    Raises:
        DataError: a file is missing, garbled or not what OpenKBP's format says; names the file and the finding.
    """
    folder = Path(folder)
    case = check_case_id(folder.name)
    if not (folder / "ct.csv").is_file():
        found = sorted(path.name for path in folder.glob("*.csv")) or "no CSV file"
        raise DataError(folder, case, f"ct.csv is missing; there is {found}.", "Download this patient again.")
    spacing_mm = read_spacing(folder / "voxel_dimensions.csv")
    volumes: dict[str, npt.NDArray[np.generic]] = {"ct": _read_ct(folder / "ct.csv")}
    if (folder / "dose.csv").is_file():
        volumes["dose"] = _read_dose(folder / "dose.csv")
    masks = {}
    for name in (*OARS, *PTVS, _REGION):
        path = folder / f"{name}.csv"
        if path.is_file():
            masks["dose_region" if name == _REGION else name] = _read_mask(path)
    return Case(case, volumes, masks, affine_ras_of(spacing_mm))


def affine_ras_of(spacing_mm: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Return the affine (4, 4) from voxel indices (i, j, k) to RAS mm.

    Args:
        spacing_mm: (dx, dy, dz) as voxel_dimensions.csv lists them; axis 0 of the array is y, axis 1 is x.
    """
    dx, dy, dz = spacing_mm
    return np.array([[0, -dx, 0, 0], [-dy, 0, 0, 0], [0, 0, -dz, 0], [0, 0, 0, 1]], dtype=np.float64)


def find_patients(dataset_dir: str | Path) -> dict[str, list[Path]]:
    """Find the patients' folders of each official split, in the order of their numbers.

    Args:
        dataset_dir: the folder that holds ``train-pats`` and its sisters, or ``provided-data`` with them, or a
            copy of the challenge's repository.

    Returns:
        Folders by split (train, validation, test); an empty list where a split is not there.

    Raises:
        DataError: none of the splits is there.
    """
    root = Path(dataset_dir)
    tried = [root, root / "provided-data", root / "open-kbp" / "provided-data"]
    for base in tried:
        folders = {split: base / f"{split}-pats" for split in SPLITS}
        if any(folder.is_dir() for folder in folders.values()):
            return {split: _patients_in(folder) for split, folder in folders.items()}
    places = ", ".join(str(base / "train-pats") for base in tried)
    raise DataError(
        root,
        None,
        f"no OpenKBP data were found; looked for {places} and the same with validation-pats and test-pats.",
        "Give --dataset_dir the folder that holds provided-data (https://github.com/ababier/open-kbp), "
        "or leave it out to use the sample.",
    )


def _patients_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    patients = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(patients, key=lambda path: (len(path.name), path.name))


def _read_ct(path: Path) -> npt.NDArray[np.int16]:
    index, stored = read_entries(path)
    if not index.size:
        raise DataError(path, path.parent.name, "there is no voxel in it.", "Download this patient again.")
    hu = stored - _HU_OFFSET
    if (hu != np.rint(hu)).any():
        worst = stored[hu != np.rint(hu)][0]
        raise DataError(path, path.parent.name, f"a CT value is {worst}, not a whole number.", "Store HU + 1024.")
    if hu.min() < AIR_HU or hu.max() > _HU_MAX:
        found = (
            f"CT values run from {stored.min():g} to {stored.max():g}, expected HU + 1024 from 0 to {_HU_MAX + 1024}."
        )
        raise DataError(path, path.parent.name, found, "Store HU + 1024, and clip metal.")
    if (hu == AIR_HU).all():
        raise DataError(path, path.parent.name, "each of its voxels is air.", "Download this patient again.")
    ct_hu = np.full(SIZE, AIR_HU, np.int16)
    ct_hu[index] = hu
    return ct_hu.reshape(SHAPE)


def _read_dose(path: Path) -> npt.NDArray[np.float32]:
    index, dose_gy = read_entries(path)
    if index.size and (dose_gy.min() < 0 or dose_gy.max() > _DOSE_MAX_GY):
        found = f"doses run from {dose_gy.min():g} to {dose_gy.max():g} Gy, expected 0 to {_DOSE_MAX_GY:g}."
        raise DataError(path, path.parent.name, found, "Store the dose in Gy.")
    dose = np.zeros(SIZE, np.float32)
    dose[index] = dose_gy
    return dose.reshape(SHAPE)


def _read_mask(path: Path) -> npt.NDArray[np.bool_]:
    index = read_index(path)
    if not index.size:
        remedy = "Delete the file if the structure is not known, or export it again."
        raise DataError(path, path.parent.name, "there is no voxel in it.", remedy)
    mask = np.zeros(SIZE, np.bool_)
    mask[index] = True
    return mask.reshape(SHAPE)
