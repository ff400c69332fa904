"""Write the sample of OpenKBP patients that a bundle carries for a first run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ctan_monai.data.cases.cache import CASE_SUFFIX, write_case
from ctan_monai.data.datasets.openkbp.reader import find_patients, read_case
from ctan_monai.errors import DataError

SAMPLE = {
    "train": ("pt_25", "pt_31", "pt_74", "pt_84"),  # each has all four organs of the CTAN paper
    "validation": ("pt_226",),
    "test": ("pt_232",),  # one of OpenKBP's validation patients: the sample was cut from those two splits
}


def write_sample(
    dataset_dir: str | Path, sample_dir: str | Path, patients: Mapping[str, Sequence[str]] | None = None
) -> list[Path]:
    """Write ``<sample_dir>/<split>/<patient>.case``.

    Args:
        dataset_dir: folder of OpenKBP's data.
        sample_dir: where to write.
        patients: names by the split of the sample, from any of OpenKBP's splits; by default the committed ones.

    Returns:
        The files.

    Raises:
        DataError: a patient is not there or cannot be read.
    """
    folders = {folder.name: folder for found in find_patients(dataset_dir).values() for folder in found}
    written = []
    for split, names in (SAMPLE if patients is None else patients).items():
        for name in names:
            if name not in folders:
                raise DataError(dataset_dir, name, "there is no such patient.", "Download the whole of OpenKBP.")
            path = Path(sample_dir) / split / f"{name}{CASE_SUFFIX}"
            write_case(path, read_case(folders[name]), fingerprint="OpenKBP sample")
            written.append(path)
    return written
