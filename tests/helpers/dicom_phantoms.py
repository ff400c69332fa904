"""Tiny patients whose every voxel is known by formula, as DICOM objects: a CT series, RTSTRUCT, RTPLAN, RTDOSE.

Shapes are ellipsoids, HU and dose linear functions of the position, so what a reader should find follows from the
position of a voxel alone, in whatever way the patient lay in the scanner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

# Directions of an image's rows and columns in LPS, from how the patient lies (DICOM PS3.3 C.7.3.1.1.2).
POSITIONS = {
    "HFS": ((1, 0, 0), (0, 1, 0)),
    "HFP": ((-1, 0, 0), (0, -1, 0)),
    "FFS": ((-1, 0, 0), (0, 1, 0)),
    "FFP": ((1, 0, 0), (0, -1, 0)),
    "HFDL": ((0, -1, 0), (1, 0, 0)),
    "HFDR": ((0, 1, 0), (-1, 0, 0)),
    "FFDL": ((0, 1, 0), (1, 0, 0)),
    "FFDR": ((0, -1, 0), (-1, 0, 0)),
}
CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "RTDOSE": "1.2.840.10008.5.1.4.1.1.481.2",
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
    "RTPLAN": "1.2.840.10008.5.1.4.1.1.481.5",
}


@dataclass(frozen=True)
class Ellipsoid:
    """Center and half axes in LPS mm."""

    center: tuple[float, float, float]
    axes: tuple[float, float, float]

    def inside(self, points):
        """(N, 3) or (*S, 3) -> whether each point is inside."""
        return (((points - np.array(self.center)) / np.array(self.axes)) ** 2).sum(-1) <= 1

    def cut(self, origin, u, v, points=200):
        """Return the outline (N, 3) where a plane through origin, spanned by unit vectors, cuts it; None if nowhere."""
        scale = 1 / np.array(self.axes)
        a, b, q = u * scale, v * scale, (origin - np.array(self.center)) * scale
        matrix = np.array([[a @ a, a @ b], [a @ b, b @ b]])
        middle = -np.linalg.solve(matrix, np.array([a @ q, b @ q]))
        rest = 1 - float((q + middle[0] * a + middle[1] * b) @ (q + middle[0] * a + middle[1] * b))
        if rest <= 1e-9:
            return None
        shape = np.linalg.inv(np.linalg.cholesky(matrix)).T * np.sqrt(rest)
        angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
        # A polygon of the ellipse's own area: its corners lie a little outside.
        swell = np.sqrt(2 * np.pi / points / np.sin(2 * np.pi / points))
        flat = middle + swell * (shape @ np.stack([np.cos(angle), np.sin(angle)])).T
        return origin + flat[:, :1] * u + flat[:, 1:] * v


BLADDER = Ellipsoid((2, -12, 8), (21, 17, 15))
RECTUM = Ellipsoid((-3, 22, -4), (13, 12, 22))
GAS = Ellipsoid((-3, 22, -4), (6, 5, 9))
FEMUR_L = Ellipsoid((42, 2, -5), (9, 11, 18))
FEMUR_R = Ellipsoid((-42, 2, -5), (9, 11, 18))
PROSTATE = Ellipsoid((0, 4, -10), (11, 9, 12))
STRUCTURES = {"Rectum": [RECTUM], "Bladder": [BLADDER], "Femur_L": [FEMUR_L], "Femur_R": [FEMUR_R], "CTV": [PROSTATE]}


def hu_at(points):
    return np.clip(np.rint(-2 * points[..., 0] + 3 * points[..., 1] + points[..., 2]), -1000, 2000).astype(int)


def dose_at(points):
    """Gy; linear, so that linear interpolation between voxels is exact."""
    return 40 + 0.2 * points[..., 0] - 0.15 * points[..., 1] + 0.1 * points[..., 2]


@dataclass
class Patient:
    """A patient, and how it lay in the scanner.

    Pixels are not square, images neither, and the stack lies off the middle. ``lean_deg`` tilts the images like
    ``tilt_deg``, but the table moves on horizontally, so the slices are shifted against each other.
    """

    patient_id: str = "MRN-0042"
    position: str = "HFS"
    rows: int = 64
    columns: int = 78
    slices: int = 24
    pixel_mm: tuple[float, float] = (1.5, 1.8)
    spacing_mm: float = 2.5
    tilt_deg: float = 0.0
    lean_deg: float = 0.0
    center: tuple[float, float, float] = (1.3, -2.1, -3.7)
    structures: dict = field(default_factory=lambda: dict(STRUCTURES))
    prescription_gy: float = 60.0
    frame_uid: str = field(default_factory=generate_uid)
    study_uid: str = field(default_factory=generate_uid)
    series_uid: str = field(default_factory=generate_uid)

    def __post_init__(self):
        self.ct_uids = [generate_uid() for _ in range(self.slices)]
        self.struct_uid, self.plan_uid, self.dose_uid = generate_uid(), generate_uid(), generate_uid()
        row, column = (np.array(each, float) for each in POSITIONS[self.position])
        normal = np.cross(row, column)
        angle = np.radians(self.tilt_deg + self.lean_deg)
        self.row, self.column = row, np.cos(angle) * column + np.sin(angle) * normal
        self.normal = np.cross(self.row, self.column)
        along = normal if self.lean_deg else self.normal
        self.step = along * self.spacing_mm
        half = (
            self.column * self.pixel_mm[0] * (self.rows - 1) / 2 + self.row * self.pixel_mm[1] * (self.columns - 1) / 2
        )
        self.first = np.array(self.center) - half - self.step * (self.slices - 1) / 2

    def corner(self, number):
        """Position of the first pixel of a slice, counted along the normal."""
        return self.first + number * self.step

    # ---- what a reader should find

    @staticmethod
    def points(shape, affine_ras):
        """Return the LPS position of every voxel, (*S, 3)."""
        index = np.moveaxis(np.indices(shape), 0, -1)
        return (index @ affine_ras[:3, :3].T + affine_ras[:3, 3]) * [-1, -1, 1]

    # ---- the objects

    def ct(self):
        """Return the images, in order along the normal."""
        pixel_row, pixel_column = np.indices((self.rows, self.columns))
        images = []
        for number, uid in enumerate(self.ct_uids):
            corner = self.corner(number)
            points = (
                corner
                + pixel_row[..., None] * self.pixel_mm[0] * self.column
                + pixel_column[..., None] * self.pixel_mm[1] * self.row
            )
            image = self._object("CT", uid, self.series_uid)
            image.update(self._image(self.row, self.column, corner, self.pixel_mm, self.rows, self.columns))
            image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            image.PatientPosition, image.InstanceNumber = self.position, 1 + (7 * number) % self.slices
            slope, intercept = 2, -1000 - 10 * number  # each slice has its own
            image.RescaleSlope, image.RescaleIntercept, image.RescaleType = slope, intercept, "HU"
            image.SliceThickness = self.spacing_mm
            stored = np.rint((hu_at(points) - intercept) / slope).astype(np.uint16)
            image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
            image.PixelData = stored.tobytes()
            images.append(image)
        return images

    def outlines(self, shapes, planes=None):
        """Return the contours (N, 3) of ellipsoids in the slices, or in planes given as fractions of slices."""
        found = []
        for plane in range(self.slices) if planes is None else planes:
            for shape in shapes:
                outline = shape.cut(self.corner(plane), self.row, self.column)
                if outline is not None:
                    found.append((plane, outline))
        return found

    def rtstruct(self, contours=None):
        """Return the structure set; contours by name replace those of the shapes: lists of (slice, (N, 3))."""
        contours = contours or {name: self.outlines(shapes) for name, shapes in self.structures.items()}
        dataset = self._object("RTSTRUCT", self.struct_uid, generate_uid())
        dataset.StructureSetLabel, dataset.StructureSetDate, dataset.StructureSetTime = "S", "20240101", "120000"
        series = _item(
            SeriesInstanceUID=self.series_uid,
            ContourImageSequence=[
                _item(ReferencedSOPClassUID=CLASSES["CT"], ReferencedSOPInstanceUID=uid) for uid in self.ct_uids
            ],
        )
        study = _item(
            ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
            ReferencedSOPInstanceUID=self.study_uid,
            RTReferencedSeriesSequence=[series],
        )
        dataset.ReferencedFrameOfReferenceSequence = Sequence(
            [_item(FrameOfReferenceUID=self.frame_uid, RTReferencedStudySequence=[study])]
        )
        entries, drawn = [], []
        for number, (name, found) in enumerate(contours.items(), 1):
            entries.append(_item(ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=self.frame_uid))
            drawn.append(_item(ReferencedROINumber=number, ContourSequence=[_contour(outline) for _, outline in found]))
        dataset.StructureSetROISequence, dataset.ROIContourSequence = Sequence(entries), Sequence(drawn)
        return dataset

    def rtplan(self, beams=2):
        dataset = self._object("RTPLAN", self.plan_uid, generate_uid())
        dataset.RTPlanLabel = "P1"
        dataset.DoseReferenceSequence = Sequence(
            [
                _item(
                    DoseReferenceNumber=1,
                    DoseReferenceStructureType="SITE",
                    DoseReferenceType="TARGET",
                    TargetPrescriptionDose=self.prescription_gy,
                )
            ]
        )
        referenced = [
            _item(ReferencedBeamNumber=number, BeamMeterset=100, BeamDose=3 / beams) for number in range(1, beams + 1)
        ]
        dataset.FractionGroupSequence = Sequence(
            [_item(FractionGroupNumber=1, NumberOfFractionsPlanned=20, ReferencedBeamSequence=referenced)]
        )
        dataset.ReferencedStructureSetSequence = Sequence([_reference("RTSTRUCT", self.struct_uid)])
        return dataset

    def rtdose(self, absolute=False, size=(13, 40, 50), spacing_mm=(5.0, 3.0, 4.0), values=dose_at, summation="PLAN"):
        """Return a dose on a grid of its own, oriented like the CT: (frames, rows, columns), in mm likewise."""
        frames, rows, columns = size
        middle = np.array(self.center)
        corner = middle - self.normal * spacing_mm[0] * (frames - 1) / 2
        corner = corner - self.column * spacing_mm[1] * (rows - 1) / 2 - self.row * spacing_mm[2] * (columns - 1) / 2
        offsets = np.arange(frames) * spacing_mm[0]
        index = np.indices(size)
        points = (
            corner
            + (index[0] * spacing_mm[0])[..., None] * self.normal
            + (index[1] * spacing_mm[1])[..., None] * self.column
            + (index[2] * spacing_mm[2])[..., None] * self.row
        )
        dataset = self._object("RTDOSE", self.dose_uid, generate_uid())
        dataset.update(self._image(self.row, self.column, corner, spacing_mm[1:], rows, columns))
        dataset.NumberOfFrames, dataset.FrameIncrementPointer = frames, 0x3004000C
        dataset.GridFrameOffsetVector = list(corner[2] + offsets * self.normal[2]) if absolute else list(offsets)
        dataset.DoseUnits, dataset.DoseType, dataset.DoseSummationType = "GY", "PHYSICAL", summation
        dataset.DoseGridScaling = 1e-6
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 32, 32, 31, 0
        dataset.PixelData = np.rint(np.maximum(values(points), 0) / 1e-6).astype(np.uint32).tobytes()
        dataset.ReferencedRTPlanSequence = Sequence([_reference("RTPLAN", self.plan_uid)])
        return dataset

    def write(self, folder, seed=0, **replaced):
        """Save all under shuffled names; a keyword (ct, rtstruct, ...) replaces an object, None leaves it out."""
        made = {"ct": self.ct, "rtstruct": self.rtstruct, "rtplan": self.rtplan, "rtdose": self.rtdose}
        objects = []
        for name, make in made.items():
            found = replaced[name] if name in replaced else make()
            objects += found if isinstance(found, list) else [found] if found is not None else []
        return save_all(objects, folder, seed)

    def _object(self, modality, uid, series_uid):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CLASSES[modality], uid
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = CLASSES[modality], uid, modality
        dataset.PatientID, dataset.PatientName = self.patient_id, f"Doe^{self.patient_id}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = self.study_uid, series_uid
        dataset.FrameOfReferenceUID = self.frame_uid
        return dataset

    def _image(self, row, column, corner, pixel_mm, rows, columns):
        image = Dataset()
        image.ImageOrientationPatient = [round(float(each), 8) for each in (*row, *column)]
        image.ImagePositionPatient = [round(float(each), 6) for each in corner]
        image.PixelSpacing = [float(each) for each in pixel_mm]
        image.Rows, image.Columns = rows, columns
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        return image


def keyhole(outer, inner):
    """Join an outline and the outline of a hole in it to one polygon, by a channel of no width."""
    start = int(np.linalg.norm(outer - inner[0], axis=1).argmin())
    turned = np.concatenate([outer[start:], outer[: start + 1]])
    return np.concatenate([turned, inner, inner[:1]])


def save_all(objects, folder, seed=0):
    """Save objects under names without meaning, nested, in random order; returns the paths in the objects' order."""
    order = np.random.default_rng(seed).permutation(len(objects))
    paths = []
    for number, dataset in zip(order, objects, strict=True):
        path = Path(folder) / f"sub{number % 3}" / f"{number:04d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _item(**attributes):
    item = Dataset()
    for name, value in attributes.items():
        setattr(item, name, Sequence(value) if name.endswith("Sequence") else value)
    return item


def _reference(modality, uid):
    return _item(ReferencedSOPClassUID=CLASSES[modality], ReferencedSOPInstanceUID=uid)


def _contour(outline):
    return _item(
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(outline),
        ContourData=[round(float(each), 4) for each in np.asarray(outline).reshape(-1)],
    )
