"""Read tiny patients through the whole path: files, scan, link, select, case."""

import itertools

import pytest

from ctan_monai.data.dicom.read.link import link
from ctan_monai.data.dicom.read.options import DicomOptions
from ctan_monai.data.dicom.read.patient import read_patient
from ctan_monai.data.dicom.read.scan import scan
from ctan_monai.data.dicom.read.select import select


@pytest.fixture
def read_folder():
    """Read the one case that a folder holds."""

    def read(folder, **options):
        chosen = DicomOptions(**options)
        linked, unlinked = link(scan(folder, progress=False).objects)
        assert len(linked) == 1, linked
        assert not unlinked, unlinked
        return read_patient(select(linked[0], chosen), "case_1", chosen)

    return read


@pytest.fixture
def read(tmp_path, read_folder):
    """Write a patient, some of its objects replaced, and read it."""

    count = itertools.count()

    def run(patient, objects=None, **options):
        folder = tmp_path / f"in{next(count)}"
        patient.write(folder, **(objects or {}))
        return read_folder(folder, **options)

    return run
