"""Load a datalist's item as a sample of tensors: the first transform of every pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from ctan_monai.data.cases.cache import read_case_file, read_slice
from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.prescription import PRESCRIPTION, UNIT_GY, prescribed_gy
from ctan_monai.data.formats.named_image import Listing, read_named
from ctan_monai.errors import ConfigError, DataError
from ctan_monai.tasks import Task, check_tasks, present_key, region_key
from ctan_monai.transforms.labels import read_label


class LoadCaseFiled(Transform):  # type: ignore[misc]  # MONAI has no type hints that mypy could follow
    """Load a cached case, or one slice of it, as a sample of tensors.

    The sample is a flat dictionary without a batch dimension:

    * ``image``: (C, *S) float32 MetaTensor, unscaled (CT in HU, contours 0/1), with the affine (RAS mm) and, as its
      only other meta data, the case's id and the space. A channel is a volume or a mask of the case; a mask that the
      case does not have is a channel of zeros, so a misspelt channel has to be found by the check of the data. The
      channel ``prescription`` is what is prescribed (`prescribed_gy`), in units of 100 Gy.
    * per task the label and ``<task>_present``, and ``<task>_region`` for a voxel-level regression whose case marks
      the voxels that count. An unknown label is zeros and not present. Masks are uint8, (L, *S); voxel-level values
      float32 in the task's unit, (1, *S); image-level values float32 (1,); classes an int64 index if exclusive,
      float32 0/1 (K,) otherwise.
    * ``case``: the id, and ``file``: where it was read from.

    A slice is a 2D sample, (H, W); its affine is still (4, 4): it maps (i, j, 0) to the place of that slice. A label
    is present in a slice if the case has it, whether or not the slice crosses it.

    Where the masks of an exclusive Segmentation overlap, the later label of the task wins, as if the labels were
    painted in their order; list small structures after the large ones that surround them.

    With ``listing`` it also takes ``{"image": path}``, as MONAI's own tools call a bundle (or a volume as a MetaTensor
    in place of the path). Such a sample has no labels, keeps what else the item says, and its image knows the grid of
    its file, as MONAI's ``LoadImage`` has it: ``spatial_shape``, ``original_affine`` and ``filename_or_obj``.

    Args:
        tasks: tasks whose labels are wanted.
        image_channels: names of volumes or masks that form the image, in this order.
        listing: from a path to items; the bundle's own function, with its options.

    Raises:
        ConfigError: no channel is named, or one is named twice.
        DataError: (when called) the case has none of the channels, or not one contour where the image has some, or a
            label that its task cannot have; or the item names no one image.
    """

    def __init__(
        self, tasks: Iterable[Task], image_channels: Sequence[str] = ("ct",), listing: Listing | None = None
    ) -> None:
        self.tasks = check_tasks(tasks)
        self.image_channels = check_channels(image_channels)
        self.listing = listing

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Read the item's file and return the sample."""
        if self.listing is not None and "file" not in item:
            return self._named(item, self.listing)
        file = Path(item["file"])
        case = read_slice(file, int(item["slice"])) if "slice" in item else read_case_file(file)
        return self.sample(case, file)

    def sample(self, case: Case, file: Path) -> dict[str, Any]:
        """Convert a case that has been read already to a sample."""
        sample: dict[str, Any] = {"image": self._image(case, file)}
        for task in self.tasks:
            sample[task.name], sample[present_key(task)] = read_label(task, case, file)
            if region_key(task) in case.masks and task.pixel_level:
                region = case.masks[region_key(task)].astype(np.uint8)
                sample[region_key(task)] = torch.from_numpy(region)[None]  # (1, *S)
        return {**sample, "case": case.case, "file": str(file)}

    def _named(self, item: Mapping[str, Any], listing: Listing) -> dict[str, Any]:
        """Read the image that an item names."""
        found = read_named(item.get("image"), listing)
        image = self._image(read_case_file(found.file), found.file)
        affine = None if found.affine_ras is None else found.affine_ras.copy()
        image.meta.update(spatial_shape=np.array(found.shape), original_affine=affine, filename_or_obj=str(found.path))
        return {**item, "image": image, "case": found.case, "file": str(found.file)}

    def _image(self, case: Case, file: Path) -> MetaTensor:
        known: dict[str, Any] = {**case.volumes, **case.masks}
        if PRESCRIPTION in self.image_channels:
            known[PRESCRIPTION] = prescribed_gy(case, file) / UNIT_GY
        missing = [name for name in self.image_channels if name not in known]
        if len(missing) == len(self.image_channels) or (missing and not case.masks):
            raise DataError(
                file,
                case.case,
                f"none of the image's channels {missing} is in the case, which has {list(known)}.",
                "Correct image_channels, add the contours, or prepare the data again.",
            )
        image = np.zeros((len(self.image_channels), *case.shape), np.float32)  # (C, *S)
        for position, name in enumerate(self.image_channels):
            if name in known:
                image[position] = known[name]
        affine_ras = torch.tensor(case.affine_ras, dtype=torch.float64)  # (4, 4)
        return MetaTensor(torch.from_numpy(image), affine=affine_ras, meta={"case": case.case, "space": "RAS"})


def check_channels(image_channels: Sequence[str]) -> tuple[str, ...]:
    """Check the names of the image's channels and return them as a tuple.

    Raises:
        ConfigError: there is none, or one occurs twice, or a string was given instead of a list.
    """
    channels = () if isinstance(image_channels, str) else tuple(image_channels)
    if not channels or len(set(channels)) != len(channels):
        raise ConfigError(
            "image_channels",
            f"found {image_channels!r}, expected a list of names of volumes or masks, each once.",
            "Write for example image_channels: [ct].",
        )
    return channels
