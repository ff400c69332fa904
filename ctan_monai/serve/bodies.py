"""Look at the body of a request while it passes: the fields of a form, or JSON. Files in a form are not kept."""

from __future__ import annotations

from collections.abc import Iterable
from email.message import Message
from urllib.parse import parse_qsl

from ctan_monai.errors import DataError
from ctan_monai.serve.address import check_field, check_parameters, is_json

_FIELD_BYTES = 2**20
_SMALLER = "Send fewer parameters."


class Body:
    """One request's body.

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
        """Take a part of the body, and check what is complete.

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
        """Go to the next part of a form, if it has come as far."""
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
        """Read the lines before a part's content."""
        lines = Message()
        for line in head.decode("utf-8", "replace").split("\r\n"):
            name, found, value = line.partition(":")
            if found and name.strip().lower() == "content-disposition":
                lines["content-disposition"] = value.strip()
        self._field = str(lines.get_param("name", "", "content-disposition"))
        is_file = lines.get_param("filename", None, "content-disposition") is not None
        self._within = "file" if is_file else "field"
