"""Look through an export: names of structures, prescriptions, grids; nothing of it names a patient."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ctan_monai.data.dicom.read.contours import read_rois
from ctan_monai.data.dicom.read.guess import guess_structure
from ctan_monai.data.dicom.read.header import Header
from ctan_monai.data.dicom.read.link import Linked, link
from ctan_monai.data.dicom.read.names import StructureNames, known_forms, normal_form
from ctan_monai.data.dicom.read.plan import read_plan
from ctan_monai.data.dicom.read.reading import read_dicom
from ctan_monai.data.dicom.read.scan import scan
from ctan_monai.errors import DataError

_USUAL = 0.2  # share of the plans


@dataclass(frozen=True)
class Group:
    """The names that mean one structure.

    Args:
        structure: TG-263.
        patients: how many have it.
        names: own names that are taken for it, by the number of patients, the most common first.
        others: names that mean it too, but stand beside one of ``names`` in a patient, so that they are passed over.
        guessed: those of ``names`` that the package's table does not have.
    """

    structure: str
    patients: int
    names: Mapping[str, int]
    others: Mapping[str, int] = field(default_factory=dict)
    guessed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Survey:
    """What an export holds, counted.

    Args:
        objects: DICOM objects by kind.
        patients: with a CT.
        groups: structures, the most common first.
        unknown: names that mean nothing here, by the number of patients.
        prescriptions: plans by prescription, as text in Gy.
        grids: CT series by voxels, as text.
        dose_grids: doses by voxels.
    """

    objects: Mapping[str, int]
    patients: int
    groups: tuple[Group, ...]
    unknown: Mapping[str, int]
    prescriptions: Mapping[str, int]
    grids: Mapping[str, int]
    dose_grids: Mapping[str, int]

    @property
    def mapping(self) -> dict[str, list[str]]:
        """Own names by structure where the package's table does not lead to the same, for ``names.read_mapping``."""
        return {
            group.structure: list({normal_form(name): name for name in (group.structure, *group.names)}.values())
            for group in self.groups
            if group.guessed or group.others
        }

    def common(self, share: float = 0.5) -> list[str]:
        """Return the structures that at least this share of the patients has, in the order of ``groups``."""
        return [group.structure for group in self.groups if group.patients >= share * self.patients]

    @property
    def prescription_gy(self) -> float | None:
        """The highest prescription that a fifth of the plans has; None if no plan states one."""
        known = {float(text): count for text, count in self.prescriptions.items() if text != "unknown"}
        usual = [gy for gy, count in known.items() if count >= _USUAL * sum(known.values())]
        return max(usual or known, default=None)


def survey(
    folder: str | Path,
    patient_by: str = "id",
    workers: int = 1,
    progress: bool = True,
    names: Mapping[str, Sequence[str]] | None = None,
    modality: str = "CT",
) -> Survey:
    """Look through a folder of DICOM as ``prepare_dicom`` would link it, without reading images.

    Args:
        folder: nested and named in any way.
        patient_by: 'id' or 'study'; see ``link.link``.
        workers: processes that read headers.
        progress: show a bar.
        names: own names of structures, see ``names.read_mapping``.
        modality: of the planning images: 'CT' or 'MR'; with 'MR' those series count on which structures were drawn.

    Raises:
        DataError: there is no such folder, or no CT in it.
    """
    found = scan(folder, workers, progress)
    linked, _ = link(found.objects, patient_by, modality=modality)
    if modality == "MR":  # an examination has many series, a plan one
        linked = [each for each in linked if each.structure_sets]
    if not linked:
        listed = ", ".join(f"{count} {kind}" for kind, count in found.counts().items())
        what = "CT series" if modality == "CT" else f"{modality} series with a structure set"
        raise DataError(
            folder, None, f"there is no {what}; found {listed}.", f"Give a folder with planning {modality}s."
        )
    sets: dict[str, list[set[str]]] = defaultdict(list)
    for each in linked:
        sets[each.identity] += [_names_of(structures.header) for structures in each.structure_sets]
    groups, unknown = group_names(sets.values(), names)
    return Survey(
        found.counts(),
        len({each.identity for each in linked}),
        groups,
        unknown,
        _ordered(_prescriptions(linked)),
        _ordered(_voxels(each.ct[0], len(each.ct)) for each in linked),
        _ordered(_voxels(dose) for each in linked for dose in each.others() if dose.kind == "RTDOSE"),
    )


def group_names(
    patients: Iterable[Sequence[set[str]]], given: Mapping[str, Sequence[str]] | None = None
) -> tuple[tuple[Group, ...], dict[str, int]]:
    """Group the names of structures by what they mean.

    Args:
        patients: for each patient the structure sets, each the names of its structures with contours.
        given: own names of structures, see ``names.read_mapping``; for these none is guessed.

    Returns:
        The groups, the most common first, and how many patients have each other name.
    """
    patients = [[set(names) for names in sets] for sets in patients]
    counts = Counter(name for sets in patients for name in set().union(*sets))
    table = StructureNames(given)
    forms = {form: name for form, name in known_forms().items() if name not in table.mapping}
    meanings: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for name, count in counts.items():
        in_table = next(iter(table.match([name]).found), "")
        meaning = in_table or guess_structure(name, forms)
        rank = 0 if normal_form(name) == normal_form(meaning) else 1 if in_table else 2
        meanings[meaning].append((rank, -count, name))
    unknown = {name: -less for _, less, name in sorted(meanings.pop("", []), key=lambda each: each[1:])}
    groups = [_group(meaning, sorted(found), patients) for meaning, found in meanings.items()]
    return tuple(sorted(groups, key=lambda group: (-group.patients, group.structure))), unknown


def _group(meaning: str, found: Sequence[tuple[int, int, str]], patients: Sequence[Sequence[set[str]]]) -> Group:
    """Take names in the order of trust, unless one stands beside another of the same structure set."""
    taken: dict[str, int] = {}
    others: dict[str, int] = {}
    for _, less, name in found:
        beside = any(name in names and names & taken.keys() for sets in patients for names in sets)
        (others if beside else taken)[name] = -less
    have = sum(any(names & taken.keys() for names in sets) for sets in patients)
    ordered = dict(sorted(taken.items(), key=lambda each: (-each[1], each[0])))
    guessed = tuple(name for rank, _, name in found if rank == 2 and name in taken)
    return Group(meaning, have, ordered, others, guessed)


def _names_of(structure_set: Header) -> set[str]:
    try:
        return {roi.name for roi in read_rois(structure_set.path) if roi.contours}
    except DataError:  # the reader says why, when the patient is read
        return set()


def _prescriptions(linked: Iterable[Linked]) -> list[str]:
    plans: dict[str, Header] = {}
    for each in linked:
        groups = [*each.plan_doses, *(group for structures in each.structure_sets for group in structures.plan_doses)]
        plans |= {group.plan.sop_uid: group.plan for group in groups if group.plan}
    found = []
    for plan in plans.values():
        try:
            gy = read_plan(plan.path).prescription_gy
        except DataError:  # as above
            gy = None
        found.append("unknown" if gy is None else f"{gy:g}")
    return found


def _voxels(header: Header, slices: int = 0) -> str:
    """Return the number and size of an image's voxels, as text."""
    try:
        dataset = read_dicom(header.path, stop_before_pixels=True)
        offsets = dataset.get("GridFrameOffsetVector") or []
        thick = abs(float(offsets[1]) - float(offsets[0])) if len(offsets) > 1 else dataset.get("SliceThickness")
        size = [*(float(mm) for mm in dataset.PixelSpacing), *([float(thick)] if thick else [])]
        count = (int(dataset.Rows), int(dataset.Columns), slices or int(dataset.get("NumberOfFrames") or 1))
    except (DataError, AttributeError, TypeError, ValueError):  # as above
        return "unknown"
    return f"{' x '.join(map(str, count))} of {' x '.join(f'{mm:.3g}' for mm in size)} mm"


def _ordered(found: Iterable[str]) -> dict[str, int]:
    return dict(Counter(found).most_common())
