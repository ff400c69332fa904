"""A synthetic patient on a small grid of non-square pixels, and what was written of it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from ctan_monai.data.dicom.write import SeededUids
from ctan_monai.data.phantom import Patient, PhantomGrid, make_patient, write_patient_dicom

GRID = PhantomGrid(rows=112, columns=144, slices=40, row_mm=2.9, column_mm=3.3, slice_mm=4.0)


@pytest.fixture(scope="session")
def grid() -> PhantomGrid:
    return GRID


@pytest.fixture(scope="session")
def patients() -> list[Patient]:
    return [make_patient(seed, GRID) for seed in range(4)]


@pytest.fixture(scope="session")
def patient(patients: list[Patient]) -> Patient:
    return patients[0]


@pytest.fixture(scope="session")
def folder(patient: Patient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "PHANTOM003"
    return write_patient_dicom(patient, path, lambda: datetime(2001, 2, 3, 4, 5, 6), SeededUids(0), number=3)
