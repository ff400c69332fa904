"""``ctan-monai new``: a bundle for a tabular dataset, or for DICOM-RT, and its tasks."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ctan_monai.errors import ConfigError

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

[bold]DICOM[/] (structures and dose from a clinic's CT or MR, RTSTRUCT, RTPLAN and RTDOSE)

  ctan-monai new breast --dicom --structures Heart,Lung_L,Lung_R,SpinalCord,Breast_L,PTV --prescription 50

  ctan-monai new --dicom --from EXPORT                (prints what is there, and what would be proposed)

  ctan-monai new breast --dicom --from EXPORT --boost sum

  ctan-monai new lung --dicom --structures Heart,Lungs,GTV,PTV --required PTV \\
    --task segmentation:oar=Heart,Lungs,GTV --task regression:dose=Gy          (without the latter: no dose)

  ctan-monai new mr_linac --dicom --image mr --structures Rectum,Bladder,Femur_L,Femur_R,CTV,PTV
"""


def new(
    name: Annotated[
        str, typer.Argument(help="Name of the bundle, and of its folder; without one, --from prints its proposal only.")
    ] = "",
    task: Annotated[list[str] | None, typer.Option(help="KIND:NAME=DETAILS, see below; one or more.")] = None,
    spatial_dims: Annotated[int, typer.Option(min=2, max=3, help="2: images, or slices of volumes; 3: volumes.")] = 2,
    image: Annotated[
        str,
        typer.Option(
            help="rgb or gray images, ct or mr volumes; mr:t1,t2 names channels. rgb in 2D, ct in 3D. With --dicom: "
            "ct, or mr for planning on MR."
        ),
    ] = "",
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder in which the bundle gets one of its name.")] = Path(
        "."
    ),
    dicom: Annotated[
        bool, typer.Option("--dicom", help="For DICOM-RT: structures and dose from a planning CT or MR.")
    ] = (False),
    structures: Annotated[
        str, typer.Option(help="With --dicom: what is read, TG-263; all but PTVs and External are drawn.")
    ] = "",
    required: Annotated[str, typer.Option(help="With --dicom: structures that every patient must have.")] = "",
    prescription: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="With --dicom: Gy, from which scale and metrics of the dose follow; 60, or the export's."
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            "--from", file_okay=False, help="With --dicom: folder of DICOM to look through and to propose from."
        ),
    ] = None,
    pixel_mm: Annotated[float, typer.Option(min=0.1, help="With --dicom: pixel size within the slices.")] = 3.0,
    boost: Annotated[str, typer.Option(help="With --dicom: several plans for a patient: refuse, or sum.")] = "refuse",
    ambiguous: Annotated[
        str,
        typer.Option(help="With --dicom: several structure sets on a CT: refuse, newest, approved, or /.../, a label."),
    ] = "refuse",
    names: Annotated[
        list[str] | None,
        typer.Option(help="With --dicom: own names, a YAML file or text such as 'Heart: [Herz, /cor.*/], PTV: ZV'."),
    ] = None,
    prescription_from: Annotated[
        str,
        typer.Option(
            help="With --dicom: where prescriptions are read, instead of RTPLANs: names (the level in targets' names, "
            "PTV_7000), or a CSV with the columns patient or folder, and prescription_gy."
        ),
    ] = "",
    window: Annotated[
        str, typer.Option(help="With --dicom: HU of a CT that become 0 and 1; -160,240 by default.")
    ] = "",
    body_margin_mm: Annotated[
        float | None, typer.Option(help="With --dicom: crop slices to the body and so many mm; no crop by default.")
    ] = None,
) -> None:
    """Write a bundle for your own data: configs to train, evaluate and infer, without any Python.

    It runs at once, on synthetic cases; a table of yours is given to it with --datalist, or with --dicom a folder of
    DICOM with --dataset_dir.
    """
    if not name and not (dicom and export):
        raise typer.BadParameter("Missing argument 'NAME'.")
    if dicom:
        from ctan_monai.data.dicom.read.names import mapping_of

        given = {
            "task": task or (),
            "structures": _listed(structures),
            "required": _listed(required),
            "prescription_gy": prescription,
            "pixel_mm": pixel_mm,
            "options": {"boost": boost, "ambiguous": ambiguous, "body_margin_mm": body_margin_mm},
            "names": mapping_of(names or ()),
            "window": _numbers(window),
            "image": image or "ct",
            "prescribed": prescription_from,
        }
        _new_dicom(name, out, export, given)
        return
    if not task:
        raise typer.BadParameter("Missing option '--task'.")
    from ctan_monai.apps.new_bundle import EXAMPLE, write_bundle
    from ctan_monai.apps.new_parts import Plan
    from ctan_monai.apps.new_tasks import parse_image, parse_task
    from ctan_monai.tasks import check_tasks

    tasks = tuple(parse_task(text) for text in task)
    check_tasks(entry.task for entry in tasks)
    folder = write_bundle(Plan(name, tasks, parse_image(image, spatial_dims), spatial_dims), out)
    _say(
        folder,
        out,
        f"Then write a table as {folder / EXAMPLE}, check it, and train on it:",
        f"  python -m ctan_monai verify --bundle {shlex.quote(str(folder))} --datalist cases.csv",
        given=" --datalist cases.csv",
    )


def _new_dicom(name: str, out: Path, export: Path | None, given: dict[str, Any]) -> None:
    """Write a bundle for DICOM, or print what is proposed for an export."""
    from rich.console import Console

    from ctan_monai.apps.new_dicom import plan_of, write_dicom_bundle
    from ctan_monai.apps.new_export import new_from_export

    folder: Path | None
    if export:
        folder = new_from_export(Console(), export, name, out, given)
    else:
        folder = write_dicom_bundle(plan_of(name, **given), out)
    if folder:
        data = shlex.quote(str(export)) if export else "EXPORT"
        _say(folder, out, "Then train on a folder of DICOM:", given=f" --dataset_dir {data}")


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _listed(text))
    except ValueError as error:
        raise ConfigError("--window", f"{text!r} was found.", "Give two whole numbers, as -160,240.") from error


def _say(folder: Path, out: Path, *then: str, given: str) -> None:
    """Print how the bundle is tried and trained."""
    from rich.console import Console

    console, shown = Console(), shlex.quote(str(folder))
    root = "" if out.resolve() == Path.cwd() else f" --bundle_root {shown}"
    train = f"  python -m monai.bundle run training --config_file {shown}/configs/train.yaml{root}"
    for line in (f"Written: {folder}. Try it on synthetic cases:", train, *then, train + given):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


EPILOG = _EXAMPLES
