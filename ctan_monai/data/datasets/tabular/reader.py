"""Read the files of a case, and bring them to one grid."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.case import Case
from ctan_monai.data.datasets.tabular.files import is_picture
from ctan_monai.data.datasets.tabular.image_reader import read_picture_case
from ctan_monai.data.datasets.tabular.layout import Layout
from ctan_monai.data.datasets.tabular.rows import Row
from ctan_monai.data.datasets.tabular.volume_reader import VolumeCase
from ctan_monai.errors import DataError
from ctan_monai.tasks import region_key

READER_VERSION = "own-2"  # raise it when the same files give another case: caches are rebuilt


def read_case(row: Row, layout: Layout) -> Case:
    """Read a case.

    Args:
        row: its files and labels.
        layout: what is wanted of them.

    Returns:
        A case with a volume per channel of the image and per voxel-level regression that is known, and a mask per
        label and region that is known. Its ``meta`` says where else it could be met (`leakage.fingerprint_meta`), what
        its gray values are like, and how large an image's file is.

    Raises:
        DataError: a file cannot be read, does not lie on the image's grid, or holds what its task cannot have.
    """
    case = _read(row, layout)
    if all(volume.min() == volume.max() for volume in (case.volumes[name] for name in layout.image_channels)):
        raise DataError(row.images[0], row.case, "it is the same everywhere.", "Give an image that shows something.")
    meta = {**case.meta, "synthetic": True} if row.synthetic else case.meta
    return dataclasses.replace(case, masks={**case.masks, **_regions(case, layout)}, meta=meta)


def _regions(case: Case, layout: Layout) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the regions that a case lacks: of a value that is known, everything; of one that is not, nothing."""
    regions = {region_key(task): task.name in case.volumes for task in layout.in_regions}
    return {name: np.full(case.shape, known) for name, known in regions.items() if name not in case.masks}


def _read(row: Row, layout: Layout) -> Case:
    if is_picture(row.images[0]):
        if layout.spatial_dims == 3:
            reason = "it is an image, but the network takes volumes."
            raise DataError(row.images[0], row.case, reason, "Give volumes, or make a bundle of --spatial-dims 2.")
        return read_picture_case(row, layout)
    if layout.color:
        reason = "it is no image, but the image's channels are red, green and blue."
        raise DataError(row.images[0], row.case, reason, "Give JPEG or PNG, or other image_channels.")
    if layout.size is not None:
        reason = f"it is no image, but images of the size {list(layout.size)} are wanted."
        raise DataError(row.images[0], row.case, reason, "Give JPEG or PNG, or make a bundle with --image ct or mr.")
    return VolumeCase(row, layout).read()
