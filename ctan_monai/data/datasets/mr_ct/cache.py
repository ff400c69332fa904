"""The caches of patients with MR and CT, and of MR alone."""

from __future__ import annotations

from pathlib import Path

from ctan_monai.data.cases.cache import CaseCache
from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.mr_ct.layout import files_of, is_mr, is_patient, stem_of
from ctan_monai.data.datasets.mr_ct.reader import READER_VERSION, PairReader, grid_name
from ctan_monai.data.formats.nifti import is_nifti
from ctan_monai.files.duplicates import check_ids


class PatientCache(CaseCache):
    """A cache of patients with MR and CT, in a folder for each pixel size.

    Args:
        cache_dir: the folder.
        reader: of patients.
    """

    def __init__(self, cache_dir: Path, reader: PairReader) -> None:
        super().__init__(cache_dir / grid_name(reader), reader, READER_VERSION)


class MrCache(CaseCache):
    """A cache of MR alone.

    Args:
        cache_dir: the folder.
        reader: of which ``read_mr`` is used.
    """

    def __init__(self, cache_dir: Path, reader: PairReader) -> None:
        self.pairs = reader
        super().__init__(cache_dir / grid_name(reader), self.read, f"{READER_VERSION} {reader}")

    def read(self, source: Path) -> Case:
        """Read an MR."""
        return self.pairs.read_mr(source, self.name_of(source))

    def name_of(self, source: Path) -> str:
        """Return the id of an MR's case: its patient's folder where the file is called as any MR, else the file.

        Raises:
            DataError: that cannot be an id.
        """
        named = source.parent.resolve().name if self._is_the_mr(source) else stem_of(source)
        return super().name_of(source.with_name(f"{named}.nii"))

    def find(self, source: Path) -> list[Path]:
        """Return the MR in a file, a patient's folder, or a folder of either; none where there is no NIfTI.

        Raises:
            DataError: two would have one name.
        """
        if source.is_file():
            found = [source] if is_nifti(source) else []
        elif source.is_dir() and is_patient(source):
            found = [files_of(source, None, self.pairs.mr).mr]
        else:
            inside = [path for path in sorted(source.glob("[!.]*")) if path.is_dir() and is_patient(path)]
            found = [files_of(path, None, self.pairs.mr).mr for path in inside]
            found = found or [path for path in sorted(source.glob("[!.]*")) if path.is_file() and is_nifti(path)]
        check_ids({path: self.name_of(path) for path in found})
        return found

    def _is_the_mr(self, source: Path) -> bool:
        return is_mr(source) if self.pairs.mr is None else stem_of(source).lower() == self.pairs.mr.lower()
