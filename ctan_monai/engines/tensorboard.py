"""A TensorBoard writer that opens its file with the first figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class ScalarWriter:
    """Write figures for TensorBoard; open again after `close`.

    Args:
        folder: where the event file goes; TensorBoard shows each folder as a line of its own. None writes nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._writer: Any = None

    def write(self, figures: Mapping[str, float], step: int, newest_step: int | None = None) -> None:
        """Write figures at a step; those that are not finite are left out.

        A resumed run repeats steps that may have been written before: TensorBoard then drops the old ones.

        Args:
            figures: by tag.
            step: where on the axis; epochs and iterations may share a file.
            newest_step: how far the run is in the finest steps that this file has; None: ``step``.
        """
        if self.folder is None:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # here, because importing it takes a second

            self._writer = SummaryWriter(str(self.folder), purge_step=newest_step or step)
        for tag, figure in figures.items():
            if math.isfinite(figure):
                self._writer.add_scalar(tag, figure, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
