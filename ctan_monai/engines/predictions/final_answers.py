"""The postprocessing of a bundle for MONAI's tools: from logits to predictions on the grid of the image's file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from ctan_monai.data.cases.cache import read_header
from ctan_monai.data.cases.file_grid import Grid, native_grid_of
from ctan_monai.data.formats.ct_source import CtSource
from ctan_monai.data.formats.image_masks import resized_mask
from ctan_monai.engines.predictions.batch_parts import affine_of, answer_of, finite_logits
from ctan_monai.engines.predictions.ct_resample import resample_to_ct
from ctan_monai.errors import DataError
from ctan_monai.tasks import Task, check_tasks
from ctan_monai.transforms.postprocess import postprocess_for

NOTICE = "Research only, not for clinical use."
_PRED, _IMAGE, _GRID = "pred", "image", "spatial_shape"
Array = npt.NDArray[Any]


class FinalAnswersd(MapTransform):  # type: ignore[misc]  # MONAI has no type hints that mypy could follow
    """Convert the logits of one image to predictions on the grid of its file.

    It takes what MONAI Label's BundleInferTask, MONAI Deploy's bundle operator and Zoo-like configs give to the id
    ``postprocessing``: ``image`` as `LoadCaseFiled` reads it from ``{"image": path}``, and ``pred``, the network's
    outputs by task (or these outputs directly under the tasks' names), with or without a batch dimension of 1.

    Written into the data are

    * under each task's name: Segmentation: masks (L, *S) uint8 in the order of its labels; Regression: float32 values
      (1, *S) or (1,) in its unit; Classification: probabilities (K,). *S is the file's own grid; of an image it is
      (columns, rows), as MONAI reads images.
    * ``pred``: the first task's answer, a Segmentation as one label map (1, *S), (columns, rows) of an image; labels
      count from 1 in their order, and where they overlap the later one is seen.
    * ``result``: all that fits into JSON: names of the labels in that map, ranges of values, probabilities.
    * ``result_extension``: ``.png`` for an image, unless it was given: JPEG would blur labels;
      ``result_write_to_file``: false where ``pred`` is no image.

    Args:
        tasks: tasks of the network.

    Raises:
        DataError: (when called) a prediction is not finite, or the image does not know the grid of its file.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        super().__init__(_PRED, allow_missing_keys=True)
        self.tasks = check_tasks(tasks)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the data with the predictions."""
        image = data[_IMAGE]
        case = str(data.get("case", ""))
        meta = getattr(image, "meta", {})
        if _GRID not in meta:
            reason = "the image does not know the grid of its file."
            raise DataError("image", case, reason, 'Read it by the id preprocessing, from {"image": path}.')
        given = data[_PRED] if isinstance(data.get(_PRED), Mapping) else data
        logits = {
            task.name: _of_one(finite_logits(given[task.name], task, {"case": [case]}), task, image)
            for task in self.tasks
        }
        shape = tuple(int(size) for size in meta[_GRID])
        if meta.get("original_affine") is None:
            affine = None
            own = native_grid_of(read_header(data["file"]).meta) if "file" in data else None
            here = Grid(tuple(image.shape[1:]), affine_of(image[None], 0, case))
            answers = {
                task.name: _on_own_image(task, logits[task.name], here, own)
                if own is not None and task.pixel_level
                else _on_image(task, logits[task.name], shape)
                for task in self.tasks
            }
        else:
            affine = np.asarray(meta["original_affine"], np.float64)
            source = CtSource(case, (shape[0], shape[1], shape[2]), affine, ())
            answers = _on_volume(self.tasks, logits, affine_of(image[None], 0, case), source)
        return {**data, **self._named(answers, affine, data)}

    def _named(self, answers: Mapping[str, Array], affine: Array | None, data: Mapping[str, Any]) -> dict[str, Any]:
        first = self.tasks[0]
        found: dict[str, Any] = {name: _meta_tensor(answer, affine) for name, answer in answers.items()}
        found[_PRED] = found[first.name]
        if first.masks:
            painted = label_map(answers[first.name])
            found[_PRED] = _meta_tensor(painted if affine is None else painted[None], affine)
        found["result"] = {"notice": NOTICE, **{task.name: _in_words(task, answers[task.name]) for task in self.tasks}}
        if not first.pixel_level:
            found["result_write_to_file"] = False
            found[_IMAGE] = _without_grid(data[_IMAGE])  # nothing is to be resized to it
        elif affine is None and not data.get("result_extension"):
            found["result_extension"] = ".png"
        return found


def label_map(masks: Array) -> Array:
    """Merge masks (L, *S) into a label map (*S), numbered from 1; where they overlap, the last label wins.

    >>> label_map(np.array([[1, 1, 0], [0, 1, 0]]))
    array([1, 2, 0], dtype=uint8)
    """
    found = np.zeros(masks.shape[1:], np.uint8 if len(masks) < 256 else np.uint16)
    for number, mask in enumerate(masks, start=1):
        found[mask > 0] = number
    return found


def _of_one(logits: Tensor, task: Task, image: Tensor) -> Tensor:
    """Return (K, *S) or (K,) without a batch dimension."""
    axes = image.ndim if task.pixel_level else 1
    return logits[0] if logits.ndim == axes + 1 else logits


def _on_image(task: Task, logits: Tensor, shape: tuple[int, ...]) -> Array:
    """Return the prediction in (columns, rows); masks as `WritePredictions` writes them."""
    final = postprocess_for(task)(logits[None])[0].cpu()
    if not task.pixel_level:
        return np.asarray(final.numpy())
    rows, columns = shape[1], shape[0]
    if task.masks:
        return np.stack([resized_mask(mask, (rows, columns)).T for mask in final.numpy()]).astype(np.uint8)
    sized = torch.nn.functional.interpolate(final[None], (rows, columns), mode="bilinear", align_corners=False)[0]
    return np.asarray(sized.transpose(1, 2).contiguous().numpy())


def _on_own_image(task: Task, logits: Tensor, here: Grid, own: Grid) -> Array:
    """Return the prediction in (columns, rows), as `on_native_grid` for a case that knows its file's grid."""
    source = CtSource("", own.in_space, own.affine_ras, ())
    there = resample_to_ct([task], {task.name: logits.cpu().reshape(-1, *here.in_space)}, here.affine_ras, source)
    return _stacked([own.only_inside(array.reshape(own.shape)).T for array in there.arrays_of(task).values()])


def _on_volume(
    tasks: Iterable[Task], logits: Mapping[str, Tensor], affine_ras: Array, source: CtSource
) -> dict[str, Array]:
    tasks = tuple(tasks)
    found = resample_to_ct(tasks, logits, affine_ras, source)
    answers: dict[str, Array] = {}
    for task in tasks:
        if task.pixel_level:
            answers[task.name] = _stacked(list(found.arrays_of(task).values()))
        else:
            answers[task.name] = postprocess_for(task)(logits[task.name][None])[0].cpu().numpy()
    return answers


def _stacked(channels: Sequence[Array]) -> Array:
    """Return (K, *S), masks as uint8."""
    found = np.stack(channels)
    return found.astype(np.uint8) if found.dtype == np.bool_ else found


def _meta_tensor(answer: Array, affine: Array | None) -> MetaTensor:
    tensor = torch.from_numpy(np.ascontiguousarray(answer))
    return MetaTensor(tensor) if affine is None else MetaTensor(tensor, affine=torch.from_numpy(affine.copy()))


def _without_grid(image: MetaTensor) -> MetaTensor:
    meta = {name: value for name, value in image.meta.items() if name != _GRID}
    return MetaTensor(image.as_tensor(), affine=image.affine, meta=meta)


def _in_words(task: Task, answer: Array) -> dict[str, Any]:
    if task.masks:
        return {"labels": {str(number): label for number, label in enumerate(task.answer_names, start=1)}}
    if task.pixel_level:
        numbers = {"min": answer.min(), "mean": answer.mean(), "max": answer.max()}
        return {"unit": task.answer_unit, **{name: float(value) for name, value in numbers.items()}}
    return answer_of(task, torch.from_numpy(answer))
