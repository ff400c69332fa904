"""Link CT, structure sets, plans and doses by their UIDs alone."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ctan_monai.data.dicom.read.header import Header, kind_of
from ctan_monai.data.dicom.read.reading import in_modality
from ctan_monai.data.dicom.read.unlinked_reasons import (
    CONTRADICTING,
    ENHANCED,
    PREDICTED,
    SCOUT,
    SPLIT_REMEDY,
    Everyone,
    Reason,
    why_dose,
    why_structure_set,
)

_STUDY_FIRST = "study "
_SPLIT_FROM = 3  # series of one image; below, they are scouts and the like


@dataclass(frozen=True)
class PlanDose:
    """A plan and its doses.

    Args:
        plan: the RTPLAN, None if it is not in the folder.
        doses: RTDOSEs.
    """

    plan: Header | None
    doses: tuple[Header, ...]


@dataclass(frozen=True)
class StructureSet:
    """A structure set with its plans' doses."""

    header: Header
    plan_doses: tuple[PlanDose, ...] = ()


@dataclass(frozen=True)
class Linked:
    """A CT series with its linked objects.

    Args:
        identity: who it is (PatientID, or the study if there is none); never written or logged.
        ct: the series' images.
        structure_sets: those drawn on it.
        plan_doses: doses that belong to this CT, but to none of its structure sets.
        sets_elsewhere: what structure sets of other patients refer to it, and what brings them together.
    """

    identity: str
    ct: tuple[Header, ...]
    structure_sets: tuple[StructureSet, ...]
    plan_doses: tuple[PlanDose, ...]
    sets_elsewhere: tuple[Reason, ...] = ()

    def others(self) -> list[Header]:
        """Return the linked structure sets and doses."""
        groups = [*self.plan_doses, *(group for each in self.structure_sets for group in each.plan_doses)]
        return [each.header for each in self.structure_sets] + [dose for group in groups for dose in group.doses]


@dataclass(frozen=True)
class UnlinkedObject:
    """An object that belongs to no CT series in the folder.

    Args:
        identity: who it is.
        header: the object.
        reason: why it belongs nowhere.
        remedy: what would help.
    """

    identity: str
    header: Header
    reason: str
    remedy: str


def link(
    objects: Iterable[Header],
    patient_by: str = "id",
    predicted: bool = False,
    modality: str = "CT",
    series: str | None = None,
) -> tuple[list[Linked], list[UnlinkedObject]]:
    """Link the objects of a folder by their UIDs, patient by patient.

    A structure set belongs to the CT series it refers to, by the series' UID or its images'; only if it refers to
    none at all, to the only series of its frame of reference. A dose belongs to the structure set that its plan
    refers to, or that it refers to itself; if the plan is not in the folder, to the only one whose CT has the
    dose's frame of reference.

    Args:
        objects: of a scan.
        patient_by: 'id' to tell patients apart by PatientID, 'study' by study (where the IDs were all made equal).
        predicted: link what networks of this software predicted, too, instead of leaving it out as nothing to learn
            from; for reading predictions back.
        modality: 'MR' for planning on MR: its series take the place of the CT series.
        series: SeriesDescription or SeriesNumber of the series that are meant; None for all.

    Returns:
        One entry per CT series, and what belongs to none.
    """
    objects = [each for each in objects if each.kind != kind_of(modality) or each.is_called(series)]
    patients: dict[str, list[Header]] = defaultdict(list)
    for header in objects:
        by_id = patient_by == "id" and header.patient_id
        patients[header.patient_id if by_id else _STUDY_FIRST + header.study_uid].append(header)
    linked: list[Linked] = []
    unlinked: list[UnlinkedObject] = []
    everyone = Everyone.of(patients, patient_by, modality)
    for identity, headers in patients.items():
        found, left = _Patient(identity, headers, everyone, predicted).link()
        linked += found
        unlinked += left
    return linked, unlinked


class _Patient:
    """The objects of one patient, sorted by what they belong to."""

    def __init__(self, identity: str, headers: Sequence[Header], everyone: Everyone, predicted: bool) -> None:
        self.identity, self.everyone = identity, everyone
        self.unlinked: list[UnlinkedObject] = []
        planning = kind_of(everyone.modality)
        by_kind: dict[str, list[Header]] = defaultdict(list)
        for header in headers:
            if header.predicted and not predicted:
                self.unlinked.append(self._unlinked(header, PREDICTED))
            else:
                by_kind[header.kind].append(header)
        self.series: dict[str, list[Header]] = defaultdict(list)
        for header in by_kind[planning]:
            if not header.localizer:
                self.series[header.series_uid].append(header)
        self.split = self._without_split_series()
        self.structure_sets = self._once(by_kind["RTSTRUCT"])
        self.plans = self._once(by_kind["RTPLAN"])
        self.doses = self._once(by_kind["RTDOSE"])
        if planning == "CT":
            self.unlinked += [self._unlinked(header, ENHANCED) for header in by_kind["enhanced ct"]]
        named = {uid for each in self.structure_sets.values() for images in each.images.values() for uid in images}
        scouts = [each for each in by_kind[planning] if each.localizer and each.sop_uid in named]
        self.unlinked += [self._unlinked(each, SCOUT) for each in scouts]
        if not any(by_kind[kind] for kind in (planning, "enhanced ct", "RTSTRUCT", "RTDOSE")):
            listed = ", ".join(f"{len(found)} {kind}" for kind, found in by_kind.items() if found)
            reason = f"its patient has no CT, only {listed}."
            self.unlinked.append(self._unlinked(next(iter(headers)), (reason, "Add the CT, or take this patient out.")))

    def _unlinked(self, header: Header, why: Reason) -> UnlinkedObject:
        reason, remedy = (in_modality(text, self.everyone.modality) for text in why)
        return UnlinkedObject(self.everyone.identity[header.path], header, reason, remedy)

    def _without_split_series(self) -> dict[str, str]:
        """Remove CTs of which each image is a series of its own; return their series by image UID."""
        together: dict[tuple[str, str], list[Header]] = defaultdict(list)
        for uid, images in self.series.items():
            if uid and len(images) == 1:
                together[images[0].study_uid, images[0].frame_uid].append(images[0])
        split: dict[str, str] = {}
        for images in together.values():
            if len(images) < _SPLIT_FROM:
                continue
            split |= {image.sop_uid: self.series.pop(image.series_uid)[0].series_uid for image in images}
            reason = f"{len(images)} CT series of one image each: every image has a SeriesInstanceUID of its own."
            self.unlinked.append(self._unlinked(images[0], (reason, SPLIT_REMEDY)))
        return split

    def _once(self, headers: Iterable[Header]) -> dict[str, Header]:
        """Keep one of several files of the same object, none if they differ."""
        found: dict[str, Header] = {}
        contradicting = set()
        for header in headers:
            first = found.setdefault(header.sop_uid, header)
            if first is not header and not filecmp.cmp(first.path, header.path, shallow=False):
                contradicting.add(header.sop_uid)
        self.unlinked += [self._unlinked(found.pop(uid), CONTRADICTING) for uid in sorted(contradicting)]
        return found

    def link(self) -> tuple[list[Linked], list[UnlinkedObject]]:
        series_of = self._series_of_structure_sets()
        doses: dict[str, dict[str, list[Header]]] = defaultdict(lambda: defaultdict(list))
        loose: dict[str, dict[str, list[Header]]] = defaultdict(lambda: defaultdict(list))
        for dose in self.doses.values():
            self._place(dose, series_of, doses, loose)
        linked = []
        for uid, images in self.series.items():
            sets = [
                StructureSet(self.structure_sets[each], self._plan_doses(doses[each]))
                for each, series in series_of.items()
                if series == uid
            ]
            linked.append(
                Linked(
                    self.identity,
                    tuple(images),
                    tuple(sets),
                    self._plan_doses(loose[uid]),
                    tuple(self.everyone.sets_elsewhere.get(uid, ())),
                )
            )
        return linked, self.unlinked

    def _plan_doses(self, by_plan: Mapping[str, list[Header]]) -> tuple[PlanDose, ...]:
        return tuple(PlanDose(self.plans.get(plan), tuple(doses)) for plan, doses in by_plan.items())

    def _series_of_structure_sets(self) -> dict[str, str]:
        """Return the CT series of each structure set that has one."""
        found = {}
        for uid, structure_set in self.structure_sets.items():
            candidates = self._candidates(structure_set)
            if len(candidates) == 1:
                found[uid] = candidates[0]
                continue
            why = why_structure_set(structure_set, self.everyone, len(candidates), self.split)
            self.unlinked.append(self._unlinked(structure_set, why))
        return found

    def _candidates(self, structure_set: Header) -> list[str]:
        named = [uid for uid in structure_set.images if uid in self.series]
        if named:
            return named
        images = frozenset[str]().union(*structure_set.images.values())
        holding = [uid for uid, ct in self.series.items() if any(each.sop_uid in images for each in ct)]
        if holding or images or any(structure_set.images):
            return holding
        return [uid for uid, ct in self.series.items() if ct[0].frame_uid in structure_set.frames]

    def _place(
        self,
        dose: Header,
        series_of: Mapping[str, str],
        doses: dict[str, dict[str, list[Header]]],
        loose: dict[str, dict[str, list[Header]]],
    ) -> None:
        """Assign a dose to its structure set, or to its CT if it has none."""
        plan = next((self.plans[uid] for uid in dose.plans if uid in self.plans), None)
        if plan is None and (other := self.everyone.apart(dose, self.everyone.plans_of(dose))):
            reason = f"a dose under another {self.everyone.attribute(dose, other)} refers to it."
            self.unlinked.append(self._unlinked(other, (reason, self.everyone.way_out(dose, other))))
        group = plan.sop_uid if plan else (dose.plans[0] if dose.plans else "")
        referred = (plan.structure_sets if plan else ()) + dose.structure_sets
        named = next((uid for uid in referred if uid in series_of), None)
        if named is not None:
            doses[named][group].append(dose)
            return
        series = [uid for uid, ct in self.series.items() if dose.frame_uid and ct[0].frame_uid == dose.frame_uid]
        sets = [uid for uid, each in series_of.items() if each in series]
        if len(sets) == 1:
            doses[sets[0]][group].append(dose)
        elif len(series) == 1 and not sets:
            loose[series[0]][group].append(dose)
        else:
            why = why_dose(dose, plan, self.everyone, max(len(sets), len(series)))
            self.unlinked.append(self._unlinked(dose, why))
