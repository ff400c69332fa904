"""``ctan-monai prepare``: prepare a clinic's files for training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ctan_monai.data.dicom.read.table import ACCEPTED, Row
from ctan_monai.data.lists.splits import SPLITS
from ctan_monai.errors import ConfigError

if TYPE_CHECKING:
    from ctan_monai.data.datasets.dicom_rt.prepare import Prepared


def cases_table(prepared: Prepared) -> Table:
    """Tabulate the cases of each split, and those with a known dose and structure."""
    found = ", ".join(f"{count} {kind}" for kind, count in prepared.found.items())
    table = Table(title=f"Accepted cases (in the folder: {found})", title_justify="left")
    table.add_column("")
    groups = [[row for row in prepared.accepted if split in (row.split, "all")] for split in (*SPLITS, "all")]
    for split in (*SPLITS, "all"):
        table.add_column(split, justify="right")
    names = Counter(name for row in prepared.accepted for name in row.facts.get("structures", {}))
    lines: dict[str, list[int]] = {
        "patients": [len({row.patient for row in rows}) for rows in groups],
        "cases": [len(rows) for rows in groups],
        "with dose": [sum("dose" in row.facts for row in rows) for rows in groups],
    }
    for name, _ in names.most_common():
        lines[f"with {name}"] = [sum(name in row.facts.get("structures", {}) for row in rows) for rows in groups]
    for title, counts in lines.items():
        table.add_row(title, *map(str, counts))
    return table


def reasons_table(rows: Sequence[Row], most: int) -> Table:
    """Tabulate the reasons of exclusion with remedies, the most common first."""
    counts = Counter((row.what, row.reason, row.remedy) for row in rows if row.status != ACCEPTED)
    table = Table(title="Not accepted", title_justify="left")
    table.add_column("number", justify="right")
    for column in ("what", "reason", "remedy"):
        table.add_column(column)
    for (what, reason, remedy), count in counts.most_common(most):
        table.add_row(str(count), what, Text(reason), Text(remedy))
    if len(counts) > most:
        table.add_row("...", "", f"{len(counts) - most} more reasons in table.csv", "")
    return table


if TYPE_CHECKING:
    from rich.console import Console

    from ctan_monai.data.datasets.dicom_rt.prepare import Prepared

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Turn a clinic's files into cases to train on.")

_LISTED = 15  # lines that the console shows; all of them are in table.csv
_EXAMPLES = """[bold]Examples[/]

  ctan-monai prepare dicom --in EXPORT --out PREPARED

  ctan-monai prepare dicom --in EXPORT --out NIFTI --format nifti --identities ../who_is_who.csv

  ctan-monai prepare dicom --in EXPORT --out PREPARED --modality MR --series "t2_tse_tra"
"""


@app.callback()
def _group() -> None:
    """Keep `dicom` a subcommand while it is the only one."""


@app.command(epilog=_EXAMPLES)
def dicom(
    in_dir: Annotated[
        Path, typer.Option("--in", exists=True, file_okay=False, help="Folder of DICOM files, nested in any way.")
    ],
    out_dir: Annotated[Path, typer.Option("--out", file_okay=False, help="Folder for the cases.")],
    kind: Annotated[str, typer.Option("--format", help="cache (to train on) or nifti (for other tools).")] = "cache",
    names: Annotated[
        list[str] | None,
        typer.Option(help="YAML file, or text: a structure, a colon, its names here, as 'Heart: [Herz, Cor]'."),
    ] = None,
    structures: Annotated[str, typer.Option(help="Structures to keep, as Rectum,Bladder; all by default.")] = "",
    required: Annotated[str, typer.Option(help="Structures that a patient must have, as PTV; none by default.")] = "",
    need: Annotated[str, typer.Option(help="What a patient must have.")] = "structures,dose",
    prescription: Annotated[
        str | None,
        typer.Option(
            help="Instead of what RTPLANs say: Gy; names: the level in targets' names, as PTV_7000; or a CSV with the "
            "columns patient or folder, and prescription_gy."
        ),
    ] = None,
    normalize_to: Annotated[
        float | None, typer.Option(help="Scale each dose so that its prescription becomes this many Gy.")
    ] = None,
    holes: Annotated[str, typer.Option(help="xor: contours within contours are holes; or: they are not.")] = "xor",
    between: Annotated[
        str, typer.Option(help="Slices between contours: interpolate, or nearest within half a slice.")
    ] = "interpolate",
    boost: Annotated[str, typer.Option(help="Several plans for one patient: refuse, or sum their doses.")] = "refuse",
    sides: Annotated[str, typer.Option(help="Left structures on the right: refuse the patient, or drop them.")] = (
        "refuse"
    ),
    ambiguous: Annotated[
        str, typer.Option(help="Several structure sets on a CT: refuse, newest, approved, or /.../ for its label.")
    ] = "refuse",
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Repair missing, duplicate and flipped slices and mixed series; accept a structure set, structure or "
            "dose of another frame of reference if its references lead to the CT, and a CT that ends before its "
            "contours, its dose or the images that its structure set refers to. Each repair is noted.",
        ),
    ] = False,
    pixel_mm: Annotated[float | None, typer.Option(help="Resample to this pixel size within the slices.")] = None,
    body_margin_mm: Annotated[float | None, typer.Option(help="Crop slices to the body and so many mm.")] = None,
    modality: Annotated[str, typer.Option(help="Of the planning images: CT, or MR.")] = "CT",
    series: Annotated[
        str | None,
        typer.Option(help="SeriesDescription or SeriesNumber of the planning images, where there are several series."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes; one per processor by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    split: Annotated[str, typer.Option(help="Fractions of training, validation and test.")] = "0.7,0.15,0.15",
    patient_by: Annotated[str, typer.Option(help="Tell patients apart by id, or by study.")] = "id",
    key: Annotated[Path | None, typer.Option(dir_okay=False, help="File of the pseudonyms' key.")] = None,
    identities: Annotated[
        Path | None, typer.Option(dir_okay=False, help="CSV file to write that says whose pseudonym is whose.")
    ] = None,
) -> None:
    """Prepare CT (or MR), structure sets and doses: found by UID, checked, on the CT's grid.

    Run it again to go on after a kill, or after patients were added.

    What was accepted, and why the rest was not, stands in table.csv.

    Patients get pseudonyms. Take .pseudonym.key out of the folder before you give it away.
    """
    from rich.console import Console

    from ctan_monai.data.datasets.dicom_rt.prepare import prepare_dicom
    from ctan_monai.data.dicom.read.names import mapping_of
    from ctan_monai.data.dicom.read.options import DicomOptions

    table, dose = _prescription(prescription)
    settings: dict[str, Any] = {  # DicomOptions checks the values
        "names": mapping_of(names or ()),
        "structures": _listed(structures),
        "required": _listed(required),
        "need": _listed(need),
        "prescription_gy": dose,
        "normalize_to_gy": normalize_to,
        "holes": holes,
        "between": between,
        "boost": boost,
        "sides": sides,
        "ambiguous": ambiguous,
        "repair": repair,
        "pixel_mm": pixel_mm,
        "body_margin_mm": body_margin_mm,
        "modality": modality,
        "series": series,
    }
    written: dict[str, Any] = {"kind": kind, "workers": workers, "seed": seed, "patient_by": patient_by}
    prepared = prepare_dicom(
        in_dir,
        out_dir,
        DicomOptions(**settings),
        split_fractions=_fractions(split),
        key_file=key,
        identities=identities,
        prescriptions=table,
        **written,
    )
    _show(Console(), prepared)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _prescription(text: str | None) -> tuple[Path | None, float | str | None]:
    """Return the table of prescriptions that is named, or else the dose in Gy or word, which DicomOptions checks."""
    from ctan_monai.data.lists.table import TABLE_SUFFIXES

    if text is None or text.lower().endswith(TABLE_SUFFIXES):
        return (Path(text) if text else None), None
    try:
        return None, float(text)
    except ValueError:
        return None, text


def _fractions(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in _listed(text))
    except ValueError as error:
        raise ConfigError("split", f"{text!r} was found.", "Give three numbers, as 0.7,0.15,0.15.") from error


def _show(console: Console, prepared: Prepared) -> None:
    from rich.text import Text

    from ctan_monai.data.dicom.read.table import prescriptions

    console.print(cases_table(prepared))
    if len(prepared.accepted) < len(prepared.rows):
        console.print(reasons_table(prepared.rows, _LISTED))
        _show_files(console, prepared)
    warnings = []
    if any(row.facts.get("synthetic") for row in prepared.accepted):
        warnings.append("The data are SYNTHETIC: no patient was imaged.")
    doses = prescriptions(prepared.rows)
    if len(doses) > 1:
        listed = ", ".join(f"{count} x {dose}" for dose, count in doses.items())
        warnings.append(f"Mixed prescriptions in Gy: {listed}. See --normalize-to.")
    if prepared.unreadable:
        found = f"{prepared.unreadable} files look like DICOM and could not be read"
        warnings.append(f"{found}: a CT may lack slices. --identities lists them.")
    if prepared.others:
        warnings.append(f"{prepared.others} other files are not DICOM, and were passed over.")
    for warning in warnings:
        console.print(Text(warning, style="yellow"))
    place = str(prepared.datalist.parent)
    console.print("The cases, and table.csv with every reason, are in", place, soft_wrap=True, markup=False)


def _show_files(console: Console, prepared: Prepared) -> None:
    """List the files at fault, whose names may identify patients and stand nowhere else but in the identities."""
    found = [row for row in prepared.rows if row.source]
    if found:
        console.print("Files at fault, in the folder that was read (their names stand in no table that is written):")
    for row in found[:_LISTED]:
        console.print(f"  {row.source}: {row.what}: {row.reason}", soft_wrap=True, markup=False, highlight=False)
    if len(found) > _LISTED:
        console.print(f"  ... and {len(found) - _LISTED} more, which --identities lists.", markup=False)
