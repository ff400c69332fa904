"""MR series in DICOM, alone or with a CT and structure sets, found by their headers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctan_monai.data.dicom.read.header import Header
from ctan_monai.data.dicom.read.link import Linked, link
from ctan_monai.data.dicom.read.pseudonyms import Pseudonyms, read_or_make_key
from ctan_monai.data.dicom.read.recognize import look_at
from ctan_monai.data.dicom.read.scan import scan
from ctan_monai.errors import DataError

KEY = ".pseudonym.key"  # in the cache
_MODALITY, _REGISTRATION = "mr", "reg"


@dataclass(frozen=True)
class MrStudy:
    """An MR series, and what its patient has beside it.

    Args:
        case: pseudonym.
        images: of the series; of all series of the study where it is not clear which one is meant.
        cts: the patient's CT series, with their structure sets.
        registrations: the patient's spatial registrations.
        drawn: structure sets whose contours were drawn on its images.
        damaged: files beside its images that look like DICOM and cannot be read.
        problem: why it cannot be read; empty if it can.
    """

    case: str
    images: tuple[Header, ...]
    cts: tuple[Linked, ...] = ()
    registrations: tuple[Header, ...] = ()
    drawn: tuple[Header, ...] = ()
    damaged: int = 0
    problem: str = ""

    def objects(self) -> list[Header]:
        """Return all objects that a case may depend on."""
        linked = [each for ct in self.cts for each in (*ct.ct, *ct.others())]
        return [*self.images, *linked, *self.registrations, *self.drawn]


def any_dicom(root: Path) -> bool:
    """Tell whether a folder with any nesting holds a file that looks like DICOM."""
    return root.is_dir() and any(path.is_file() and _looks(path) for path in root.rglob("*"))


def _looks(path: Path) -> bool:
    try:
        return bool(look_at(path))
    except ValueError:  # named like DICOM, and none, which scan says
        return True


def find_mr_studies(root: Path, cache_dir: Path, mr: str | None = None, with_ct: bool = False) -> dict[Path, MrStudy]:
    """Find the MR series in a folder with any nesting, one for each study.

    A series of one image, as a scout often is, is passed over where there are others.

    Args:
        root: the folder.
        cache_dir: folder of the pseudonyms' key.
        mr: SeriesDescription or SeriesNumber of the series that is meant.
        with_ct: link CT series, structure sets and registrations of the same patients.

    Returns:
        By the first image's path, in the order of cases.

    Raises:
        DataError: there is no DICOM, or no MR series (of that name).
    """
    found = scan(root, progress=False)
    names = Pseudonyms(read_or_make_key(cache_dir / KEY))
    studies: dict[tuple[str, str], dict[str, list[Header]]] = defaultdict(lambda: defaultdict(list))
    for image in found.of(_MODALITY):
        if not image.localizer and image.is_called(mr):
            studies[_patient(image), image.study_uid][image.series_uid].append(image)
    if not studies:
        listed = ", ".join(f"{count} {kind}" for kind, count in found.counts().items())
        named = "" if mr is None else f" called {mr}"
        reason = f"there is no MR series{named} in it; found {listed}."
        raise DataError(
            root, None, reason, "Give the folder of an MR, or its SeriesDescription or SeriesNumber by --mr."
        )
    linked = link(found.objects)[0] if with_ct else []
    made = []
    for (patient, study), series in studies.items():
        images, problem = _one_of(list(series.values()))
        case = names.case(names.patient(patient), images[0].series_uid if not problem else study)
        cts = tuple(each for each in linked if _patient(each.ct[0]) == patient)
        registrations = tuple(each for each in found.of(_REGISTRATION) if with_ct and _patient(each) == patient)
        own = {image.sop_uid for image in images}
        sets = found.of("RTSTRUCT") if with_ct and not problem else []
        drawn = tuple(each for each in sets if any(named & own for named in each.frame_images.values()))
        alone = {image.path.parent for image in images} - _folders(studies, images)
        damaged = sum(path.parent in alone for path, _ in found.unreadable)
        made.append(MrStudy(case, tuple(images), cts, registrations, drawn, damaged, problem))
    return {study.images[0].path: study for study in sorted(made, key=lambda study: study.case)}


def _patient(header: Header) -> str:
    return header.patient_id or f"study {header.study_uid}"


def _folders(studies: Mapping[tuple[str, str], Mapping[str, Sequence[Header]]], images: Sequence[Header]) -> set[Path]:
    """Return the folders of all other series."""
    uid = images[0].series_uid
    every = [group for series in studies.values() for key, group in series.items() if key != uid]
    return {image.path.parent for group in every for image in group}


def _one_of(series: Sequence[list[Header]]) -> tuple[list[Header], str]:
    """Return the images of the only series of a study, and no problem; else all images and the problem."""
    stacks = [images for images in series if len(images) > 1] or list(series)
    if len(stacks) == 1:
        return sorted(stacks[0], key=lambda image: image.path), ""
    listed = ", ".join(f"SeriesNumber {images[0].number or 'unknown'} ({len(images)} images)" for images in stacks)
    return [image for images in stacks for image in images], f"its study has {len(stacks)} MR series: {listed}."
