"""Synthetic phantoms of pelvis and thorax as DICOM, because real data of radiotherapy are seldom public.

``make_patient`` draws anatomy, CT, contours and dose from a seed, ``write_patient_dicom`` writes CT, RTSTRUCT, RTPLAN
and RTDOSE, ``make_cohort`` a folder of patients. Everything is called synthetic, in the files too. Nothing trained
from it says anything about patients.
"""

from ctan_monai.data.phantom.cohort import Cohort, make_cohort
from ctan_monai.data.phantom.grid import PhantomGrid
from ctan_monai.data.phantom.patient import STRUCTURES, Patient, make_patient
from ctan_monai.data.phantom.write import write_patient_dicom

__all__ = ["STRUCTURES", "Cohort", "Patient", "PhantomGrid", "make_cohort", "make_patient", "write_patient_dicom"]
