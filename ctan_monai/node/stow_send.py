"""Send answers to a destination by STOW-RS (PS3.18 10.5), over httpx."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from ctan_monai.node.settings import Destination
from ctan_monai.node.tls import client_context
from ctan_monai.node.token_file import read_token

_CONNECT_S, _ANSWER_S, _PIECE = 10.0, 120.0, 2**20
_FAILED, _REASON, _WARNING = "00081198", "00081197", "00081196"


class StowSender:
    """Connection to a destination's STOW-RS service.

    Args:
        destination: where to.

    Raises:
        ConfigError: its token cannot be read any more.
        OSError: a file of TLS cannot be used any more.
    """

    def __init__(self, destination: Destination) -> None:
        self.url = destination.url.rstrip("/")
        headers = {"Accept": "application/dicom+json"}
        if destination.token is not None:
            token = read_token(destination.token, f"destinations: {destination.name}: token")
            headers["Authorization"] = f"Bearer {token}"
        verify: Any = True if destination.tls is None else client_context(destination.tls)
        times = httpx.Timeout(_ANSWER_S, connect=_CONNECT_S)
        self._client = httpx.Client(headers=headers, timeout=times, verify=verify, trust_env=False)

    def __enter__(self) -> StowSender:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send(self, path: Path) -> tuple[bool, str]:
        """Send a file.

        Returns:
            Whether it is stored there, and a warning or the reason why not.
        """
        boundary = secrets.token_hex(16)
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(len(head) + path.stat().st_size + len(tail)),
        }
        try:
            answer = self._client.post(f"{self.url}/studies", content=_body(head, path, tail), headers=headers)
        except httpx.HTTPError as error:
            return False, _told(error)
        reason = _first(answer, _REASON)
        if answer.status_code == httpx.codes.OK or (answer.status_code == httpx.codes.ACCEPTED and not reason):
            warning = _first(answer, _WARNING)
            return True, f"stored with warning {warning}" if warning else ""
        return False, f"it was refused with status {answer.status_code}{f' ({reason})' if reason else ''}"

    def call(self) -> str:
        """Ask for a study (QIDO-RS), as C-ECHO has no counterpart; returns what is wrong, '' if it answers."""
        try:
            answer = self._client.get(f"{self.url}/studies", params={"limit": "1"})
        except httpx.HTTPError as error:
            return _told(error)
        # a service that stores and shows nothing says that the method is not allowed
        fine = answer.is_success or answer.status_code == httpx.codes.METHOD_NOT_ALLOWED
        return "" if fine else f"it answers with status {answer.status_code}"


def _body(head: bytes, path: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
    yield tail


def _told(error: httpx.HTTPError) -> str:
    known: dict[type[httpx.HTTPError], str] = {
        httpx.ConnectTimeout: "it cannot be reached in time",
        httpx.ReadTimeout: "no answer came",
        httpx.ConnectError: f"it cannot be reached ({error})",
    }
    return known.get(type(error), f"the connection failed ({type(error).__name__})")


def _first(answer: httpx.Response, tag: str) -> str:
    """Return the first reason of a failure or warning that an answer gives, '' without one."""
    try:
        content = answer.json()
        for item in content.get(_FAILED if tag == _REASON else "00081199", {}).get("Value", []):
            if values := item.get(tag, {}).get("Value"):
                return f"{int(values[0]):04X}"
    except (ValueError, AttributeError, TypeError):  # not what the standard says: the status counts
        return ""
    return ""
