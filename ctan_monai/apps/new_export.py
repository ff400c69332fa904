"""Propose a bundle from an export of a clinic's DICOM."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table
from rich.text import Text

from ctan_monai.apps.new_bundle import check_place
from ctan_monai.apps.new_dicom import CACHE, OUTLINE, DicomPlan, plan_of, write_dicom_bundle
from ctan_monai.apps.prepare import cases_table, reasons_table
from ctan_monai.data.cases.cache import processors, read_case_file
from ctan_monai.data.datasets.dicom_rt.prepare import Prepared, prepare_dicom
from ctan_monai.data.dicom.read.options import NAMES, DicomOptions
from ctan_monai.data.dicom.read.survey import Survey, survey
from ctan_monai.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

_LISTED = 20  # names and reasons that the console shows
_CASES = 20  # that the image size is taken from
_SIZE_STEP, _SIZE_MAX = 32, 256
_WORKERS_MAX = 4


def new_from_export(console: Console, export: Path, name: str, out: Path, given: Mapping[str, Any]) -> Path | None:
    """Look through an export, print what it holds, and write a bundle for it with the cases prepared in its cache.

    Args:
        console: to print on; nothing that is printed names a patient.
        export: folder of DICOM.
        name: of the bundle; '' to print the proposal only.
        out: folder in which the bundle gets one of its name.
        given: arguments of ``new_dicom.plan_of``, which win over what is proposed: structures that half of the patients
            have, and the highest usual prescription.

    Returns:
        The bundle's folder, None if there is none.

    Raises:
        DataError: there is no CT, or no patient can be used.
        ConfigError: an option cannot be used, or there is no structure to draw.
    """
    target = check_place(name, out, CACHE) if name else None
    modality = given["image"].upper()
    found = survey(export, workers=processors(_WORKERS_MAX), names=given["names"], modality=modality)
    for table in tables_of(found, modality):
        console.print(table)
    structures = given["structures"] or (() if given["task"] else [each for each in found.common() if each != OUTLINE])
    if not structures and not given["task"]:
        reason = "no structure that is understood is in half of the patients."
        raise ConfigError("--from", reason, "Give --structures, or rename what is not understood.")
    prescription_gy = given["prescription_gy"] or found.prescription_gy
    plan = plan_of(name or "proposal", **{**given, "structures": structures, "prescription_gy": prescription_gy})
    plan = dataclasses.replace(plan, names={**found.mapping, **plan.names})
    with tempfile.TemporaryDirectory() as temporary:
        options = options_of(plan)
        listed = None if plan.prescribed in ("", NAMES) else plan.prescribed
        prepared = prepare_dicom(export, target / CACHE if target else temporary, options, prescriptions=listed)
        plan = dataclasses.replace(plan, image_size=image_size(prepared))
    console.print(cases_table(prepared))
    if len(prepared.accepted) < len(prepared.rows):
        console.print(reasons_table(prepared.rows, _LISTED))
    _print_proposal(console, plan)
    return write_dicom_bundle(plan, out) if name else None


def options_of(plan: DicomPlan) -> DicomOptions:
    """Return how a bundle's training reads its DICOM, so that what is prepared now is used then."""
    return DicomOptions(
        names={key: tuple(names) for key, names in plan.mapping.items()},
        prescription_gy="names" if plan.prescribed == NAMES else None,
        pixel_mm=plan.pixel_mm,
        **plan.options,
    )


def tables_of(found: Survey, modality: str = "CT") -> list[Table]:
    """Tabulate an export's structures, names that mean nothing, prescriptions and grids."""
    listed = ", ".join(f"{count} {kind}" for kind, count in found.objects.items())
    title = f"Structures of {found.patients} patients (in the folder: {listed})"
    shown = Table(title=title, title_justify="left")
    shown.add_column("structure")
    shown.add_column("patients", justify="right")
    shown.add_column("names in the data (? guessed; - passed over, beside another)")
    for group in found.groups:
        names = [f"{name}{' ?' if name in group.guessed else ''} {count}" for name, count in group.names.items()]
        names += [f"- {name} {count}" for name, count in group.others.items()]
        shown.add_row(group.structure, str(group.patients), Text(", ".join(names)))
    if found.unknown:
        names = [f"{name} {count}" for name, count in list(found.unknown.items())[:_LISTED]]
        names += [f"and {len(found.unknown) - _LISTED} more"] if len(found.unknown) > _LISTED else []
        shown.add_row("not understood", "", Text(", ".join(names)))
    rest = Table(title="Plans and images", title_justify="left", show_header=False)
    for what, counts in (
        ("prescriptions, Gy", found.prescriptions),
        (f"{modality}, rows x columns x slices", found.grids),
        ("dose", found.dose_grids),
    ):
        rest.add_row(what, ", ".join(f"{count} x {text}" for text, count in list(counts.items())[:_LISTED]) or "none")
    return [shown, rest]


def image_size(prepared: Prepared) -> tuple[int, int]:
    """Return rows and columns of the middle of the slices that hold the outlines of the first accepted cases."""
    needed = np.array([128, 128])
    for row in prepared.accepted[:_CASES]:
        case = read_case_file(prepared.datalist.parent / next(iter(row.files)))
        if (outline := case.masks.get(OUTLINE)) is not None and outline.any():
            places = np.argwhere(outline.any(axis=2))
            middle = (np.array(outline.shape[:2]) - 1) / 2
            needed = np.maximum(needed, np.ceil(2 * np.abs(places - middle).max(axis=0)).astype(int) + 1)
    rows, columns = (int(-(-size // _SIZE_STEP) * _SIZE_STEP) for size in needed)
    return min(rows, _SIZE_MAX), min(columns, _SIZE_MAX)


def _print_proposal(console: Console, plan: DicomPlan) -> None:
    lines = {
        "drawn": ", ".join(plan.segmented),
        "read": ", ".join(plan.structures),
        "scale of the dose": f"{plan.scale:g} Gy, for {plan.prescription_gy:g} Gy" if plan.dose else "no dose",
        "pixels": f"{plan.pixel_mm:g} mm, {plan.image_size[0]} x {plan.image_size[1]} of them to train on",
        "names": "; ".join(f"{name}: {', '.join(names)}" for name, names in plan.mapping.items()) or "as in the table",
    }
    console.print("Proposal:")
    for what, text in lines.items():
        console.print(f"  {what}: {text}", soft_wrap=True, markup=False, highlight=False)
