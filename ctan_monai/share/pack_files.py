"""Files of a packed bundle: weights, digests, the list of large files, the archive."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import yaml
from torch import Tensor

from ctan_monai.engines.runs.torch_file import save_atomic
from ctan_monai.errors import DataError
from ctan_monai.files.atomic import replacing

WEIGHTS = ("models/model.pt", "models/model.safetensors")
LARGE_BYTES = 25_000_000  # what the Model Zoo allows in its repository
_LARGE_FILES = "large_files.yml"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can hold: two packs of one run are the same
_COPIED = ("LICENSE", "configs", "docs", "sample", "datalist_example.csv")
_FORMAT = {"format": "pt"}
_CHUNK = 1 << 20


def copy_bundle(bundle: Path, folder: Path) -> None:
    """Copy the files that belong to a bundle, and no others.

    Raises:
        DataError: something is a link, or cannot be read.
    """
    for name in _COPIED:
        source = bundle / name
        for path in [source] if source.is_file() else sorted(source.rglob("*")):
            relative = path.relative_to(bundle)
            if path.is_symlink():
                raise DataError(path, None, "it is a link, which an archive cannot hold.", "Put the file there.")
            hidden = any(part.startswith((".", "__pycache__")) for part in relative.parts)  # .pseudonym.key among them
            if path.is_file() and not hidden and path.suffix != ".key":
                (folder / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / relative)


def write_weights(state: Mapping[str, Tensor], folder: Path) -> dict[str, dict[str, int | str]]:
    """Write weights as model.pt, a plain state dict, and as model.safetensors.

    Returns:
        By file: ``bytes``, ``md5``, ``sha256``.
    """
    from safetensors.torch import save_file

    pt, safe = (folder / name for name in WEIGHTS)
    pt.parent.mkdir(parents=True, exist_ok=True)
    save_atomic(dict(state), pt)
    with replacing(safe) as temporary:  # safetensors itself lets nobody else read the file
        save_file({name: tensor.detach().clone().contiguous() for name, tensor in state.items()}, temporary, _FORMAT)
    return {
        name: {
            "bytes": (folder / name).stat().st_size,
            **{kind: digest(folder / name, kind) for kind in ("md5", "sha256")},
        }
        for name in WEIGHTS
    }


def digest(path: Path, kind: str) -> str:
    """Compute a file's digest by an algorithm of hashlib."""
    found = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def write_large_files(folder: Path, url: str) -> list[str]:
    """Write large_files.yml if a file is too large for the Model Zoo's repository.

    Args:
        folder: of the bundle.
        url: where the files will lie; their places in the bundle are added.

    Returns:
        Their places.
    """
    large = [path for path in _files(folder) if path.stat().st_size > LARGE_BYTES]
    places = [path.relative_to(folder).as_posix() for path in large]
    entries = [
        {"path": place, "url": f"{url.rstrip('/')}/{place}", "hash_val": digest(path, "md5"), "hash_type": "md5"}
        for place, path in zip(places, large, strict=True)
    ]
    if entries:
        text = yaml.safe_dump({"large_files": entries}, sort_keys=False, width=10_000)
        (folder / _LARGE_FILES).write_text(text, encoding="utf-8")
    return places


def write_zip(folder: Path, archive: Path) -> None:
    """Write a folder as a reproducible zip, with the folder's name in front."""
    with zipfile.ZipFile(archive, "x") as opened:
        for path in _files(folder):
            entry = zipfile.ZipInfo(path.relative_to(folder.parent).as_posix(), _EPOCH)
            entry.external_attr, entry.create_system = 0o644 << 16, 3
            stored = path.suffix in (".pt", ".safetensors")  # numbers that look random: a tenth of the size at most
            entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            entry.file_size = path.stat().st_size
            with path.open("rb") as source, opened.open(entry, "w") as target:
                shutil.copyfileobj(source, target, _CHUNK)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
