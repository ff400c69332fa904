"""An export of synthetic thoraxes, as clinics have them: mixed names, two prescriptions, a patient with two plans."""

from __future__ import annotations

from datetime import datetime

import pydicom

from ctan_monai.data.dicom.write import Prescription, SeededUids
from ctan_monai.data.dicom.write.reference import CtReference
from ctan_monai.data.dicom.write.rtdose import write_rtdose
from ctan_monai.data.dicom.write.rtplan import write_rtplan
from ctan_monai.data.phantom import PhantomGrid, make_patient, write_patient_dicom
from ctan_monai.data.phantom.write import origin_of

GRID = PhantomGrid(rows=64, columns=92, slices=14, row_mm=5.0, column_mm=5.0, slice_mm=8.0, region="thorax")
NAMES = (
    {"External": "BODY", "Trachea": "zHelp"},  # one trachea is contoured as something else
    {"Heart": "Herz", "Lung_L": "Lunge links", "Lung_R": "Lunge re", "SpinalCord": "Myelon",
     "Esophagus": "Oesophagus", "Trachea": "Luftroehre", "Breast_L": "Mamma li", "CTV": "CTV_Mamma",
     "PTV": "PTV 40.05", "External": "Aussenkontur"},
    {"Heart": "OAR_Heart", "Lung_L": "Lt Lung", "Lung_R": "LUNG RT", "SpinalCord": "Spinal Cord 1",
     "Esophagus": "Esophagus_final", "Breast_L": "Breast LT", "CTV": "CTVbreast", "PTV": "PTV5000",
     "External": "Body"},
)  # fmt: skip
PRESCRIPTIONS = (Prescription(50.0, 25), Prescription(40.05, 15))
_TIME = datetime(2001, 2, 3, 4, 5, 6)


def write_export(folder, patients=5):
    """Write patients; the last has a boost, a second plan on the same structure set."""
    for number in range(1, patients + 1):
        uids = SeededUids("thorax export", number)
        patient = make_patient((5, number), GRID, prescription=PRESCRIPTIONS[number % 2], dose_mm=5.0)
        place = folder / f"Doe_{number}"
        names = NAMES[number % len(NAMES)]
        write_patient_dicom(patient, place, lambda: _TIME, uids, number=number, names=names)
    add_plan(place, patient, uids)
    return folder


def add_plan(place, patient, uids):
    """Add a second plan with its dose, of a fifth of the first."""
    reference = CtReference.read(sorted(place.glob("CT.*.dcm")))
    said = {"clock": lambda: _TIME, "uid_source": uids}
    structures = pydicom.dcmread(place / "RS.dcm", stop_before_pixels=True).SOPInstanceUID
    plan = write_rtplan(Prescription(10.0, 5), structures, reference, place / "RP2.dcm", origin_of("thorax"), **said)
    dose_gy, affine_ras = patient.dose_gy * 0.2, patient.dose_affine_ras
    write_rtdose(dose_gy, affine_ras, reference, place / "RD2.dcm", origin_of("thorax"), plan_uid=plan.uid, **said)
