"""Which file in a patient's folder is the MR, the CT or a mask, by its name.

<patient>/T2.nii.gz, CT.nii.gz, Prostate.nii.gz ...                            a mask for each structure
<patient>/mr.nii.gz, ct.nii.gz, masks/bladder.nii.gz ...                       or in a folder of masks
<patient>/t2.nii.gz, ct.nii.gz, organs.nii.gz, organs.json                     or a label map, with its numbers' names
<patient>/MR_T1_image.nii.gz, MR_T1_mask.nii.gz, CT_image.nii.gz, CT_mask.nii.gz   IBSI's soft-tissue sarcomas
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ctan_monai.data.dicom.read.names import StructureNames
from ctan_monai.data.formats.nifti import is_nifti
from ctan_monai.errors import DataError

TUMOR = "GTV"  # TG-263's name of what IBSI's masks show
MASK_FOLDERS = ("masks", "structures", "labels")
_MR = re.compile(r"(mri?|t[12]w?)([_-]?t[12]w?)?([_-]?(image|img))?")
_CT = re.compile(r"ct([_-]?(image|img))?")
_LESION = re.compile(r"(?P<grid>mri?|ct|t[12]w?)([_-]?t[12]w?)?[_-]?mask")


@dataclass(frozen=True)
class PatientFiles:
    """The files of one patient.

    Args:
        patient: name of the folder.
        mr: the MR.
        ct: the CT, None where there is none.
        masks: by structure.
        numbers: of a structure in a label map, its number there.
        mask_on_ct: of a structure in ``masks``, the same drawn on the CT, None if there is none.
    """

    patient: str
    mr: Path
    ct: Path | None
    masks: Mapping[str, Path] = field(default_factory=dict)
    mask_on_ct: Path | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)


def stem_of(path: Path) -> str:
    """Return a NIfTI file's name without its ending."""
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def is_mr(path: Path) -> bool:
    """Tell whether a file is a NIfTI file with an MR's name."""
    return is_nifti(path) and _MR.fullmatch(stem_of(path).lower()) is not None


def is_patient(folder: Path) -> bool:
    """Tell whether a folder holds an MR or a CT."""
    return any(is_mr(path) or _CT.fullmatch(stem_of(path).lower()) for path in _nifti_in(folder))


def find_patients(root: str | Path) -> list[Path]:
    """Return the patients' folders: those in a folder that hold an MR or a CT.

    Raises:
        DataError: there is none.
    """
    root = Path(root)
    found = [path for path in sorted(root.glob("[!.]*")) if path.is_dir() and is_patient(path)]
    if not found:
        reason = (
            "no patient was found; looked for folders with an MR (mr, t1, t2, MR_T1_image) and a CT (ct, CT_image) as "
            ".nii or .nii.gz."
        )
        raise DataError(root, None, reason, "Give the folder that holds a folder for each patient.")
    return found


def files_of(folder: Path, names: Mapping[str, Sequence[str]] | None = None, mr: str | None = None) -> PatientFiles:
    """Say which files a patient's folder holds.

    Args:
        folder: of the patient.
        names: the data's own names of structures by the names they shall have, see `StructureNames`.
        mr: name of the MR's file without ending, where there are several.

    Raises:
        DataError: there is no MR, or more than one, or two CTs or masks of one structure.
    """
    files = _nifti_in(folder)
    wanted = [path for path in files if (is_mr(path) if mr is None else stem_of(path).lower() == mr.lower())]
    if len(wanted) != 1:
        listed = [path.name for path in wanted or files]
        reason = f"{listed} could be its MR." if wanted else f"it has no MR, only {listed}."
        remedy = "Name the MR's file without ending: --mr t2." if wanted else "Call the MR mr, t1 or t2, or give --mr."
        raise DataError(folder, folder.name, reason, remedy)
    cts = [path for path in files if _CT.fullmatch(stem_of(path).lower())]
    if len(cts) > 1:
        raise DataError(folder, folder.name, f"{[path.name for path in cts]} could be its CT.", "Leave one of them.")
    others = [path for path in files if path not in (*wanted, *cts) and not is_mr(path)]
    others += [path for name in MASK_FOLDERS for path in _nifti_in(folder / name)]
    masks, on_ct, numbers = _masks(folder, others, names)
    return PatientFiles(folder.name, wanted[0], cts[0] if cts else None, masks, on_ct, numbers)


def _nifti_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("[!.]*")) if path.is_file() and is_nifti(path)]


def label_numbers(path: Path) -> dict[str, int] | None:
    """Return the numbers of a label map by name, from the JSON beside it; None without one.

    Its ``labels`` are names by number, as of the Medical Segmentation Decathlon, or numbers by name, as of nnU-Net;
    0 is what belongs to none.

    Raises:
        DataError: they are something else.
    """
    beside = path.with_name(f"{stem_of(path)}.json")
    if not beside.is_file():
        return None
    try:
        found = json.loads(beside.read_text(encoding="utf-8")).get("labels")
        if found is None:  # what dcm2niix writes
            return None
        by_name = {str(name): str(number) for name, number in found.items()}
        if all(name.isdecimal() for name in by_name):
            by_name = {number: name for name, number in by_name.items()}
        numbers = {name: int(number) for name, number in by_name.items()}
        if len(numbers) != len(found) or len(set(numbers.values())) != len(found) or min(numbers.values()) < 0:
            raise ValueError("a name or number stands twice, or is negative")
    except (OSError, ValueError, AttributeError) as error:
        remedy = 'Write {"labels": {"1": "Prostate", ...}}.'
        raise DataError(
            beside, path.parent.name, f"it does not name the numbers of {path.name} ({error}).", remedy
        ) from error
    return {name: number for name, number in numbers.items() if number > 0}


def _masks(
    folder: Path, files: Sequence[Path], names: Mapping[str, Sequence[str]] | None
) -> tuple[dict[str, Path], Path | None, dict[str, int]]:
    """Return masks by structure, the lesion's on the CT where there is one on the MR too, and numbers in label maps."""
    lesions: dict[str, Path] = {}
    rest: list[tuple[str, Path, int | None]] = []  # name, file, number
    for path in files:
        numbers = label_numbers(path)
        found = _LESION.fullmatch(stem_of(path).lower())
        if numbers is not None:
            rest += [(name, path, number) for name, number in numbers.items()]
        elif found is None:
            rest.append((stem_of(path), path, None))
        else:
            lesions["ct" if found["grid"] == "ct" else "mr"] = path
    matched = StructureNames(names).match([name for name, _, _ in rest])
    if matched.ambiguous:
        reason = "; ".join(f"{list(found)} could all be {name}" for name, found in matched.ambiguous.items())
        raise DataError(folder, folder.name, f"{reason}.", "Leave one of them, or say which by --names FILE.")
    known = {name: rest[position] for name, position in matched.found.items()}
    known |= {each[0]: each for each in rest if each[0] in matched.unknown}
    masks = {name: path for name, (_, path, _) in known.items()}
    in_maps = {name: number for name, (_, _, number) in known.items() if number is not None}
    if lesions:
        masks[TUMOR] = lesions.get("mr", lesions.get("ct", Path()))
        in_maps.pop(TUMOR, None)
    return masks, lesions.get("ct") if len(lesions) == 2 else None, in_maps
