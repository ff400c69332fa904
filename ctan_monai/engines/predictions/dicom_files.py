"""Files of one CT's predictions: RTSTRUCT, RTPLAN, RTDOSE, SEG, and NIfTI on the CT's grid."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.data.dicom.read.ct_slice import read_ct_slice, read_mr_slice
from ctan_monai.data.dicom.write import (
    Clock,
    CtReference,
    Origin,
    Prescription,
    UidSource,
    Written,
    new_uid,
    write_rtdose,
    write_rtplan,
    write_rtstruct,
    write_seg,
)
from ctan_monai.data.formats.ct_source import CtSource
from ctan_monai.data.formats.nifti import read_nifti_case, write_nifti
from ctan_monai.errors import DataError

Array = np.ndarray[Any, Any]
FORMATS = ("rtstruct", "rtdose", "seg", "nifti")
_NAMES = {"rtstruct": "RS.dcm", "rtplan": "RP.dcm", "rtdose": "RD.dcm", "seg": "SEG.dcm"}


@dataclass
class FilesOfCt:
    """Write the predictions for one CT; failures are recorded, and the rest is written.

    Args:
        folder: for the files; none in it is replaced.
        source: the CT.
        origin: what made the prediction.
        prescription: that the dose was trained on; None if it is not known.
        clock: tells the time.
        uid_source: gives UIDs.

    Attributes:
        files: what was written, by kind.
        problems: what was not, and why.
    """

    folder: Path
    source: CtSource
    origin: Origin
    prescription: Prescription | None = None
    clock: Clock = datetime.now
    uid_source: UidSource = new_uid
    files: dict[str, Path] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def write_dicom(self, formats: Collection[str], structures: Mapping[str, Array], dose_gy: Array | None) -> None:
        """Write DICOM objects in the order of their references; a dose comes with the plan that it needs.

        Args:
            formats: of them rtstruct, rtdose and seg are heeded.
            structures: masks on the CT's grid, by name; empty ones get no entry.
            dose_gy: on the CT's grid.
        """
        try:
            reference = CtReference.read(self.source.files, modality=self.source.modality)
        except DataError as error:
            self.problems.append(f"DICOM: {error.reason}")
            return
        grid = self.source.affine_ras
        held = {name: mask for name, mask in structures.items() if mask.any()}
        drawn = (
            self._write("rtstruct", write_rtstruct, held, grid, reference) if "rtstruct" in formats and held else None
        )
        if "rtdose" in formats and dose_gy is not None:
            plan = self._write("rtplan", write_rtplan, self.prescription, drawn, reference)
            self._write("rtdose", write_rtdose, dose_gy, grid, reference, plan_uid=plan)
        if "seg" in formats and held:
            self._write("seg", write_seg, held, grid, reference)

    def _write(self, kind: str, make: Callable[..., Written], *what: Any, **more: Any) -> str | None:
        """Write one object and return its UID, or record why that failed."""
        said = {"clock": self.clock, "uid_source": self.uid_source, **more}
        try:
            made = make(*what, self.folder / _NAMES[kind], self.origin, **said)
        except DataError as error:
            self.problems.append(f"{kind}: {error.reason}")
            return None
        except Exception as error:
            # One odd CT must not stop a night's work; the message of what happened may quote the patient's data.
            self.problems.append(f"{kind}: an unexpected {type(error).__name__} occurred.")
            return None
        self.files[kind] = made.path
        return made.uid

    def write_nifti(self, arrays: Mapping[str, Array]) -> None:
        """Write arrays on the CT's grid, and the CT (or MR) itself, as NIfTI.

        Args:
            arrays: by file name; bool or float32.
        """
        try:
            for name, array in {f"{self.source.modality.lower()}.nii.gz": self._image(), **arrays}.items():
                path = self.folder / "nifti" / name
                if path.exists():
                    raise DataError(path, None, "a file of this name exists, and is not replaced.", "")
                write_nifti(array, self.source.affine_ras, path)
        except DataError as error:
            self.problems.append(f"nifti: {error.reason}")
            return
        self.files["nifti"] = self.folder / "nifti"

    def _image(self) -> Array:
        """Return the CT on its own grid, int16 HU, or the MR as it was scanned, float32."""
        modality = self.source.modality
        if not self.source.dicom:
            return read_nifti_case(self.source.files[0], modality).volumes[modality.lower()]
        if len(self.source.files) != self.source.shape[2]:
            lacking = self.source.shape[2] - len(self.source.files)
            raise DataError(self.folder, None, f"{lacking} slices of the CT are missing.", "Write DICOM.")
        read = read_ct_slice if modality == "CT" else read_mr_slice
        return np.stack([read(path).hu for path in self.source.files]).T  # (columns, rows, slices)
