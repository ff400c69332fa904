"""Prescriptions of RTPLANs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctan_monai.data.dicom.read.reading import read_dicom, reading


@dataclass(frozen=True)
class Plan:
    """The prescription of a plan.

    Args:
        label: its name in the planning system.
        prescription_gy: dose prescribed to the target; the highest where several are; None if it names none.
        source: which attribute the prescription was read from.
        targets_gy: every dose that is prescribed to a target volume.
        fractions: how many are planned, None if not said.
        beams: numbers of the beams that treat.
    """

    label: str
    prescription_gy: float | None
    source: str
    targets_gy: tuple[float, ...]
    fractions: int | None
    beams: frozenset[int]


def read_plan(path: str | Path) -> Plan:
    """Read a plan.

    The prescription is the TargetPrescriptionDose of the dose references of type TARGET that are volumes or sites
    (points only if there are no others); without any, the beams' doses of one fraction times the fractions.

    Args:
        path: an RTPLAN (photons, electrons or ions).

    Raises:
        DataError: it cannot be read.
    """
    path = Path(path)
    with reading(path, "the plan"):
        dataset = read_dicom(path)
        groups = list(dataset.get("FractionGroupSequence") or [])
        targets = _targets(dataset)
        beams = [beam for group in groups for beam in group.get("ReferencedBeamSequence") or []]
        fractions = sum(int(group.get("NumberOfFractionsPlanned") or 0) for group in groups) or None
        prescription, source = (max(targets), "TargetPrescriptionDose") if targets else _from_beams(groups)
        return Plan(
            label=str(dataset.get("RTPlanLabel", "") or ""),
            prescription_gy=prescription,
            source=source,
            targets_gy=tuple(sorted(targets, reverse=True)),
            fractions=fractions,
            beams=frozenset(int(beam.ReferencedBeamNumber) for beam in beams if beam.get("BeamMeterset") is not None),
        )


def _targets(dataset: Any) -> list[float]:
    references = [
        reference
        for reference in dataset.get("DoseReferenceSequence") or []
        if str(reference.get("DoseReferenceType", "")).upper() == "TARGET"
    ]
    volumes = [item for item in references if str(item.get("DoseReferenceStructureType", "")) in ("VOLUME", "SITE")]
    doses = [item.get("TargetPrescriptionDose") for item in volumes or references]
    return sorted({round(float(dose), 6) for dose in doses if dose is not None and float(dose) > 0})


def _from_beams(groups: Sequence[Any]) -> tuple[float | None, str]:
    total = 0.0
    for group in groups:
        beams = group.get("ReferencedBeamSequence") or []
        per_fraction = sum(float(beam.get("BeamDose") or 0.0) for beam in beams)
        total += per_fraction * int(group.get("NumberOfFractionsPlanned") or 0)
    return (round(total, 6), "BeamDose") if total > 0 else (None, "")
