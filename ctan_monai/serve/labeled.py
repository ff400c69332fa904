"""Training cases from images and corrected labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ctan_monai.data.cases.cache import read_case_file, write_case
from ctan_monai.data.cases.case import Case
from ctan_monai.data.cases.resample import Resample
from ctan_monai.errors import DataError
from ctan_monai.serve.drawn import Drawn
from ctan_monai.tasks import Segmentation, Task, region_key


@dataclass(frozen=True)
class Labeled:
    """An image with a final label.

    Args:
        image: the file.
        label: the file.
        info: what came with the label, see `names_of_numbers`.
        submitted: the label came since the last training whose weights were kept; it cannot decide about the next.
        key: tells this label from an earlier one of the same image.
    """

    image: Path
    label: Path
    info: Mapping[str, Any] = field(default_factory=dict)
    submitted: bool = True
    key: str = ""

    def since(self, known: object) -> Labeled:
        """Mark the label as an earlier one if it was known when weights were kept.

        Args:
            known: the key of the image's label at that time.
        """
        return dataclasses.replace(self, submitted=self.submitted and known != self.key)


def labeled_case(
    file: Path, drawn: Drawn, task: Segmentation, folder: Path, others: Iterable[Task] = ()
) -> Path | None:
    """Rewrite a cached case with the submitted masks.

    A label that was not drawn is unknown, not known to be absent: whoever corrects one organ need not draw the others.
    Every other label of the case is left out.

    Args:
        file: the cached case of the image.
        drawn: masks on the image's own grid.
        task: whose labels are learned.
        folder: for the new file.
        others: tasks without a label here; one that is learned in a region gets the whole image as such.

    Returns:
        The new file; None if nothing of this task was drawn.

    Raises:
        DataError: it was drawn on a volume, and the case is an image.
    """
    case = read_case_file(file)
    masks = {name: _on_grid(mask, drawn.affine_ras, case) for name, mask in drawn.masks.items() if name in task.labels}
    if not masks:
        return None
    kept: Mapping[str, Any] = {name: mask for name, mask in case.masks.items() if name not in task.labels}
    everywhere = {region_key(other): np.ones(case.shape, np.bool_) for other in others if other.region == "mask"}
    path = folder / file.name
    write_case(path, dataclasses.replace(case, masks={**everywhere, **kept, **masks}, values={}))
    return path


def _on_grid(
    mask: npt.NDArray[np.bool_], affine_ras: npt.NDArray[np.float64] | None, case: Case
) -> npt.NDArray[np.bool_]:
    """Resample a mask linearly to the case's grid, with a threshold of 0.5."""
    if affine_ras is not None:
        if len(case.shape) != 3:
            raise DataError(case.case, case.case, "a volume's label for an image.", "Give the label of the image.")
        rows, columns, slices = case.shape
        return Resample(affine_ras, case.affine_ras, (rows, columns, slices)).mask(mask.astype(np.float32))
    dense = torch.from_numpy(mask.astype(np.float32))[None, None]  # (1, 1, H, W)
    size = case.shape[:2]
    return np.asarray(torch.nn.functional.interpolate(dense, size=size, mode="area")[0, 0].numpy() >= 0.5)
