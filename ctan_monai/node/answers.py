"""Answers of a prediction with UIDs that follow from what was predicted, so that the same answer is one object."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.data.dicom.write import SeededUids
from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replacing
from ctan_monai.node.incoming import short
from ctan_monai.node.jobs import Answer

_NEW = "2.25."  # what the writers make (identity.new_uid)
_ORDER = ("CT", "RTSTRUCT", "SEG", "RTPLAN", "RTDOSE", "SR")  # what is referred to comes first


def store_answers(output: Path, into: Path, folder: Path, inputs: Sequence[Path], seed: str) -> list[Answer]:
    """Store the DICOM files of a prediction under UIDs of its inputs, its weights and the kind of output.

    Every UID that the writers made is replaced by one that follows from ``seed``, the file's name and the instances
    that it refers to; references among the answers are replaced alike. All else stays.

    Args:
        output: folder in which ``inferring`` wrote.
        into: folder for the answers.
        folder: of the node; paths in the result are relative to it.
        inputs: files that were predicted.
        seed: of the inputs and the weights.

    Returns:
        The answers in the order in which they refer to each other.

    Raises:
        DataError: there is none, or one cannot be written.
    """
    import pydicom

    paths = sorted(output.rglob("*.dcm"))
    if not paths:
        raise DataError(output, None, "no DICOM object was written.", "Look at the job's log.")
    known = {uid for path in inputs for uid in _uids(pydicom.dcmread(path, stop_before_pixels=True))}
    read = [(path, pydicom.dcmread(path)) for path in paths]
    replaced = _new_uids(output, read, known, seed)
    made = []
    for _, dataset in read:
        for element in _elements(dataset):
            element.value = _replace(element.value, replaced)
        uid = str(dataset.SOPInstanceUID)
        dataset.file_meta.MediaStorageSOPInstanceUID = uid
        made.append(_store(dataset, into / f"{short(uid)}.dcm", folder))
    order = {kind: at for at, kind in enumerate(_ORDER)}
    return sorted(made, key=lambda answer: order.get(answer.kind, len(order)))


def _new_uids(output: Path, read: Sequence[tuple[Path, Any]], known: Collection[str], seed: str) -> dict[str, str]:
    """Return the new UID of each that the writers made."""
    keyed = []
    for path, dataset in read:
        within = path.relative_to(output).parts[1:]  # without the case, whose pseudonym is another in each node
        refers = hashlib.sha256("\n".join(sorted(set(_uids(dataset)) & set(known))).encode()).hexdigest()
        keyed.append(("/".join(within) or path.name, refers, dataset))
    replaced: dict[str, str] = {}
    for name, refers, dataset in sorted(keyed, key=lambda each: each[:2]):
        source = SeededUids("node", seed, name, refers)
        own = str(dataset.SOPInstanceUID)
        for uid in (own, *_uids(dataset)):
            if uid.startswith(_NEW) and uid not in known and uid not in replaced:
                replaced[uid] = source()
    return replaced


def _elements(dataset: Any) -> Iterator[Any]:
    """Yield the elements of UIDs, at any depth."""
    for element in dataset:
        if element.VR == "UI":
            yield element
        elif element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)


def _uids(dataset: Any) -> Iterator[str]:
    for element in _elements(dataset):
        values = [element.value] if isinstance(element.value, str) else element.value or []
        yield from (str(value) for value in values)


def _replace(value: Any, replaced: dict[str, str]) -> Any:
    if isinstance(value, str):
        return replaced.get(str(value), value)
    return None if value is None else [replaced.get(str(each), str(each)) for each in value]


def _store(dataset: Any, path: Path, folder: Path) -> Answer:
    import pydicom

    with replacing(path) as temporary:
        pydicom.dcmwrite(temporary, dataset)
    content = path.read_bytes()
    return Answer(
        str(dataset.SOPInstanceUID), str(dataset.Modality), str(dataset.SOPClassUID),
        str(dataset.file_meta.TransferSyntaxUID), path.relative_to(folder).as_posix(), len(content),
        hashlib.sha256(content).hexdigest(),
    )  # fmt: skip
