"""Write masks of a 2D image, such as a frame of ultrasound, as a DICOM Segmentation on its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctan_monai.data.dicom.write.common import Written, save_new
from ctan_monai.data.dicom.write.identity import Clock, UidSource, new_uid
from ctan_monai.data.dicom.write.image_reference import ImageReference
from ctan_monai.data.dicom.write.reference import Origin
from ctan_monai.data.dicom.write.seg import need_highdicom, segmentation_of
from ctan_monai.errors import DataError


def write_image_seg(
    masks: Mapping[str, npt.NDArray[Any]],
    reference: ImageReference,
    path: str | Path,
    origin: Origin,
    *,
    clock: Clock = datetime.now,
    uid_source: UidSource = new_uid,
) -> Written:
    """Write structures as a binary SEG on an image's own pixels; no file is replaced.

    It has no frame of reference, as 2D ultrasound has none; of a cine it refers to the frame by number.

    Args:
        masks: (rows, columns) of the image, by the structure's name; not all of them empty. Empty ones are left out.
        reference: the image.
        path: the file.
        origin: what made the structures.
        clock: tells the time.
        uid_source: gives UIDs.

    Raises:
        ConfigError: highdicom is not installed.
        DataError: a mask has another size than the image, all are empty, the file exists or cannot be written.
    """
    highdicom = need_highdicom()
    shape = (int(reference.header.Rows), int(reference.header.Columns))
    for name, mask in masks.items():
        if mask.shape != shape:
            reason = f"it has the shape {mask.shape}, its image {shape}."
            raise DataError(f"mask {name}", None, reason, "Bring it to the image's own pixels.")
    held = {name: np.asarray(mask, np.bool_) for name, mask in masks.items() if np.any(mask)}
    if not held:
        raise DataError("SEG", None, f"none of {list(masks)} holds a pixel.", "Check the prediction.")
    frames = np.stack(list(held.values()), axis=-1)[None]  # (1, R, C, L)
    made = segmentation_of(highdicom, [reference.as_single], frames, list(held), origin, clock, uid_source)
    made.PatientOrientation = ""  # it is not said which way is which
    _refer(made, reference)
    return save_new(made, path)


def _refer(item: Any, reference: ImageReference) -> None:
    """Say in every reference to the image what class it really has, and in those to a source which frame it was."""
    for element in item:
        for inside in element.value if element.VR == "SQ" else ():
            if inside.get("ReferencedSOPInstanceUID") == reference.header.SOPInstanceUID:
                inside.ReferencedSOPClassUID = reference.header.SOPClassUID
                if reference.frame and element.keyword == "SourceImageSequence":
                    inside.ReferencedFrameNumber = reference.frame
            _refer(inside, reference)
