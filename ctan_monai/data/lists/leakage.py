"""Leakage between splits: images of one lesion or patient, or the same image twice."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ctan_monai.data.cases.cache import read_header
from ctan_monai.errors import DataError, check_choice

_logger = logging.getLogger(__name__)
Datalists = Mapping[str, Sequence[Mapping[str, Any]]]  # items by split

# Measured on the 10,015 images of HAM10000 (docs/adr/0012). Thumbnails of one image saved twice correlate by 0.995
# or more, of different lesions by less than 0.991, but for one pair (0.9989) that is one lesion under two numbers. Of
# images with little contrast, saved with few colors or bits, 0.98 can be left; their mean color stays within a
# gray level, which that of no two lesions does that are so alike.
SAME_IMAGE = 0.993
ALIKE, SAME_COLOR = 0.975, 2.0
_BLOCK = 2000  # images compared at once: a block of correlations takes 16 MB
_MOST_LISTED = 10
_ORIENTATIONS = 8

Thumbnails = npt.NDArray[np.int8]
_PATIENT = "patient_id"
_THUMBNAIL = "thumbnail"


@dataclass(frozen=True)
class ImageFingerprint:
    """The fingerprint of an image: lesion, patient, file and thumbnail.

    Args:
        case: id.
        lesion: its number, None if it is not known.
        patient: None if it is not known.
        sha256: of the image's file, as hex.
        thumbnail: (16, 16) int8, see `images.thumbnail_of`.
        mean_rgb: mean color, 0 to 255; None if it is not known.
    """

    case: str
    lesion: str | None
    patient: str | None
    sha256: str
    thumbnail: Thumbnails
    mean_rgb: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Leak:
    """Two cases in different splits that are not independent."""

    kind: str
    first: str
    first_split: str
    second: str
    second_split: str

    def __str__(self) -> str:
        """Describe the leak in one line."""
        return f"{self.kind}: {self.first} ({self.first_split}) and {self.second} ({self.second_split})"


def fingerprint_meta(
    lesion: str | None,
    patient: str | None,
    sha256: str,
    thumbnail: Thumbnails,
    mean_rgb: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Return the entries of a case's ``meta`` from which `read_fingerprints` reads the fingerprint."""
    found = {"lesion_id": lesion, "patient_id": patient, "file_sha256": sha256, "thumbnail": thumbnail.tobytes().hex()}
    return found if mean_rgb is None else {**found, "mean_rgb": [round(value, 2) for value in mean_rgb]}


def read_fingerprints(items: Sequence[Mapping[str, Any]]) -> list[ImageFingerprint]:
    """Read the fingerprints of a datalist's cases from the headers of their files.

    Raises:
        DataError: a file cannot be read, or was prepared without fingerprints.
    """
    found = []
    for item in items:
        header = read_header(item["file"])
        try:
            found.append(fingerprint_of(header.case, header.meta))
        except (KeyError, TypeError, ValueError) as error:
            reason = f"it does not say what image it came from ({error})."
            raise DataError(item["file"], header.case, reason, "Delete it and prepare the data again.") from error
    return found


def fingerprint_of(case: str, meta: Mapping[str, Any]) -> ImageFingerprint:
    """Return the fingerprint that `fingerprint_meta` put into a case's ``meta``.

    Raises:
        KeyError: it has none.
        ValueError: it was damaged.
    """
    pixels = np.frombuffer(bytes.fromhex(meta["thumbnail"]), np.int8)
    side = int(np.sqrt(len(pixels)))
    color = tuple(map(float, meta["mean_rgb"])) if "mean_rgb" in meta else None
    ids = (meta["lesion_id"], meta["patient_id"], meta["file_sha256"])
    return ImageFingerprint(case, *ids, pixels.reshape(side, side), color)


def same_images(first: Sequence[ImageFingerprint], second: Sequence[ImageFingerprint]) -> list[tuple[int, int]]:
    """Find images with the same content, however they were saved, also mirrored or rotated by 90 degrees.

    Two images are the same if their thumbnails, of which brightness and contrast are taken out, correlate by at
    least 0.993, or by 0.975 where their mean colors differ by 2 gray levels at most. Images without any contrast
    are told apart by their files only.

    Returns:
        Pairs of positions in ``first`` and ``second``.
    """
    if not first or not second:
        return []
    mine, theirs = _stacked(first), _stacked(second)
    own, (my_colors, their_colors) = _normalized(mine), (_colors(first), _colors(second))  # (N, P), (N, 3), (M, 3)
    found: set[tuple[int, int]] = set()
    for orientation in range(_ORIENTATIONS):
        turned = theirs[:, :, ::-1] if orientation >= 4 else theirs
        other = _normalized(np.rot90(turned, orientation % 4, axes=(1, 2)))  # (M, P)
        for start in range(0, len(own), _BLOCK):
            alike = own[start : start + _BLOCK] @ other.T  # (block, M)
            rows, columns = np.nonzero(alike >= ALIKE)
            apart = np.abs(my_colors[rows + start] - their_colors[columns]).max(1)  # (pairs,); nan: not known
            same = (alike[rows, columns] >= SAME_IMAGE) | (apart <= SAME_COLOR)
            found.update(zip((rows[same] + start).tolist(), columns[same].tolist(), strict=True))
    return sorted(found)


def group_related(fingerprints: Sequence[ImageFingerprint]) -> dict[str, str]:
    """Group cases such that those of one lesion, patient, file or image are in one group.

    Returns:
        By case, the first case (in the alphabet) that it is linked with, itself if there is none.
    """
    group = list(range(len(fingerprints)))

    def root(position: int) -> int:
        while group[position] != position:
            group[position] = group[group[position]]
            position = group[position]
        return position

    for first, second in (*_sharing(fingerprints), *same_images(fingerprints, fingerprints)):
        group[root(first)] = root(second)
    names: dict[int, str] = {}
    for position, fingerprint in sorted(enumerate(fingerprints), key=lambda entry: entry[1].case):
        names.setdefault(root(position), fingerprint.case)
    return {fingerprint.case: names[root(position)] for position, fingerprint in enumerate(fingerprints)}


def find_leaks(splits: Mapping[str, Sequence[ImageFingerprint]]) -> list[Leak]:
    """Find cases in different splits that share an id, a lesion, a patient or a file, or show the same image.

    A pair is listed once for each thing it shares; the same file is not listed as the same image too.
    """
    names = list(splits)
    leaks: list[Leak] = []
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            leaks += _between(one, splits[one], other, splits[other])
    return leaks


def check_leakage(datalists: Datalists, on_leak: Literal["raise", "warn"] = "raise") -> list[Leak]:
    """Refuse splits that are not independent of each other; an entry of a config's ``run`` before the training.

    Args:
        datalists: items by split.
        on_leak: 'warn' only says so in the log.

    Returns:
        What was found.

    Raises:
        DataError: two cases in different splits are not independent.
        ConfigError: ``on_leak`` is neither.
    """
    check_choice("on_leak", on_leak, ("raise", "warn"))
    fingerprints = {
        split: read_fingerprints(list({str(item["file"]): item for item in items}.values()))  # a case has many slices
        for split, items in datalists.items()
    }
    leaks = find_leaks(fingerprints)
    counts = ", ".join(f"{len(found)} in {split}" for split, found in fingerprints.items())
    if not leaks:
        _logger.info("No lesion, patient, file or image is in two splits (%s).", counts)
        return leaks
    listed = "\n".join(f"  {leak}" for leak in leaks[:_MOST_LISTED])
    more = f"\n  ... and {len(leaks) - _MOST_LISTED} more" if len(leaks) > _MOST_LISTED else ""
    reason = f"the splits are not independent ({counts}); {len(leaks)} pairs:\n{listed}{more}\n"
    if on_leak == "raise":
        remedy = "Put each pair into one split, or leave the split to this program; on_leak: warn accepts it."
        raise DataError("datalists", None, reason, remedy)
    _logger.warning("%s", reason)
    return leaks


def _between(one: str, first: Sequence[ImageFingerprint], other: str, second: Sequence[ImageFingerprint]) -> list[Leak]:
    leaks, same_file = [], set()
    for kind, field in (("same case", "case"), ("same lesion", "lesion"), ("same patient", "patient")):
        leaks += [Leak(kind, first[i].case, one, second[j].case, other) for i, j in _equal(first, second, field)]
    for i, j in _equal(first, second, "sha256"):
        same_file.add((i, j))
        leaks.append(Leak("same file", first[i].case, one, second[j].case, other))
    images = [pair for pair in same_images(first, second) if pair not in same_file]
    return leaks + [Leak("same image", first[i].case, one, second[j].case, other) for i, j in images]


def _equal(
    first: Sequence[ImageFingerprint], second: Sequence[ImageFingerprint], field: str
) -> Iterator[tuple[int, int]]:
    """Find pairs with the same known value of a field."""
    where: dict[str, list[int]] = {}
    for position, fingerprint in enumerate(second):
        where.setdefault(getattr(fingerprint, field) or "", []).append(position)
    where.pop("", None)
    for position, fingerprint in enumerate(first):
        for match in where.get(getattr(fingerprint, field) or "", []):
            yield position, match


def _sharing(fingerprints: Sequence[ImageFingerprint]) -> Iterator[tuple[int, int]]:
    """Link each fingerprint to the first one with the same lesion, patient or file."""
    for field in ("lesion", "patient", "sha256"):
        first: dict[str, int] = {}
        for position, fingerprint in enumerate(fingerprints):
            value = getattr(fingerprint, field)
            if value:
                yield position, first.setdefault(value, position)


def _stacked(fingerprints: Sequence[ImageFingerprint]) -> Thumbnails:
    return np.stack([fingerprint.thumbnail for fingerprint in fingerprints])  # (N, side, side)


def _colors(fingerprints: Sequence[ImageFingerprint]) -> npt.NDArray[np.float64]:
    unknown = (np.nan,) * 3
    return np.array(
        [unknown if fingerprint.mean_rgb is None else fingerprint.mean_rgb for fingerprint in fingerprints], np.float64
    )  # (N, 3)


def _normalized(thumbnails: Thumbnails) -> npt.NDArray[np.float32]:
    """Return (N, P), each row with mean 0 and length 1, or 0 for an image without contrast."""
    rows = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    rows -= rows.mean(1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)


def groups_of(items: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Group cases such that those of one lesion or patient are in one group.

    Images that carry fingerprints are linked by lesion, patient, file and likeness (`leakage.group_related`); other
    cases by their ``patient_id``, and a case without one stands for itself.

    Args:
        items: of a datalist; several of one case (slices) count once.

    Raises:
        DataError: a file cannot be read.
    """
    once = list({item["case"]: item for item in items}.values())
    metas = {item["case"]: read_header(item["file"]).meta for item in once}
    if metas and all(_THUMBNAIL in meta for meta in metas.values()):
        return group_related(read_fingerprints(once))
    return {case: str(meta.get(_PATIENT) or case) for case, meta in metas.items()}
