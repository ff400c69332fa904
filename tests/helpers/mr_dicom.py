"""Volumes as single-frame DICOM series, as a scanner would have made them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.1"


class DicomPatient:
    """A patient of whom series are written, into one study and one frame of reference unless another is given."""

    def __init__(self, folder: Path, patient_id: str = "MRN-77") -> None:
        self.folder, self.patient_id = folder, patient_id
        self.study_uid, self.frame_uid = generate_uid(), generate_uid()

    def _object(self, modality: str, sop_class: str, series_uid: str, frame_uid: str | None) -> Dataset:
        made = Dataset()
        made.SOPClassUID, made.SOPInstanceUID, made.Modality = sop_class, generate_uid(), modality
        made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = "Doe^Jane", self.patient_id, "", "F"
        made.StudyInstanceUID, made.SeriesInstanceUID = self.study_uid, series_uid
        made.FrameOfReferenceUID = frame_uid or self.frame_uid
        made.StudyDate = made.StudyTime = made.StudyID = made.AccessionNumber = made.ReferringPhysicianName = ""
        made.file_meta = FileMetaDataset()
        made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = (
            sop_class,
            made.SOPInstanceUID,
        )
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        return made

    def write(self, modality, values, affine_ras, name=None, number=1, frame_uid=None, slope=1.0, intercept=0.0):
        """Write a volume (columns, rows, slices); returns the files, in the order of slices."""
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_ras
        steps = lps[:3, :3].T
        sizes = np.linalg.norm(steps, axis=1)
        series_uid, files = generate_uid(), []
        folder = self.folder / (name or modality)
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(values.shape[2]):
            made = self._object(modality, CLASSES[modality], series_uid, frame_uid)
            made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            made.SeriesNumber, made.SeriesDescription, made.InstanceNumber = number, name or modality, index + 1
            made.ImagePositionPatient = [float(f"{v:.6f}") for v in lps[:3, 3] + index * steps[2]]
            made.ImageOrientationPatient = [float(f"{v:.8f}") for v in (*steps[0] / sizes[0], *steps[1] / sizes[1])]
            made.PixelSpacing, made.SliceThickness = [float(sizes[1]), float(sizes[0])], float(sizes[2])
            made.PatientPosition = "HFS"
            made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
            made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
            if modality == "CT" or slope != 1 or intercept != 0:
                made.RescaleSlope, made.RescaleIntercept = slope, intercept
            stored = np.rint((values[..., index].T - intercept) / slope).astype("<i2")
            made.Rows, made.Columns = stored.shape
            made.PixelData = stored.tobytes()
            files.append(folder / f"{(7 * index + 3) % 997}.img")
            made.save_as(files[-1], enforce_file_format=True)
        return files

    def register(self, source_frame, target_frame, matrices, kind="RIGID"):
        """Write a spatial registration that maps a frame of reference to another by matrices (4, 4) of LPS mm."""
        made = self._object("REG", REGISTRATION, generate_uid(), target_frame)
        own, moved = Dataset(), Dataset()
        for item, frame, found in ((own, target_frame, [np.eye(4)]), (moved, source_frame, matrices)):
            item.FrameOfReferenceUID, inner = frame, Dataset()
            inner.MatrixSequence = []
            for matrix in found:
                each = Dataset()
                each.FrameOfReferenceTransformationMatrixType = kind
                each.FrameOfReferenceTransformationMatrix = [float(f"{v:.8f}") for v in np.ravel(matrix)]
                inner.MatrixSequence.append(each)
            item.MatrixRegistrationSequence = [inner]
        made.RegistrationSequence = [own, moved]
        self.folder.mkdir(parents=True, exist_ok=True)
        made.save_as(self.folder / "REG.dcm", enforce_file_format=True)
