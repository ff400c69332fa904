"""DICOM ultrasound files for tests, made with pydicom alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

SINGLE, MULTI = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"


def region(columns: tuple[int, int], rows: tuple[int, int], spatial_format: int = 1, data_type: int = 1) -> Dataset:
    """Return an item of SequenceOfUltrasoundRegions; the edges belong to it."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = spatial_format, data_type, 0
    item.RegionLocationMinX0, item.RegionLocationMaxX1 = columns
    item.RegionLocationMinY0, item.RegionLocationMaxY1 = rows
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX = item.PhysicalDeltaY = 0.01
    return item


def write_us(path: Path, values: np.ndarray, photometric: str = "MONOCHROME2", regions=(), **attributes) -> Dataset:
    """Write frames of (H, W) or (H, W, 3), one frame without the first axis; attributes that are None are left out."""
    color = values.shape[-1] == 3
    frames = values.ndim - (3 if color else 2)
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.SOPInstanceUID = MULTI if frames else SINGLE, generate_uid()
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = "Doe^Jane", "p 1", "", "F"
    made.StudyDate = made.StudyTime = made.StudyID = made.AccessionNumber = made.ReferringPhysicianName = ""
    made.Modality, made.SeriesNumber, made.InstanceNumber = "US", 1, 1
    made.ImageType = ["ORIGINAL", "PRIMARY"]
    made.SamplesPerPixel, made.PhotometricInterpretation = 3 if color else 1, photometric
    if color:
        made.PlanarConfiguration = 0
    rows, columns = values.shape[frames and 1 : 2 + (frames and 1)]
    made.Rows, made.Columns = rows, columns
    bits = values.dtype.itemsize * 8
    made.BitsAllocated = made.BitsStored = bits
    made.HighBit, made.PixelRepresentation = bits - 1, 0
    if frames:
        made.NumberOfFrames, made.FrameTime = len(values), 40.0
        made.FrameIncrementPointer = 0x00181063
    if regions:
        made.SequenceOfUltrasoundRegions = list(regions)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pixels = values.tobytes()
    made.PixelData = pixels + b"\0" * (len(pixels) % 2)
    made["PixelData"].VR = "OW" if bits > 8 else "OB"
    for name, value in attributes.items():
        if value is None:
            del made[name]
        else:
            setattr(made, name, value)
    made.save_as(path, enforce_file_format=True)
    return made


def write_jpeg_us(path: Path, rgb: np.ndarray) -> None:
    """Write one frame as JPEG in YBR_FULL_422, as scanners do."""
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "JPEG", quality=95, subsampling="4:2:2")
    made = write_us(path, rgb, "YBR_FULL_422")
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.PixelData = encapsulate([stream.getvalue()])
    made["PixelData"].is_undefined_length = True
    made.LossyImageCompression = "01"
    made.save_as(path, enforce_file_format=True)


def to_ybr_full(rgb: np.ndarray) -> np.ndarray:
    """Convert RGB to YBR_FULL by the matrix of PS3.3 C.7.6.3.1.2."""
    matrix = np.array([[0.2990, 0.5870, 0.1140], [-0.1687, -0.3313, 0.5000], [0.5000, -0.4187, -0.0813]])
    return np.clip(np.rint(rgb @ matrix.T + [0, 128, 128]), 0, 255).astype(np.uint8)
