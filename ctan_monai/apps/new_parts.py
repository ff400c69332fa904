"""The parts of a new bundle's configs that depend on its tasks and its images, as lines of YAML."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ctan_monai.apps.new_tasks import NewImage, NewTask
from ctan_monai.data.datasets.tabular.layout import Layout
from ctan_monai.tasks import Regression, Segmentation, Task

_WIDTH = 110  # of a line of YAML
_NORMALIZE = {"ct": ("window", "[-160, 240]"), "mr": ("zscore", "null"), "rgb": ("imagenet", "null")}


@dataclass(frozen=True)
class Plan:
    """Specification of a new bundle.

    Args:
        name: of the bundle.
        tasks: what is predicted.
        image: what is seen.
        spatial_dims: of the network.
    """

    name: str
    tasks: tuple[NewTask, ...]
    image: NewImage
    spatial_dims: int

    @property
    def layout(self) -> Layout:
        """Layout of its table."""
        values = {entry.task.name: dict(entry.label_values) for entry in self.tasks if entry.label_values}
        tasks = tuple(entry.task for entry in self.tasks)
        return Layout(tasks, self.image.channels, self.spatial_dims, label_values=values)

    @property
    def slices(self) -> bool:
        """Whether a 2D network sees slices of volumes."""
        return self.spatial_dims == 2 and not self.image.is_image_file

    @property
    def classes(self) -> int | None:
        """The position of the first task whose classes exclude each other."""
        found = (entry.task for entry in self.tasks)
        exclusive = [task.exclusive and not task.pixel_level for task in found]
        return exclusive.index(True) if any(exclusive) else None

    @property
    def grid_settings(self) -> list[str]:
        """Options that must be the same in training, evaluation and inference."""
        return ["size"] if self.image.is_image_file else ["spacing_mm", "axes", "patch_size"]


def parts_of(plan: Plan) -> dict[str, str]:
    """Return the text of each ``{{name}}`` of the templates; '' removes a line."""
    tasks = [entry.task for entry in plan.tasks]
    layout = plan.layout
    values = {task.name: layout.numbers_of(task) for task in layout.segmentations if task.name in layout.label_values}
    return {
        "name": plan.name,
        "title": title_of(plan),
        "kind": plan.image.kind,
        "spatial_dims": str(plan.spatial_dims),
        "tasks": "\n".join(_task_line(task) for task in tasks),
        "image_channels": flow(list(plan.image.channels)),
        "label_values": _label_values(values),
        "encoder": _encoder(plan),
        "pretrained_note": "imagenet (paper; a download), or a file" if plan.spatial_dims == 2 else "a file",
        "full_resolution": "true" if plan.slices else "false",
        "image_format": _image_format(plan),
        **_data_parts(plan),
        **_transform_parts(plan),
        **_class_parts(plan),
        "loss_options": "\n".join(_loss_line(task, at, at == plan.classes) for at, task in enumerate(tasks)),
        **_output_parts(plan),
    }


def title_of(plan: Plan) -> str:
    """Describe a bundle's tasks in a few words."""
    return f"{plan.name}: {', '.join(entry.task.name for entry in plan.tasks)}"


def flow(value: object) -> str:
    """Format a value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {flow(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(flow(entry) for entry in value) + "]"
    return _scalar(value)


def _scalar(value: object) -> str:
    """Quote a text that YAML, or MONAI's config, could take for something else."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    words = {"true", "false", "yes", "no", "on", "off", "null", "none", "y", "n", "~"}
    plain = text[:1].isalpha() and all(letter.isalnum() or letter in "_-." for letter in text)
    return text if plain and text.isascii() and text.lower() not in words else "'" + text.replace("'", "''") + "'"


def _task_line(task: Task) -> str:
    values = {field: getattr(task, field.name) for field in dataclasses.fields(task)}
    entries = [f"_target_: ctan_monai.tasks.{type(task).__name__}"]
    entries += [f"{field.name}: {flow(value)}" for field, value in values.items() if value != field.default]
    return _wrapped("- {", entries, "}", "  ")


def _wrapped(front: str, entries: Sequence[str], back: str, indent: str) -> str:
    """Join entries by commas, broken into lines."""
    lines = [front]
    for at, entry in enumerate(entries):
        piece = entry + (back if at == len(entries) - 1 else ",")
        joined = lines[-1] + (" " if at and not lines[-1].isspace() else "") + piece
        if len(joined) > _WIDTH and at:
            lines.append(indent + piece)
        else:
            lines[-1] = joined
    return "\n".join(lines)


def _label_values(values: Mapping[str, Mapping[str, tuple[int, ...]]]) -> str:
    shown = {
        task: {label: group if len(group) > 1 else group[0] for label, group in each.items()}
        for task, each in values.items()
    }
    note = "# numbers of the labels in label maps"
    return f"label_values: {flow(shown)}  {note}" if values else ""


def _image_format(plan: Plan) -> str:
    """Return the image format for exported files."""
    stored = {"ct": "HU", "mr": "as stored"}.get(plan.image.kind, "0 to 255")
    entries = ["channels: '@image_channels'", f"values: {stored}", "normalize: '@normalize'", "window: '@window'"]
    grid = ["size: '@size'"] if plan.image.is_image_file else ["axes: '@axes'", "spacing_mm: '@spacing_mm'"]
    grid += [] if plan.image.is_image_file else ["size: '@patch_size'"]
    return _wrapped("image_format: {", [*entries, *grid], "}  # of exported files", "  ")


def _encoder(plan: Plan) -> str:
    if plan.spatial_dims == 2:
        return "null                   # resnet50 (paper), or the method's own; resnet18, resnet34, resnet101"
    return "resnet18               # resnet34, resnet50, resnet101; volumes need memory"


def _option(name: str, value: str, note: str) -> str:
    return f"{name}: {value}".ljust(31) + f" # {note}"


def _data_parts(plan: Plan) -> dict[str, str]:
    """Return the options of the grid, and the arguments of the datalists."""
    option_lines, options = [], list(plan.grid_settings)
    if plan.image.is_image_file:
        sizes = "'$[256, 256] if @datalist else [80, 96]'"
        option_lines.append(_option("size", sizes, "rows, columns that images are resized to"))
    else:
        options.remove("patch_size")
        note = "where each axis of a volume points" + ("; slices are cut along the last" if plan.slices else "")
        option_lines.append(
            _option("spacing_mm", "null", "as [1.0, 1.0, 3.0]: resample volumes to it; null: they stay")
        )
        option_lines.append(_option("axes", "RAS", note))
        real, sample = ("[256, 256]", "[48, 48]") if plan.slices else ("[96, 96, 96]", "[48, 48, 32]")
        option_lines.append(
            _option("patch_size", f"'${real} if @datalist else {sample}'", "voxels that are trained on")
        )
    values = ["label_values"] if plan.layout.label_values else []
    inference = "".join(f", {name}: '@{name}'" for name in (*options, *values))
    if plan.slices:
        option_lines.append(_option("slices", "labeled", "train on slices that a label crosses; all"))
        option_lines.append(_option("empty_fraction", "0.2", "other slices to add, as a fraction of those"))
        options += ["slices", "empty_fraction"]
    options += values
    listed = _wrapped("  ", [f"{name}: '@{name}'" for name in options], "}", "  ")
    return {
        "grid_options": "\n".join(option_lines),
        "datalist_options": f",\n{listed}",
        "inference_options": f",\n    {inference[2:]}" if inference else "",
        "inferer_options": "" if plan.image.is_image_file else ", roi_size: '@patch_size'",
        "batch_size": _batch(plan),
        "validation_batch": "8" if plan.image.is_image_file else "1",
    }


def _batch(plan: Plan) -> str:
    return "8                   # paper" if plan.spatial_dims == 2 else "2                   # volumes need memory"


def _transform_parts(plan: Plan) -> dict[str, str]:
    method, window = _NORMALIZE.get(plan.image.kind, ("window", "[0, 255]"))
    methods = "window, zscore" + (", imagenet" if plan.image.kind == "rgb" else "")
    front = "    - {_target_: ctan_monai.transforms."
    common = "tasks: '@tasks', image_channels: '@image_channels'"
    pairs = any(task.mirror_pairs for task in plan.layout.segmentations)
    axes = (["1"] if pairs else ["0", "1"]) if plan.image.is_image_file else [_side_axis(plan)]
    mirrors = [f"{front}RandMirrorLabelsd, {common},\n      spatial_axis: {axis}, prob: '@augment'}}" for axis in axes]
    patch = f"{front}RandPatchLabelsd, tasks: '@tasks', patch_size: '@patch_size'}}"
    shift = "    - {_target_: RandShiftIntensityd, keys: image, offsets: 0.1, prob: '@augment'}"
    color = f"{front}RandColorJitterd, prob: '@augment'}}"
    outside = " outside: reflection,\n     " if plan.image.is_image_file else ""
    return {
        "normalize_options": "\n".join(
            [
                _option("normalize", method, f"gray values: {methods}"),
                _option("window", window, "gray values that become 0 and 1, for window"),
            ]
        ),
        "before_normalize": color if plan.image.kind == "rgb" else "",
        "after_normalize": shift if plan.image.kind != "rgb" else "",
        "patch": "" if plan.image.is_image_file else patch,
        "mirror": "\n".join(mirrors),
        "mirror_axes": ", ".join(axes),
        "affine": (" spatial_dims: 3," if plan.spatial_dims == 3 else "") + outside,
    }


def _side_axis(plan: Plan) -> str:
    """Return which axis of a sample runs from side to side, as an expression of the option ``axes``."""
    if plan.slices:
        return "\"$max(@axes[:2].find('L'), @axes[:2].find('R'), 0)\""
    return "\"$max(@axes.find('L'), @axes.find('R'))\""


def _class_parts(plan: Plan) -> dict[str, str]:
    """Return the parts of a task with exclusive classes: class weights, sampler, metrics of the evaluation."""
    loader = (
        "  dataloader: {_target_: ctan_monai.engines.create_dataloader, dataset: '@train#dataset', "
        "data_on: '@data_on',\n    device: '@device', batch_size: '@batch_size',"
    )
    if plan.classes is None:
        return {
            "class_options": "",
            "class_metrics": "",
            "class_handlers": "",
            "sampler": f"{loader} shuffle: true, num_workers: '@workers'}}",
        }
    task = f"'$@tasks[{plan.classes}]'"
    name = plan.tasks[plan.classes].task.name
    sampler = "  sampler: {_target_: ctan_monai.engines.create_sampler, name: '@sampler', "
    return {
        "class_options": "\n".join(
            [
                _option("class_weights", "equal", f"in the loss of {name}: equal, root or inverse of the frequency"),
                _option("sampler", "shuffled", f"balanced: draw all classes of {name} equally often"),
            ]
        ),
        "sampler": f"{sampler}items: \"$@datalists['train']\",\n    task: {task}}}\n"
        f"{loader} sampler: '@train#sampler', num_workers: '@workers'}}",
        "class_metrics": f"details: {{_target_: ctan_monai.metrics.confusion.ClassDetails, task: {task}}}\n"
        f"calibration: {{_target_: ctan_monai.metrics.calibration.Calibration, task: {task}}}\n"
        "validate#key_metric#metrics: ['@details', '@calibration']",
        "class_handlers": "- {_target_: ctan_monai.engines.WriteConfusion, details: '@details', "
        "output_dir: '@evaluation_dir'}",
    }


def _loss_line(task: Task, at: int, weighted: bool) -> str:
    if isinstance(task, Segmentation):
        return f"    {task.name}: {{dice_weight: 0.3, ce_weight: 0.7}}  # paper"
    if isinstance(task, Regression):
        return f"    {task.name}: {{error: mae}}  # paper"
    if not weighted:
        return f"    {task.name}: {{}}"
    return (
        f"    {task.name}: {{class_weight: {{_target_: ctan_monai.data.class_weights,\n"
        f"      items: \"$@datalists['train']\", task: '$@tasks[{at}]', rule: '@class_weights'}}}}"
    )


def _output_parts(plan: Plan) -> dict[str, str]:
    masks_only = not plan.layout.voxel_regressions
    first = plan.image.channels[0]
    if plan.image.is_image_file:
        writing = f"formats: [{'png' if masks_only else 'png, nifti'}]"
        shown = "image: '@image_channels'" if len(plan.image.channels) in (1, 3) else f"image: [{first}]"
    else:
        writing = f"volumes: [{first}]"
        shown = f"image: {first}, window: '@window'"
    numbered = any(not task.overlapping and task.name in plan.layout.label_values for task in plan.layout.segmentations)
    writing += ", label_values: '@label_values'" if numbered else ""
    inherited = ["datalist", "dataset_dir", "split_seed", "fold", *plan.grid_settings, "normalize", "window"]
    return {
        "writing": writing,
        "report_image": shown,
        "shown_cases": "4" if plan.image.is_image_file else "1",
        "run_settings": "\n".join(_inherited(name, "output_dir") for name in inherited),
        "inference_settings": "\n".join(_inherited(name, "run_dir") for name in inherited[4:]),
    }


def _inherited(name: str, folder: str) -> str:
    return f"{name}: {{_target_: ctan_monai.engines.run_setting, output_dir: '@{folder}', name: {name}}}"
