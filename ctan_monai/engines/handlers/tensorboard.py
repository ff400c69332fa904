"""A TensorBoard writer that opens its file with the first figure."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

_FORMAT = "brain.Event:2"
_numbers = itertools.count()  # two files of one process in one second


class ScalarWriter:
    """Write figures for TensorBoard; open again after `close`.

    TensorBoard's own writer puts the machine's name into the name of the file, which is the reason for this one; it
    writes the same records.

    Args:
        folder: where the event file goes; TensorBoard shows each folder as a line of its own. None writes nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._file: IO[bytes] | None = None
        self._records: Any = None

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
        from tensorboard.compat.proto.summary_pb2 import Summary  # here, because importing it takes a second

        if self._file is None:
            self._open(self.folder, newest_step or step)
        for tag, figure in figures.items():
            if math.isfinite(figure):
                self._add(step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=figure)]))
        self._records.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, folder: Path, newest_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{os.getpid()}.{next(_numbers)}"  # in the order of time
        self._file = (folder / name).open("xb")
        self._records = RecordWriter(self._file)
        self._add(0, file_version=_FORMAT)
        self._add(newest_step, session_log=SessionLog(status=SessionLog.START))  # drops what was written after it

    def _add(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), step=step, **content).SerializeToString())
