"""Stand before a web application: names in addresses are checked, uploads limited, errors become JSON.

Plain ASGI, so that it needs no web framework and can be tested without one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from ctan_monai.errors import DataError
from ctan_monai.serve.names import check_name

_logger = logging.getLogger(__name__)
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_NAMES = frozenset({"image", "label", "id", "tag", "model", "session_id", "user", "client_id"})
_PATHS = frozenset({"static", "ohif", "proxy"})  # files of the viewer, and addresses of a DICOMweb server
_MIB = 2**20


class _TooLargeError(Exception):
    """More came than may be uploaded."""


class Guard:
    """An ASGI application that passes on what may pass.

    * a part of the path, or one of the parameters that name something, is no plain name: 400;
    * the body is longer than the limit, as its header says or as it turns out to be: 413;
    * the application fails without an answer of its own, or with a plain text: 500 as JSON; its log has the reason.

    Args:
        app: the application.
        upload_mib: limit of a request's body.
    """

    def __init__(self, app: App, upload_mib: float) -> None:
        self.app, self.limit, self.upload_mib = app, int(upload_mib * _MIB), upload_mib

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            check_address(scope)
        except DataError as error:
            await _answer(send, 400, f"{error.path}: {error.reason}", error.remedy)
            return
        if _length(scope) > self.limit:
            await self._refuse(send)
            return
        exchange = _Exchange(receive, send, self.limit)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except _TooLargeError:
            pass
        except Exception:
            _logger.exception("%s %s failed", scope.get("method"), scope.get("path"))
            exchange.failed = exchange.failed or not exchange.started
        if exchange.too_large and not exchange.started:
            await self._refuse(send)
        elif exchange.failed and not exchange.too_large:
            await _answer(send, 500, "the server could not do this.", "The server's log says why.")

    async def _refuse(self, send: Send) -> None:
        remedy = "Send a smaller file, or raise upload_mib in the app's app.json."
        await _answer(send, 413, f"the request is larger than {self.upload_mib:g} MiB.", remedy)


class _Exchange:
    """One request's body on its way in, and its answer on its way out."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive, self._send, self._left = receive, send, limit
        self.started = self.failed = self.too_large = False

    async def receive(self) -> Message:
        """Pass on a part of the body while the limit allows."""
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.too_large = True
            raise _TooLargeError
        return message

    async def send(self, message: Message) -> None:
        """Pass on a part of the answer, unless another takes its place."""
        if self.too_large and not self.started:
            return  # whatever the application makes of half a body
        if message["type"] == "http.response.start":
            self.failed = message["status"] >= 500 and not _is_json(message)
            self.started = not self.failed
        if not self.failed:
            await self._send(message)


def check_address(scope: Message) -> None:
    """Check the names in a request's path and parameters.

    Raises:
        DataError: one could lead out of a folder.
    """
    raw = scope.get("raw_path") or scope["path"].encode()
    parts = [part for part in unquote(raw.split(b"?")[0].decode("latin-1")).split("/") if part]
    if not parts or parts[0] not in _PATHS:
        for part in parts:
            check_name(part, "path")
    elif ".." in parts or any("\0" in part or "\\" in part for part in parts):
        check_name("..", "path")
    for key, value in parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True):
        if key in _NAMES and value:
            check_name(value, key)
        elif "\0" in value or ".." in value:
            check_name("..", key[:64])


def _length(scope: Message) -> int:
    found = next((value for key, value in scope["headers"] if key.lower() == b"content-length"), b"0")
    return int(found) if found.isdigit() else 0


def _is_json(message: Message) -> bool:
    kind = next((value for key, value in message.get("headers", ()) if key.lower() == b"content-type"), b"")
    return bool(kind.startswith(b"application/json"))


async def _answer(send: Send, status: int, error: str, remedy: str) -> None:
    body = json.dumps({"detail": {"error": error, "remedy": remedy}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers.append((b"connection", b"close"))  # the rest of a body that is refused is not waited for
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
