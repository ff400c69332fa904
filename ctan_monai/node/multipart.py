"""Parts of a ``multipart/related`` body (RFC 2387), as STOW-RS sends instances, read while they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.message import Message

_HEADERS_MAX = 2**14


class MalformedError(Exception):
    """A body that is not what its header says."""


class TooLargeError(Exception):
    """A part that is larger than allowed."""


def boundary_of(content_type: str) -> str:
    """Return the boundary of a content type, '' if it is not multipart/related with DICOM instances."""
    message = Message()
    message["Content-Type"] = content_type
    kind, parts = message.get_content_type(), message.get_param("type", "application/dicom")
    boundary = message.get_boundary("")
    return boundary if kind == "multipart/related" and str(parts).lower() == "application/dicom" else ""


async def read_parts(body: AsyncIterator[bytes], boundary: str, largest: int) -> AsyncIterator[bytes]:
    """Yield the content of each part.

    Args:
        body: pieces of the body.
        boundary: between parts.
        largest: bytes of a part; only so much is in memory.

    Raises:
        MalformedError: a part has no headers, or the body ends without the last boundary.
        TooLargeError: a part is larger.
    """
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    held, looked, first = bytearray(b"\r\n"), 0, True  # the first boundary may stand at the very beginning
    async for piece in body:
        held += piece
        while (at := held.find(delimiter, looked)) >= 0 and len(held) >= at + len(delimiter) + 2:
            if not first:
                yield _content(bytes(held[:at]))
            first, looked = False, 0
            del held[: at + len(delimiter)]
            if held.startswith(b"--"):
                async for _ in body:  # the epilogue is passed over
                    pass
                return
        looked = max(0, len(held) - len(delimiter) - 2)
        if len(held) > largest + _HEADERS_MAX + len(delimiter):
            raise TooLargeError
    raise MalformedError


def _content(part: bytes) -> bytes:
    """Return a part without its headers."""
    _, found, content = part[:_HEADERS_MAX].partition(b"\r\n\r\n")
    if not found:
        raise MalformedError
    return content + part[_HEADERS_MAX:]
