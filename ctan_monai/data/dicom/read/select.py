"""Select the structure set and the plans of a CT, or the reason why there is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctan_monai.data.dicom.read.header import Header
from ctan_monai.data.dicom.read.link import Linked, PlanDose, StructureSet
from ctan_monai.data.dicom.read.options import DicomOptions, is_pattern
from ctan_monai.data.dicom.read.reading import of_modality
from ctan_monai.errors import DataError


@dataclass(frozen=True)
class Study:
    """The objects of one case.

    Args:
        ct: the CT's images.
        structure_set: None if there is none and none is needed.
        plan_doses: doses by plan; several if a boost is to be added.
        notes: how the choice was made.
    """

    ct: tuple[Header, ...]
    structure_set: Header | None
    plan_doses: tuple[PlanDose, ...]
    notes: tuple[str, ...] = ()

    def objects(self) -> list[Header]:
        """Return every object that the case depends on."""
        parts = [each for group in self.plan_doses for each in (group.plan, *group.doses)]
        return [each for each in (*self.ct, self.structure_set, *parts) if each is not None]


def select(linked: Linked, options: DicomOptions) -> Study:
    """Select the objects of a case.

    Of several structure sets on the CT the one is taken whose label ``ambiguous`` asks for, or else the one that doses
    belong to, if it is one, or else the newest or the approved one, if that is asked for. A dose of several plans
    (MULTI_PLAN) stands for those plans.

    Raises:
        DataError: something that is needed is missing, or there is more than one choice.
    """
    with of_modality(options.modality):
        return _select(linked, options)


def _select(linked: Linked, options: DicomOptions) -> Study:
    chosen, notes = _structure_set(linked, options)
    if chosen is None and "structures" in options.need:
        more, remedy = next(iter(linked.sets_elsewhere), (".", "Add it, or pass --need without structures."))
        raise _refuse(linked, f"no structure set refers to this CT series{more}", remedy)
    plan_doses = chosen.plan_doses if chosen and chosen.plan_doses else linked.plan_doses
    if chosen and not plan_doses and is_pattern(options.ambiguous):  # the label decided, not the dose
        plan_doses = tuple(group for each in linked.structure_sets for group in each.plan_doses)
        notes += ["the dose belongs to another structure set of the CT"] if plan_doses else []
    plan_doses = _without_parts(plan_doses)
    if not plan_doses and "dose" in options.need:
        raise _refuse(linked, "no dose belongs to this CT series.", "Add it, or pass --need without dose.")
    if len(plan_doses) > 1:
        if options.boost == "refuse":
            reason = f"{len(plan_doses)} plans have doses for this structure set, perhaps a boost."
            raise _refuse(linked, reason, "Pass --boost sum to add them, or take one out.")
        notes.append(f"doses of {len(plan_doses)} plans added up")
    return Study(linked.ct, chosen.header if chosen else None, plan_doses, tuple(notes))


def _refuse(linked: Linked, reason: str, remedy: str) -> DataError:
    return DataError(Path(linked.ct[0].path).parent, None, reason, remedy)


def _structure_set(linked: Linked, options: DicomOptions) -> tuple[StructureSet | None, list[str]]:
    sets = linked.structure_sets
    if len(sets) <= 1:
        return (sets[0] if sets else None), []
    if is_pattern(options.ambiguous):
        pattern = re.compile(options.ambiguous[1:-1], re.IGNORECASE)
        matching = [each for each in sets if pattern.fullmatch(each.header.label)]
        return _only(linked, "have a label that matches", matching, options)
    with_dose = [each for each in sets if each.plan_doses]
    if len(with_dose) == 1:
        return with_dose[0], [f"of {len(sets)} structure sets the one of the planned dose was taken"]
    if options.ambiguous == "approved":
        return _only(linked, "are approved", [each for each in with_dose or sets if each.header.approved], options)
    if options.ambiguous == "newest":
        ordered = sorted(with_dose or sets, key=lambda each: each.header.date)
        if ordered[-1].header.date > ordered[-2].header.date:
            return ordered[-1], [f"of {len(sets)} structure sets the newest was taken"]
    found = f"{len(with_dose)} of them have doses" if with_dose else "none of them has a dose"
    reason = f"{len(sets)} structure sets were drawn on this CT series, and {found}."
    remedy = "Take the others out, or pass --ambiguous newest, approved, or /.../, which the label of one matches."
    raise _refuse(linked, reason, remedy)


def _only(
    linked: Linked, what: str, found: Sequence[StructureSet], options: DicomOptions
) -> tuple[StructureSet, list[str]]:
    """Return the only structure set that a rule takes, with a note."""
    sets, rule = len(linked.structure_sets), options.ambiguous
    if len(found) == 1:
        return found[0], [f"of {sets} structure sets the one was taken that --ambiguous {rule} asks for"]
    reason = f"{len(found)} of {sets} structure sets on this CT series {what}, as --ambiguous {rule} asks for."
    raise _refuse(linked, reason, "Change the rule so that it takes one, or take the others out.")


def _without_parts(plan_doses: Sequence[PlanDose]) -> tuple[PlanDose, ...]:
    """Return only the dose of DoseSummationType MULTI_PLAN if one covers all the plans."""
    plans = {group.plan.sop_uid for group in plan_doses if group.plan}
    plans |= {uid for group in plan_doses for dose in group.doses for uid in dose.plans[:1]}
    for group in plan_doses:
        for dose in group.doses:
            if dose.summation == "MULTI_PLAN" and plans <= set(dose.plans) and len(plan_doses) > 1:
                return (PlanDose(group.plan, (dose,)),)
    return tuple(plan_doses)
