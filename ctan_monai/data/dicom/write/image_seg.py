"""Write masks of a 2D image, or of the frames of a cine, as a DICOM Segmentation on its pixels."""

from __future__ import annotations

import copy
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

_TEMPORAL_POSITION, _FRAME_CONTENT = 0x00209128, 0x00209111  # TemporalPositionIndex, FrameContentSequence
Masks = npt.NDArray[np.bool_]


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

    It has no frame of reference, as 2D ultrasound has none. That of a cine has a frame for each of a structure's masks
    that is not empty, ordered by structure and time, and each refers to the cine's frame by number.

    Args:
        masks: (F, rows, columns) of the reference's F frames, F = 1 of a plain image, by the structure's name; not all
            of them empty. Structures that no frame shows are left out.
        reference: the image.
        path: the file.
        origin: what made the structures.
        clock: tells the time.
        uid_source: gives UIDs.

    Raises:
        ConfigError: highdicom is not installed.
        DataError: masks have another size than the image, all are empty, the file exists or cannot be written.
    """
    highdicom = need_highdicom()
    shape = (max(len(reference.frames), 1), int(reference.header.Rows), int(reference.header.Columns))
    for name, mask in masks.items():
        if mask.shape != shape:
            reason = f"it has the shape {mask.shape}, its image {shape} (frames, rows, columns)."
            raise DataError(f"mask {name}", None, reason, "Bring it to the image's own pixels.")
    held = {name: np.asarray(mask, np.bool_) for name, mask in masks.items() if np.any(mask)}
    if not held:
        raise DataError("SEG", None, f"none of {list(masks)} holds a pixel.", "Check the prediction.")
    ever = np.stack([mask.any(0) for mask in held.values()], axis=-1)[None]  # (1, R, C, L)
    made = segmentation_of(highdicom, [reference.as_single], ever, list(held), origin, clock, uid_source)
    made.PatientOrientation = ""  # it is not said which way is which
    if reference.frames:
        _give_frames(made, list(held.values()), reference)
    _refer(made, reference)
    return save_new(made, path)


def _give_frames(made: Any, masks: list[Masks], reference: ImageReference) -> None:
    """Replace the one frame of each structure by one for each frame of the cine that shows it.

    highdicom makes one frame only of images without a frame of reference.
    """
    of_structures = list(made.PerFrameFunctionalGroupsSequence)
    shown = [(number, int(at)) for number, mask in enumerate(masks) for at in np.flatnonzero(mask.any((1, 2)))]
    groups = []
    for number, at in shown:
        group = copy.deepcopy(of_structures[number])
        (content,) = group.FrameContentSequence
        content.TemporalPositionIndex = reference.frames[at]
        content.DimensionIndexValues = [number + 1, reference.frames[at]]  # the index itself, as dciodvfy asks for
        for derivation in group.DerivationImageSequence:
            for source in derivation.SourceImageSequence:
                source.ReferencedFrameNumber = reference.frames[at]
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = groups
    in_time = copy.deepcopy(made.DimensionIndexSequence[0])
    in_time.DimensionIndexPointer, in_time.FunctionalGroupPointer = _TEMPORAL_POSITION, _FRAME_CONTENT
    in_time.DimensionDescriptionLabel = "Frame of the cine"
    made.DimensionIndexSequence.append(in_time)
    bits = np.concatenate([masks[number][at].ravel() for number, at in shown])
    packed = np.packbits(bits, bitorder="little").tobytes()  # PS3.5 8.1.1: frames follow each other without padding
    made.PixelData, made.NumberOfFrames = packed + b"\0" * (len(packed) % 2), len(groups)


def _refer(item: Any, reference: ImageReference) -> None:
    """Say in every reference to the image what class it really has, and in that of the whole SEG which frames it is."""
    for element in item:
        for inside in element.value if element.VR == "SQ" else ():
            if inside.get("ReferencedSOPInstanceUID") == reference.header.SOPInstanceUID:
                inside.ReferencedSOPClassUID = reference.header.SOPClassUID
                if (
                    reference.frames
                    and element.keyword == "SourceImageSequence"
                    and "ReferencedFrameNumber" not in inside
                ):
                    inside.ReferencedFrameNumber = list(reference.frames)
            _refer(inside, reference)
