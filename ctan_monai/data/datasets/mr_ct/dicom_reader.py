"""Read MR series in DICOM, alone or with CT and structures, onto the MR's grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctan_monai.data.cases.body import TISSUE_HU
from ctan_monai.data.cases.cache import CaseCache
from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.file_grid import Grid
from ctan_monai.data.datasets.mr_ct.checks import check_bodies
from ctan_monai.data.datasets.mr_ct.dicom import MrStudy
from ctan_monai.data.datasets.mr_ct.reader import CT, NOTES, READER_VERSION, REGION, PairReader, ReadMr, grid_name
from ctan_monai.data.dicom.read.link import Linked
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.data.dicom.read.patient import read_patient
from ctan_monai.data.dicom.read.registration import read_registration
from ctan_monai.data.dicom.read.select import select
from ctan_monai.data.dicom.read.series import MrSeries, read_mr_series
from ctan_monai.data.dicom.read.structures import Drawn, read_structures
from ctan_monai.data.dicom.write.reference import CtReference
from ctan_monai.data.formats.ct_source import CtSource, read_source, write_source
from ctan_monai.errors import DataError

_DOSE_REGION = "dose_region"
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class DicomPairReader:
    """Reads the studies of a folder.

    Args:
        root: the folder, for messages, which name no files: they may be called as patients are.
        pairs: how.
        studies: by the path of the first image.
        with_ct: read the CT and its structures, too.
    """

    root: Path
    pairs: PairReader
    studies: Mapping[Path, MrStudy]
    with_ct: bool = False

    def state(self, source: Path) -> str:
        """Return what a case depends on beside its files."""
        return f"{self.pairs} {self.studies[source].damaged} {self.with_ct}"

    def beside(self, source: Path) -> list[Path]:
        """Return the files that a case depends on beside its first image."""
        study = self.studies[source]
        return [each.path for each in (study.objects() if self.with_ct else study.images) if each.path != source]

    def _options(self) -> DicomOptions:
        names = {name: tuple(names) for name, names in (self.pairs.names or {}).items()}
        return DicomOptions(names=names, need=(), axcodes=None)

    def __call__(self, source: Path) -> Case:
        """Read a case.

        Raises:
            DataError: something is missing or damaged, or does not belong together; of the case, without file names.
        """
        study = self.studies[source]
        try:
            return self._read(study)
        except DataError as error:
            number = study.images[0].number or "unknown"
            reason = f"MR of SeriesNumber {number}, {len(study.images)} images: {error.reason}"
            raise DataError(self.root, study.case, reason, error.remedy) from error

    def _read(self, study: MrStudy) -> Case:
        if study.problem:
            remedy = "Say which by --mr: its SeriesDescription or SeriesNumber."
            raise DataError(self.root, study.case, study.problem, remedy)
        if study.damaged:
            reason = f"{study.damaged} files beside its images look like DICOM and cannot be read; it may lack a slice."
            raise DataError(self.root, study.case, reason, "Export it again, or take them out.")
        series = read_mr_series([image.path for image in study.images])
        affine_ras = series.grid.affine_ras[:, [1, 0, 2, 3]]  # columns, rows, slices, as NIfTI has them
        mr = self.pairs.on_its_grid(series.signal.transpose(1, 0, 2), affine_ras, self.root, study.case, [])
        synthetic = any(image.synthetic for image in study.images)
        if not self.with_ct:
            return mr.to_case({}, {REGION: mr.body}, synthetic)
        ct, grid = self._ct_of(study, series, mr)
        values, body, covered = mr.with_ct(ct.volumes[CT], grid, self.root, "the CT")
        check_bodies(self.root, study.case, mr.body & covered, values > TISSUE_HU)
        masks = {name: mr.with_mask(mask, grid) for name, mask in ct.masks.items() if name != _DOSE_REGION}
        for name, mask in self._drawn_on(study, series, mr).items():
            if name in masks:
                reason = f"{name} was drawn on the MR and on the CT."
                raise DataError(self.root, study.case, reason, "Leave one of its structure sets.")
            masks[name] = mask
        return mr.to_case({CT: values}, {**masks, REGION: body & covered}, synthetic)

    def _drawn_on(self, study: MrStudy, series: MrSeries, mr: ReadMr) -> dict[str, Any]:
        """Return the masks of the structure sets that were drawn on the MR."""
        masks: dict[str, Any] = {}
        own = Grid((series.signal.shape[1], series.signal.shape[0], series.signal.shape[2]), mr.own.affine_ras)
        for header in study.drawn:
            drawn = Drawn(series.frame_uid, frozenset(series.sop_uids), header.frame_images)
            found = read_structures(header.path, series.grid, drawn, self._options())
            mr.notes.extend(found.notes)
            for name, mask in found.masks.items():
                if name in masks:
                    reason = f"{name} stands in two structure sets that were drawn on the MR."
                    raise DataError(self.root, study.case, reason, "Leave one of them.")
                masks[name] = mr.with_mask(mask.transpose(1, 0, 2), own)
        return masks

    def _ct_of(self, study: MrStudy, series: MrSeries, mr: ReadMr) -> tuple[Case, Grid]:
        """Return the CT with its structures, and its grid in the MR's frame of reference."""
        linked, to_mr = _in_frame(self.root, study, series.frame_uid)
        options = self._options()
        case = read_patient(select(linked, options), study.case, options)
        mr.notes.extend(case.meta[NOTES])
        if to_mr is not None:
            mr.notes.append("the CT is brought to the MR's frame of reference by a spatial registration object")
        affine_ras = case.affine_ras if to_mr is None else _LPS @ to_mr @ _LPS @ case.affine_ras
        return case, Grid(case.shape, affine_ras)


def _in_frame(root: Path, study: MrStudy, frame_uid: str) -> tuple[Linked, Any]:
    """Return the only CT in the MR's frame of reference, or brought there by a registration with its matrix.

    Raises:
        DataError: there is none, or more than one.
    """
    if not study.cts:
        raise DataError(root, study.case, "its patient has no CT; training needs both.", "Add it, or leave the MR out.")
    found: list[tuple[Linked, Any]] = [(ct, None) for ct in study.cts if frame_uid and ct.ct[0].frame_uid == frame_uid]
    for ct in study.cts if not found else ():
        matrices = [read_registration(each.path, ct.ct[0].frame_uid, frame_uid) for each in study.registrations]
        found += [(ct, matrix) for matrix in matrices if matrix is not None]
    if len(found) == 1:
        return found[0]
    if found:
        reason = f"{len(found)} CT series (or registrations of them) lie in its frame of reference."
        raise DataError(root, study.case, reason, "Leave one of them.")
    reason = (
        f"its frame of reference is that of none of {len(study.cts)} CT series, and none of {len(study.registrations)} "
        "spatial registration objects relates them."
    )
    raise DataError(root, study.case, reason, "Add the registration (REG), or resample the CT to the MR as NIfTI.")


class DicomMrCache(CaseCache):
    """A cache of MR that came as DICOM, with a description of each case's source beside it.

    Args:
        cache_dir: the folder.
        reader: of its studies.
    """

    def __init__(self, cache_dir: Path, reader: DicomPairReader) -> None:
        self.studies = reader.studies
        super().__init__(cache_dir / grid_name(reader.pairs), reader, READER_VERSION)

    def name_of(self, source: Path) -> str:
        """Return the pseudonym of a case."""
        return self.studies[source].case

    def get(self, source: str | Path, others: Iterable[Path] | None = None) -> Path:
        """Return the cached file of a case, and see that its source is described."""
        file, wanted = super().get(source, others), self.fingerprint(source)
        try:
            known = read_source(file).fingerprint
        except DataError:
            known = ""
        if known != wanted:
            paths = {image.sop_uid: image.path for image in self.studies[Path(source)].images}
            mr = CtReference.read(paths.values(), modality=None)
            uids = tuple(str(header.SOPInstanceUID) for header in mr.headers)
            shape = (int(mr.first.Columns), int(mr.first.Rows), len(uids))
            files = tuple(paths[uid] for uid in uids)
            write_source(CtSource(file.name, shape, mr.affine_ras, files, uids, fingerprint=wanted), file)
        return file
