"""Checks of a request's address and body while it streams; files in a form are not kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl, unquote

from ctan_monai.errors import DataError
from ctan_monai.files.duplicates import pairs_once
from ctan_monai.serve.names import check_id, check_name

_FIELD_BYTES = 2**20
_SMALLER = "Send fewer parameters."
_IDS = frozenset({"image", "label", "id", "user", "client_id"})
_NAMES = frozenset({"tag", "label_tag", "model", "session_id"})
_OBJECTS = frozenset({"params", "info"})  # fields of forms that hold JSON
_PATHS = frozenset({"static", "ohif", "proxy"})  # files of the viewer, and addresses of a DICOMweb server
_OFF = frozenset({"", "0", "false", "no", "off", "f", "n"})


class Body:
    """The body of a request.

    Args:
        headers: of the request.
        looked_at: whether to look at it; what goes to a DICOMweb server has other rules.
    """

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], looked_at: bool = True) -> None:
        found = next((value for key, value in headers if key.lower() == b"content-type"), b"").decode("latin-1")
        kind = Message()
        kind["content-type"] = found
        self._unsaid = not found  # the server tries JSON then
        self._kind = "" if not looked_at else "application/json" if self._unsaid else kind.get_content_type()
        boundary = kind.get_boundary()
        self._mark = b"\r\n--" + boundary.encode("latin-1") if boundary else b""
        self._kept, self._field = b"\r\n" if self._mark else b"", ""
        self._within = "preamble"  # preamble, head, field, file

    def feed(self, part: bytes, last: bool) -> None:
        """Feed a chunk of the body, and check what is complete.

        Raises:
            DataError: a parameter may not pass.
        """
        if self._kind == "multipart/form-data" and self._mark:
            self._kept += part
            while self._step():
                pass
        elif self._kind.endswith(("json", "x-www-form-urlencoded")):
            self._kept += part
        if self._within != "file" and len(self._kept) > _FIELD_BYTES:
            raise DataError("parameters", None, f"they are longer than {_FIELD_BYTES} bytes.", _SMALLER)
        if last and self._kind.endswith("json"):
            content = self._kept.decode("utf-8", "replace")
            if not self._unsaid or is_json(content):
                check_parameters(content, "body")
        elif last and self._kind.endswith("x-www-form-urlencoded"):
            for name, content in parse_qsl(self._kept.decode("utf-8", "replace"), keep_blank_values=True):
                check_field(name, content)

    def _step(self) -> bool:
        """Parse the next part of a form if it is complete."""
        if self._within == "head":
            head, found, rest = self._kept.partition(b"\r\n\r\n")
            if found:
                self._enter(head)
                self._kept = b"\r\n" + rest  # of an empty part, the next mark follows at once
            return bool(found)
        at = self._kept.find(self._mark)
        if at < 0:
            if self._within in ("file", "preamble"):
                self._kept = self._kept[-len(self._mark) :]
            return False
        if self._within == "field":
            check_field(self._field, self._kept[2:at].decode("utf-8", "replace"))
        self._within, self._kept = "head", self._kept[at + len(self._mark) :]
        return True

    def _enter(self, head: bytes) -> None:
        """Parse the headers of a part."""
        lines = Message()
        for line in head.decode("utf-8", "replace").split("\r\n"):
            name, found, value = line.partition(":")
            if found and name.strip().lower() == "content-disposition":
                lines["content-disposition"] = value.strip()
        self._field = str(lines.get_param("name", "", "content-disposition"))
        is_file = lines.get_param("filename", None, "content-disposition") is not None
        self._within = "file" if is_file else "field"


def check_address(scope: Mapping[str, Any]) -> None:
    """Check the names and file operations in a request's path and query.

    Raises:
        DataError: one could lead out of a folder, or an archive shall be unpacked.
    """
    raw = scope.get("raw_path") or scope["path"].encode()
    parts = [part for part in unquote(raw.split(b"?")[0].decode("latin-1")).split("/") if part]
    if not parts or parts[0] not in _PATHS:
        for part in parts:
            check_name(part, "path")
    elif ".." in parts or any("\0" in part or "\\" in part for part in parts):
        check_name("..", "path")
    for key, value in parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True):
        if key == "uncompress" and value.strip().lower() not in _OFF:
            raise DataError(key, None, "archives are not unpacked here.", "Send the image itself.")
        if not _checked(key, value) and ("\0" in value or ".." in value):
            check_name("..", key[:64])


def is_passed_on(path: str) -> bool:
    """Tell whether a path is one of the viewer's files, or is forwarded to a DICOMweb server."""
    return path.strip("/").split("/")[0] in _PATHS


def check_parameters(content: str, what: str) -> None:
    """Check JSON parameters.

    Args:
        content: JSON; nothing and null count as no parameters.
        what: for the message.

    Raises:
        DataError: it is no JSON object, a key stands there twice, or a name in it could lead out of a folder.
    """
    remedy = 'Send an object such as {"max_epochs": 1}.'
    try:
        found = json.loads(content, object_pairs_hook=pairs_once) if content.strip() else None
    except (ValueError, RecursionError) as error:
        raise DataError(what, None, f"it is no JSON ({error}).", remedy) from error
    if found is None:
        return
    if not isinstance(found, dict):
        raise DataError(what, None, f"it is a {type(found).__name__}, expected an object.", remedy)
    for key, value in found.items():
        _checked(key, value)


def is_json(content: str) -> bool:
    """Tell whether a text is JSON."""
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def check_field(name: str, content: str) -> None:
    """Check a field of a form.

    Raises:
        DataError: see `check_parameters`.
    """
    if name in _OBJECTS:
        check_parameters(content, name)
    else:
        _checked(name, content)


def _checked(key: str, value: Any) -> bool:
    """Check a value whose key says that it is a name or path, and tell whether it is one."""
    if key not in _IDS | _NAMES:
        return False
    if value not in (None, ""):
        check_id(value, key) if key in _IDS else check_name(value, key)
    return True
