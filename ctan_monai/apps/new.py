"""``ctan-monai new``: a bundle for a tabular dataset and its tasks."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

_EXAMPLES = """[bold]Tasks[/]

  segmentation:NAME=LABELS     names, a number of labels, or label:number for label maps that do not count from 1;
                               label:1+2+4 is a group of numbers, and groups may overlap
                               @overlapping: a voxel may belong to several labels

  classification:NAME=CLASSES  names, or a number of classes; without any, one finding that is there or not
                               @multilabel: several classes may hold at once

  regression:NAME=UNIT         a value per voxel; @image: one per image; @scale=70: about the largest usual value;
                               @nonnegative; @region: only the voxels of the mask in column NAME_region count

[bold]Examples[/]

  ctan-monai new lesions --task segmentation:lesion=core,edema --task classification:grade=low,high

  ctan-monai new brats --spatial-dims 3 --image mr:t1,t2 --task segmentation:regions=whole:1+2+4,core:1+4,enhancing:4

  ctan-monai new plans --image ct --task segmentation:oar=Rectum,Femur_L,Femur_R@overlapping --task regression:dose=Gy

  ctan-monai new bones --image gray --task regression:age=years@image --task classification:sex=female,male
"""


def new(
    name: Annotated[str, typer.Argument(help="Name of the bundle, and of its folder.")],
    task: Annotated[list[str], typer.Option(help="KIND:NAME=DETAILS, see below; one or more.")],
    spatial_dims: Annotated[int, typer.Option(min=2, max=3, help="2: images, or slices of volumes; 3: volumes.")] = 2,
    image: Annotated[
        str, typer.Option(help="rgb or gray images, ct or mr volumes; mr:t1,t2 names channels. rgb in 2D, ct in 3D.")
    ] = "",
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder in which the bundle gets one of its name.")] = Path(
        "."
    ),
) -> None:
    """Write a bundle for your own data: configs to train, evaluate and infer, without any Python.

    It runs at once, on synthetic cases; a table of yours is given to it with --datalist.
    """
    from rich.console import Console

    from ctan_monai.apps.new_bundle import EXAMPLE, write_bundle
    from ctan_monai.apps.new_parts import Plan
    from ctan_monai.apps.new_tasks import parse_image, parse_task
    from ctan_monai.tasks import check_tasks

    tasks = tuple(parse_task(text) for text in task)
    check_tasks(entry.task for entry in tasks)
    folder = write_bundle(Plan(name, tasks, parse_image(image, spatial_dims), spatial_dims), out)
    console = Console()
    shown = shlex.quote(str(folder))
    root = "" if out.resolve() == Path.cwd() else f" --bundle_root {shown}"
    for line in (
        f"Written: {folder}. Try it on synthetic cases:",
        f"  python -m monai.bundle run training --config_file {shown}/configs/train.yaml{root}",
        f"Then write a table as {folder / EXAMPLE}, check it, and train on it:",
        f"  python -m ctan_monai verify --bundle {shown} --datalist cases.csv",
        f"  python -m monai.bundle run training --config_file {shown}/configs/train.yaml{root} --datalist cases.csv",
    ):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


EPILOG = _EXAMPLES
