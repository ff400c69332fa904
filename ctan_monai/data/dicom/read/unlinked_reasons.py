"""Say why an object belongs to no CT series, and what would help: which link failed, and where its other end is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ctan_monai.data.dicom.read.header import Header, kind_of

Reason = tuple[str, str]  # and remedy

PREDICTED = ("a network of this software predicted it; nothing is trained on that.", "Nothing needs to be done.")
ENHANCED = ("it is an enhanced (multi-frame) CT, which is not read here.", "Convert it to single slices.")
SCOUT = (
    "its ImageType says LOCALIZER, so it is no slice of a CT, but a structure set refers to it.",
    "Correct the ImageType if it is a slice.",
)
CONTRADICTING = ("two files with its UID have different contents.", "Take the wrong one out.")
SPLIT_REMEDY = "Export the CT again as one series, or give its images one SeriesInstanceUID."
_TOGETHER = "Export CT, structure set, plan and dose together: some of them were given other UIDs."


@dataclass(frozen=True)
class Everyone:
    """All objects of a folder by the identifiers that others refer to, over all patients.

    Args:
        by: 'id' or 'study', see ``link``.
        identity: of the patient of each file.
        objects: by SOPInstanceUID.
        series: an image of each series.
        frames: a CT image of each frame of reference.
        modality: of the planning images.
    """

    by: str
    identity: Mapping[Path, str]
    objects: Mapping[str, Header]
    series: Mapping[str, Header]
    frames: Mapping[str, Header]
    modality: str = "CT"

    @classmethod
    def of(cls, patients: Mapping[str, Sequence[Header]], by: str, modality: str = "CT") -> Everyone:
        """Index the objects of all patients."""
        headers = [header for found in patients.values() for header in found]
        cts = [header for header in headers if header.kind == kind_of(modality) and not header.localizer]
        return cls(
            by,
            {header.path: identity for identity, found in patients.items() for header in found},
            {header.sop_uid: header for header in headers},
            {header.series_uid: header for header in headers},
            {header.frame_uid: header for header in cts if header.frame_uid},
            modality,
        )

    def referred(self, structure_set: Header) -> list[Header]:
        """Return the images in the folder that a structure set refers to, by any patient."""
        uids = frozenset[str]().union(*structure_set.images.values())
        found = [self.objects[uid] for uid in uids if uid in self.objects]
        found = found or [self.series[uid] for uid in structure_set.images if uid and uid in self.series]
        if found or uids or any(structure_set.images):
            return found
        return [self.frames[uid] for uid in structure_set.frames if uid in self.frames]

    def plans_of(self, dose: Header) -> list[Header]:
        """Return the plans in the folder that a dose refers to, by any patient."""
        return [self.objects[uid] for uid in dose.plans if uid in self.objects]

    def apart(self, one: Header, others: Iterable[Header]) -> Header | None:
        """Return the first object that is another patient's."""
        return next((each for each in others if self.identity[each.path] != self.identity[one.path]), None)

    def attribute(self, one: Header, other: Header) -> str:
        """Return the attribute by which two objects are of different patients."""
        if self.by == "study" or not (one.patient_id or other.patient_id):
            return "StudyInstanceUID"
        return "PatientID" if one.patient_id and other.patient_id else "PatientID (one of the two has none)"

    def way_out(self, one: Header, other: Header) -> str:
        """Return what would link two objects."""
        name = self.attribute(one, other).split()[0]
        if self.by == "id" and one.study_uid == other.study_uid:
            return f"Pass --patient-by study, or correct the {name}."
        if self.by == "study" and one.patient_id and one.patient_id == other.patient_id:
            return "Pass --patient-by id."
        return f"Correct the {name} of one of them."

    @cached_property
    def sets_elsewhere(self) -> dict[str, list[Reason]]:
        """Return the structure sets of other patients that refer to each CT series."""
        found: dict[str, list[Reason]] = defaultdict(list)
        for header in self.objects.values():
            if header.kind == "RTSTRUCT" and (image := self.apart(header, self.referred(header))):
                reason = f"; one under another {self.attribute(header, image)} does."
                found[image.series_uid].append((reason, self.way_out(header, image)))
        return found


def why_structure_set(header: Header, everyone: Everyone, candidates: int, split: Mapping[str, str]) -> Reason:
    """Explain why a structure set has no CT series.

    Args:
        header: of the structure set.
        everyone: all objects.
        candidates: how many CT series it could belong to.
        split: images that are series of their own, by UID of the image.
    """
    if candidates:
        reason = f"it refers to {candidates} CT series in the folder, expected one."
        return reason, "Take the series that it was not drawn on out of the folder."
    referred = everyone.referred(header)
    alone = sum(image.sop_uid in split for image in referred)
    if alone:
        return f"it refers to {alone} images that are {alone} CT series of one image each.", SPLIT_REMEDY
    other = everyone.apart(header, referred)
    named = any(header.images) or any(header.images.values())
    if other and named:
        reason = f"the images it refers to are in the folder, under another {everyone.attribute(header, other)}."
        return reason, everyone.way_out(header, other)
    if other:
        attribute = everyone.attribute(header, other)
        reason = f"it names no images, and the CT of its frame of reference is under another {attribute}."
        return reason, everyone.way_out(header, other)
    if referred:
        kinds = Counter("scout of a CT" if image.localizer else image.kind for image in referred)
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        return (
            f"the images it refers to are no CT series ({listed}).",
            "Give the structure set that was drawn on the CT.",
        )
    return _refers_to_nothing_here(header, everyone, named)


def _refers_to_nothing_here(header: Header, everyone: Everyone, named: bool) -> Reason:
    add = "Add the CT series it was drawn on."
    if named and any(uid in everyone.frames for uid in header.frames):
        reason = "the images it refers to are not among the CT series in the folder; a CT of its frame of reference is."
        return reason, _TOGETHER
    if named:
        return "the images it refers to are not among the CT series in the folder.", add
    if header.frames:
        reason = "it names no images, and no CT series in the folder has its frame of reference (FrameOfReferenceUID)."
        return reason, add
    reason = (
        "it names neither images nor a frame of reference (ReferencedFrameOfReferenceSequence, ContourImageSequence "
        "and ReferencedFrameOfReferenceUID are absent)."
    )
    return reason, "Export it again with the images that it was drawn on."


def why_dose(dose: Header, plan: Header | None, everyone: Everyone, could_be: int) -> Reason:
    """Explain why a dose has no CT series.

    Args:
        dose: its header.
        plan: its RTPLAN, None if the patient has none.
        everyone: all objects.
        could_be: how many CT series or structure sets have its frame of reference.
    """
    sets = (plan.structure_sets if plan else ()) + dose.structure_sets
    links = {
        "plan": everyone.plans_of(dose),
        "structure set": [everyone.objects[uid] for uid in sets if uid in everyone.objects],
        "CT of its frame of reference": [everyone.frames[dose.frame_uid]] if dose.frame_uid in everyone.frames else [],
    }
    for what, found in links.items():
        if other := everyone.apart(dose, found):
            the = "the" if what.startswith("CT") else "its"
            reason = f"{the} {what} is in the folder, under another {everyone.attribute(dose, other)}."
            return reason, everyone.way_out(dose, other)
    if links["structure set"]:
        return "its structure set is in the folder, but belongs to no CT series.", "See the row of the structure set."
    if could_be:
        reason = f"its plan's structure set is not in the folder, and {could_be} could be its."
        return reason, "Add its RTPLAN and RTSTRUCT, or take out the CT series and structure sets that are not its."
    lacking = " (it has no FrameOfReferenceUID)" if not dose.frame_uid else ""
    add = "Add the CT, RTSTRUCT and RTPLAN that it was planned with."
    if plan is not None:
        reason = f"neither its plan's structure set nor a CT of its frame of reference{lacking} is in the folder."
        return reason, add
    return f"neither its plan nor a CT of its frame of reference{lacking} is in the folder.", add
