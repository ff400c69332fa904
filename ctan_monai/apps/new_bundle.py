"""Write a new bundle: configs, metadata, a page about it, an example of its table."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from ctan_monai import __version__
from ctan_monai.apps.new_parts import Plan, parts_of, title_of
from ctan_monai.data.datasets.tabular.layout import ABOUT, IMAGE
from ctan_monai.data.datasets.tabular.synthetic import cell_of, header_of
from ctan_monai.errors import ConfigError
from ctan_monai.files.atomic import replacing
from ctan_monai.files.csv_cells import csv_text
from ctan_monai.share.image_format import output_format
from ctan_monai.share.pack_metadata import output_entry
from ctan_monai.tasks import Classification, Regression, Segmentation, Task, region_key

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_TEMPLATES = {
    "train.yaml": "configs/train.yaml",
    "evaluate.yaml": "configs/evaluate.yaml",
    "inference.yaml": "configs/inference.yaml",
    "logging.conf": "configs/logging.conf",
    "README.md": "docs/README.md",
    "LICENSE": "LICENSE",
}
EXAMPLE = "datalist_example.csv"
_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_ABOUT = {
    "case": "name of the case; without it, that of the image's file",
    "group": "what must stay in one split, such as the patient; without it, each case for itself",
    "split": "train, validation or test for every case; leave the column out to have them divided",
}


def write_bundle(plan: Plan, out: str | Path) -> Path:
    """Write a bundle's folder.

    Args:
        plan: what it is for.
        out: folder in which it gets one of its name.

    Returns:
        The bundle's folder.

    Raises:
        ConfigError: the name cannot be used, or something is there already.
        DataError: it cannot be written.
    """
    folder = check_place(plan.name, out)
    parts = parts_of(plan) | {"summary": summary_of(plan), "columns": _columns(plan), "grid_note": _grid_note(plan)}
    texts = {place: fill(read_template(name), parts) for name, place in _TEMPLATES.items()}
    texts["configs/metadata.json"] = json.dumps(metadata_of(plan), indent=4) + "\n"
    texts[EXAMPLE] = _example(plan)
    write_texts(folder, texts)
    return folder


def check_place(name: str, out: str | Path, kept: str = "") -> Path:
    """Return the folder of a new bundle, which must not be there, or hold nothing but ``kept``.

    Raises:
        ConfigError: the name cannot be used, or something is there already.
    """
    if not _NAME.fullmatch(name):
        reason = "a bundle's name is a letter, then letters, digits, _ and -."
        raise ConfigError(f"NAME {name!r}", reason, "Give another name, such as lesions.")
    folder = Path(out) / name
    if folder.exists() and (not folder.is_dir() or any(each.name != kept for each in folder.iterdir())):
        raise ConfigError("--out", f"{folder} is there already.", "Give another name or folder, or move it away.")
    return folder


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Write the files of a bundle, by their path in its folder.

    Raises:
        DataError: they cannot be written.
    """
    for place, text in texts.items():
        with replacing(folder / place) as temporary:
            temporary.write_text(text, encoding="utf-8")


def fill(template: str, parts: dict[str, str]) -> str:
    r"""Fill a template; lines that hold only empty parts are removed.

    >>> fill("a: {{x}}\n{{y}}\n{{x}}\n", {"x": "1", "y": ""})
    'a: 1\n1\n'
    """
    lines = []
    for line in template.splitlines():
        filled = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], line)
        if filled or not line:
            lines.append(filled)
    return "\n".join(lines) + "\n"


def metadata_of(plan: Plan, size: Sequence[int] = ()) -> dict[str, Any]:
    """Create the bundle's metadata.json; ``size`` is that of an image, 48 each if not given."""
    tasks = [entry.task for entry in plan.tasks]
    shape = list(size) or [48] * plan.spatial_dims
    image = {
        "type": "image",
        "format": "hounsfield" if plan.image.kind == "ct" else "magnitude" if plan.image.kind == "mr" else "RGB",
        "modality": {"ct": "CT", "mr": "MR"}.get(plan.image.kind, "image"),
        "num_channels": len(plan.image.channels),
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": plan.spatial_dims == 3,
        "channel_def": {str(at): name for at, name in enumerate(plan.image.channels)},
    }
    seen = (shape, str(image["modality"]), plan.spatial_dims == 3)
    outputs = {("pred" if at == 0 else task.name): output_entry(task, *seen) for at, task in enumerate(tasks)}
    packages = {name: metadata.version(name) for name in ("pytorch-ignite", "nibabel", "blosc2")}
    return {
        "schema": _SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "first version"},
        "monai_version": metadata.version("monai"),
        "pytorch_version": metadata.version("torch").split("+")[0],
        "numpy_version": metadata.version("numpy"),
        "required_packages_version": {"ctan-monai": __version__, **packages},
        "supported_apps": {},
        "name": plan.name,
        "task": title_of(plan),
        "description": summary_of(plan),
        "authors": "write your name here",
        "copyright": "write here who holds it",
        "data_source": "write here where the data come from; without any, synthetic cases are used",
        "data_type": "JPEG or PNG" if plan.image.is_image_file else "NIfTI or MetaImage",
        "image_classes": f"channels {', '.join(plan.image.channels)}",
        "label_classes": "; ".join(_about(task) for task in tasks),
        "pred_classes": "; ".join(_returned(task) for task in tasks),
        "eval_metrics": {},
        "intended_use": "Research on multi-task learning. Not for clinical use.",
        "references": [
            "Kim, Purdie, McIntosh. Cross-Task Attention Network: Improving Multi-Task Learning for Medical Imaging "
            "Applications. 2023."
        ],
        "network_data_format": {"inputs": {"image": image}, "outputs": outputs},
    }


def _returned(task: Task) -> str:
    """Describe the network's output for a task."""
    how = output_format(task)
    unit = f", times {how['scale']:g} {how['unit']}" if "scale" in how else ""
    return f"{task.name}: logits of {', '.join(how['channels'])} ({how['activation']}{unit})"


def _about(task: Task) -> str:
    return f"{task.name}: {task.summary}"


def summary_of(plan: Plan) -> str:
    """Describe a bundle's images and tasks in a sentence."""
    kind = {"ct": "CT", "mr": "MR", "rgb": "color images", "gray": "gray images"}[plan.image.kind]
    seen = f"axial slices of {kind}" if plan.slices else kind if plan.image.is_image_file else f"{kind} volumes"
    return f"From {seen} ({', '.join(plan.image.channels)}): " + "; ".join(map(_about, plan.layout.tasks)) + "."


def read_template(name: str) -> str:
    """Read a template by its path among them."""
    return (resources.files("ctan_monai.apps") / "templates" / name).read_text(encoding="utf-8")


def _columns(plan: Plan) -> str:
    """Describe each column of the table, as lines of a Markdown table."""
    layout = plan.layout
    lines = {**_ABOUT}
    for name in header_of(layout, plan.image.kind):
        if name == IMAGE:
            what = "JPEG or PNG" if plan.image.is_image_file else "NIfTI or .mha"
            lines[name] = f"the image, {what}"
        elif name in layout.image_channels:
            lines[name] = f"the channel {name} of the image"
    for task in layout.tasks:
        lines.update(_label_columns(plan, task))
    return "\n".join(f"| `{name}` | {text} |" for name, text in lines.items())


def _label_columns(plan: Plan, task: Task) -> dict[str, str]:
    if isinstance(task, Segmentation):
        masks = {label: f"mask of {label}: 0, and one other value inside" for label in task.labels}
        if tuple(task.labels) == (task.name,) and not plan.layout.grouped(task):
            return masks
        numbers = plan.layout.numbers_of(task)
        shown = ", ".join(f"{'+'.join(map(str, group))} {label}" for label, group in numbers.items())
        label_map = f"label map: 0 background, {shown}"
        if task.name in masks:
            return {**masks, task.name: label_map}
        return {task.name: f"{label_map}; or else a mask for each label:", **masks}
    if isinstance(task, Classification):
        return {task.name: _class_cells(task)}
    if isinstance(task, Regression) and task.pixel_level:
        region = (
            {region_key(task): f"mask of the voxels in which {task.name} is known"} if task.region == "mask" else {}
        )
        return {task.name: f"a value in {task.unit} per voxel, on the image's grid", **region}
    return {task.name: f"a number in {getattr(task, 'unit', '')}"}


def _class_cells(task: Classification) -> str:
    if task.exclusive:
        return f"one of {', '.join(task.classes)}"
    if len(task.classes) == 1:
        return "yes or no, 1 or 0"
    return f"those of {', '.join(task.classes)} that hold, joined by a vertical bar; none"


def _grid_note(plan: Plan) -> str:
    if plan.image.is_image_file:
        return "Results have the size of the image's file."
    return "Results lie on the grid of the image's file, whatever `--axes` and `--spacing_mm` the network works on."


def _example(plan: Plan) -> str:
    """Return a table of three cases that do not exist; the last has no labels."""
    header = header_of(plan.layout, plan.image.kind)
    rows = []
    ending = ".png" if plan.image.is_image_file else ".nii.gz"
    by_name = {task.name: task for task in plan.layout.image_level}
    for number in range(3):
        case = f"patient{number + 1}"
        row = {"case": case, "group": case, "split": "train" if number < 2 else "test"}
        for name in header:
            if name in by_name:
                row |= {name: _example_cell(by_name[name], number)} if number < 2 else {}
            elif name not in ABOUT and (number < 2 or name in (IMAGE, *plan.layout.image_channels)):
                row[name] = f"{case}_{name}{ending}"
        rows.append([row.get(name) for name in header])
    return csv_text(header, rows)


def _example_cell(task: Task, number: int) -> str:
    if not isinstance(task, Classification):
        return str(round(getattr(task, "scale", 1.0) / 2, 3))
    index = number % len(task.classes)
    return cell_of(task, index if task.exclusive else [int(at == index) for at in range(len(task.classes))])
