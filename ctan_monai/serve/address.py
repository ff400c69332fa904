"""Check what a request names: in its path, its query and its parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from ctan_monai.errors import DataError
from ctan_monai.serve.names import check_id, check_name

_IDS = frozenset({"image", "label", "id", "user", "client_id"})
_NAMES = frozenset({"tag", "label_tag", "model", "session_id"})
_OBJECTS = frozenset({"params", "info"})  # fields of forms that hold JSON
_PATHS = frozenset({"static", "ohif", "proxy"})  # files of the viewer, and addresses of a DICOMweb server
_OFF = frozenset({"", "0", "false", "no", "off", "f", "n"})


def check_address(scope: Mapping[str, Any]) -> None:
    """Check the names in a request's path and query, and what it asks the server to do with a file.

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
    """Tell whether a path is one of the viewer's files, or is answered by a DICOMweb server."""
    return path.strip("/").split("/")[0] in _PATHS


def check_parameters(content: str, what: str) -> None:
    """Check parameters that come as JSON.

    Args:
        content: JSON; nothing and null count as no parameters.
        what: for the message.

    Raises:
        DataError: it is no JSON object, or a name in it could lead out of a folder.
    """
    remedy = 'Send an object such as {"max_epochs": 1}.'
    try:
        found = json.loads(content) if content.strip() else None
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
    """Check a value whose key says that it names something, and tell whether it does."""
    if key not in _IDS | _NAMES:
        return False
    if value not in (None, ""):
        check_id(value, key) if key in _IDS else check_name(value, key)
    return True
