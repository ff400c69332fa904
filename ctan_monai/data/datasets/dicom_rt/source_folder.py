"""The data of bundles on radiotherapy DICOM: a clinic's export, a prepared folder, or synthetic patients."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.aliases import takes_old_arguments
from ctan_monai.data.cases.cache import read_header
from ctan_monai.data.datasets.dicom_rt.datalist import read_datalist
from ctan_monai.data.datasets.dicom_rt.prepare import KEY, prepare_dicom
from ctan_monai.data.datasets.dicom_rt.prepared_folder import DATALIST
from ctan_monai.data.datasets.dicom_rt.prescriptions import table_path
from ctan_monai.data.dicom.read.names import read_mapping
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.data.lists.splits import SPLITS
from ctan_monai.data.phantom.cohort import make_cohort
from ctan_monai.data.phantom.grid import PhantomGrid
from ctan_monai.data.phantom.patient import PHANTOM_VERSION
from ctan_monai.errors import ConfigError
from ctan_monai.files.atomic import replacing

_logger = logging.getLogger(__name__)
_PIXEL_TOLERANCE = 0.01  # share by which a pixel may differ from the size that is asked for
_OPEN_KEY = "0" * 64  # of the synthetic patients' pseudonyms: they have nothing to hide, and are called alike anywhere


@takes_old_arguments("data.prepared_folder")
def prepared_folder(
    dataset_dir: str | Path | None,
    cache_dir: str | Path,
    pixel_mm: float | None = 3.0,
    names: str | Path | Mapping[str, Sequence[str]] | None = None,
    prescription_gy: float | str | Path | None = None,
    normalize_to_gy: float | None = None,
    options: Mapping[str, Any] | None = None,
    phantoms: int = 20,
    phantom_grid: PhantomGrid | None = None,
    seed: int = 0,
    split_fractions: Sequence[float] = (0.7, 0.15, 0.15),
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Return a folder of prepared cases: the given one, or prepared from DICOM or synthetic patients.

    Args:
        dataset_dir: what ``ctan-monai prepare dicom`` wrote, recognized by its ``datalist.json``; a folder of DICOM;
            or None for synthetic patients, which are written as DICOM and then read like a clinic's.
        cache_dir: where to prepare DICOM, and to make the synthetic patients; what is there is used again.
        pixel_mm: pixel size within the slices; None for the CT's own.
        names: the data's own names of structures: a YAML file, or names by TG-263 name; see ``names.read_mapping``.
        prescription_gy: what was prescribed, instead of what RTPLANs say: Gy, 'names' (see ``DicomOptions``), or a
            table by patient (see `read_prescriptions`), which is read when DICOM is prepared.
        normalize_to_gy: scale each dose so that its prescription becomes this many Gy.
        options: further settings of ``DicomOptions``.
        phantoms: how many synthetic patients.
        phantom_grid: voxels of their CT.
        seed: of the split.
        split_fractions: of training, validation and test.
        workers: processes that prepare; None for one per processor.
        progress: show bars.

    Raises:
        DataError: the data are missing, or cannot be read or written.
        ConfigError: a setting has an unknown value, or a prepared folder was prepared with another.
    """
    if isinstance(names, str | Path) and str(names):
        names = read_mapping(Path(names).expanduser())  # a run's settings say ~ for the user's folder
    table = table_path(prescription_gy)
    own = {
        "names": names or {},
        "prescription_gy": None if table else prescription_gy,
        "normalize_to_gy": normalize_to_gy,
        "pixel_mm": pixel_mm,
    }
    settings = DicomOptions(**{**_known(options or {}, own), **own})
    if dataset_dir is not None and (Path(str(dataset_dir)) / DATALIST).is_file():
        if table:
            reason = f"{dataset_dir} is prepared already; a table of prescriptions is read when DICOM is."
            raise ConfigError("prescription_gy", reason, f"Leave it out, or prepare with --prescription {table}.")
        return _as_prepared(Path(str(dataset_dir)), settings)
    if dataset_dir is None or str(dataset_dir) == "":
        source, target = _synthetic(Path(cache_dir), phantoms, phantom_grid or PhantomGrid(), progress)
    else:
        source, target = Path(str(dataset_dir)), Path(cache_dir)
    how: dict[str, Any] = {"workers": workers, "seed": seed, "split_fractions": split_fractions, "progress": progress}
    made = prepare_dicom(source, target, settings, prescriptions=table, **how)
    return made.datalist.parent


def _known(options: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Check further options of reading DICOM: known, and without a bundle option of their own."""
    allowed = sorted({each.name for each in fields(DicomOptions)} - own.keys())
    if not isinstance(options, Mapping) or not set(options) <= set(allowed):
        raise ConfigError("dicom", f"{options!r} was found.", f"Give some of {allowed}, as {{'boost': 'sum'}}.")
    return options


def _synthetic(cache_dir: Path, patients: int, grid: PhantomGrid, progress: bool) -> tuple[Path, Path]:
    """Create synthetic patients; return the folders of their DICOM and for the cases."""
    if patients < len(SPLITS):
        raise ConfigError("phantoms", f"{patients} was found.", "Make at least 3, one for each split.")
    kind = json.dumps([PHANTOM_VERSION, patients, grid.to_json()])
    root = cache_dir / f"synthetic_{hashlib.blake2b(kind.encode(), digest_size=4).hexdigest()}"
    _logger.warning(
        "the data are SYNTHETIC: %d phantoms, computed from random numbers, in %s; a network trained on them says "
        "nothing about patients; give --dataset_dir for real ones",
        patients,
        root,
    )
    cohort = make_cohort(root / "dicom", patients, grid=grid, progress=progress)
    key = root / "prepared" / KEY
    if not key.exists():
        with replacing(key) as temporary:
            temporary.write_text(_OPEN_KEY + "\n", encoding="ascii")
    return cohort.folder, key.parent


def _as_prepared(folder: Path, wanted: DicomOptions) -> Path:
    """Check that a prepared folder was prepared with the given options."""
    content = read_datalist(folder)
    had, remedy = content["options"], "Prepare the data with it, or leave it out here."
    for name, value in wanted.to_json().items():
        if name != "pixel_mm" and value != getattr(DicomOptions(), name) and _as_json(value) != had.get(name):
            raise ConfigError(name, f"{folder} was prepared with {had.get(name)!r}, {value!r} was asked for.", remedy)
    if wanted.pixel_mm is not None:
        for split in SPLITS:
            for item in content[split]:
                _check_pixel(folder / item["file"], wanted.pixel_mm)
    return folder


def _check_pixel(file: Path, pixel_mm: float) -> None:
    found = np.linalg.norm(np.array(read_header(file).affine_ras)[:3, :2], axis=0).tolist()
    if any(abs(each - pixel_mm) > _PIXEL_TOLERANCE * pixel_mm for each in found):
        sizes = " x ".join(f"{each:g}" for each in found)
        raise ConfigError(
            "pixel_mm",
            f"{file} has pixels of {sizes} mm, expected {pixel_mm:g} mm.",
            f"Prepare the data with --pixel-mm {pixel_mm:g}, or give --pixel_mm {found[0]:g}, or --pixel_mm None for "
            "pixels as they are.",
        )


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
