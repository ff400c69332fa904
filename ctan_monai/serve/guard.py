"""ASGI middleware that checks origins, names and sizes of requests; errors become JSON without folders.

Plain ASGI, so that it needs no web framework and can be tested without one.
"""

from __future__ import annotations

import json
import logging
import os
import re
import site
import sys
import sysconfig
import tempfile
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from ctan_monai.errors import DataError
from ctan_monai.serve.bodies import Body, check_address, is_passed_on
from ctan_monai.serve.origins import Origins, Refusal

_logger = logging.getLogger(__name__)
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_MIB = 2**20
LOOKED_THROUGH = (b"application/json", b"text/plain", b"text/html")  # data, and the log


class _RefusedError(Exception):
    """Raised when the rest of the body is refused."""


class Guard:
    """ASGI application that forwards allowed requests.

    * the request is a foreign web page's, or comes under a name that is not the server's: 403;
    * a part of the path, a parameter or a field that names something is no name, parameters are no JSON object, or an
      archive shall be unpacked: 400;
    * the body is longer than the limit, as its header says or as it turns out to be: 413;
    * the application fails without an answer of its own, or with a plain text: 500 as JSON; its log has the reason;
    * answers in JSON and the log name files without their folders.

    Args:
        app: the application.
        upload_mib: limit of a request's body.
        origins: of web pages that may ask although the server did not give them, see `Origins`.
        folders: that answers do not name, see `Folders`.
    """

    def __init__(
        self, app: App, upload_mib: float, origins: Sequence[str] = (), folders: Sequence[str | Path] = ()
    ) -> None:
        self.app, self.limit, self.upload_mib = app, int(upload_mib * _MIB), upload_mib
        self.origins, self.folders = Origins(origins), Folders(folders)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await _answer(send, refusal)
            return
        exchange = _Exchange(scope, receive, send, self)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except _RefusedError:
            pass
        except Exception:
            _logger.exception("%s %s failed", scope.get("method"), scope.get("path"))
            exchange.failed = exchange.failed or not exchange.started
        if exchange.refusal is not None and not exchange.started:
            await _answer(send, exchange.refusal)
        elif exchange.failed and exchange.refusal is None:
            await _answer(send, Refusal(500, "the server could not do this.", "The server's log says why."))

    def too_large(self) -> Refusal:
        """Refuse a body over the limit."""
        remedy = "Send a smaller file, or raise upload_mib in the app's app.json."
        return Refusal(413, f"the request is larger than {self.upload_mib:g} MiB.", remedy)

    def _refusal(self, scope: Message) -> Refusal | None:
        """Return why a request is refused before its body is read, None if it is not."""
        found = self.origins.refusal(scope)
        if found is not None:
            return found
        try:
            check_address(scope)
        except DataError as error:
            return _said(error)
        return self.too_large() if _length(scope) > self.limit else None


class _Exchange:
    """One request's body and response."""

    def __init__(self, scope: Message, receive: Receive, send: Send, guard: Guard) -> None:
        self._receive, self._send, self._guard = receive, send, guard
        self._own = not is_passed_on(str(scope["path"]))
        self._left, self._body = guard.limit, Body(scope["headers"], self._own)
        self._head: Message | None = None  # of an answer that is looked through before it is sent
        self._kept = b""
        self.started = self.failed = False
        self.refusal: Refusal | None = None

    async def receive(self) -> Message:
        """Pass on a part of the body while it may pass."""
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        part = message.get("body", b"")
        self._left -= len(part)
        if self._left < 0:
            self.refusal = self._guard.too_large()
        else:
            try:
                self._body.feed(part, last=not message.get("more_body", False))
            except DataError as error:
                self.refusal = _said(error)
        if self.refusal is not None:
            raise _RefusedError
        return message

    async def send(self, message: Message) -> None:
        """Pass on a part of the answer, unless another takes its place."""
        if self.refusal is not None and not self.started:
            return  # whatever the application makes of half a body
        if message["type"] == "http.response.start":
            kind = _header(message, b"content-type")
            self.failed = message["status"] >= 500 and not kind.startswith(b"application/json")
            self.started = not self.failed
            if self.started and self._own and kind.startswith(LOOKED_THROUGH):
                self._head = message
                return
        if self.failed:
            return
        if self._head is None or message["type"] != "http.response.body":
            await self._send(message)
            return
        self._kept += message.get("body", b"")
        if not message.get("more_body", False):
            await self._send_hidden(self._head)

    async def _send_hidden(self, head: Message) -> None:
        """Send an answer without folders."""
        body = self._guard.folders.hide_in(self._kept, _header(head, b"content-type")) if self._kept else b""
        length = (b"content-length", str(len(body)).encode())
        headers = list(head.get("headers", ()))
        if body:  # an answer to HEAD has none, and says the length all the same
            headers = [*((key, value) for key, value in headers if key.lower() != b"content-length"), length]
        await self._send({**head, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _length(scope: Message) -> int:
    found = _header(scope, b"content-length")
    return int(found) if found.isdigit() else 0


def _header(message: Message, name: bytes) -> bytes:
    return next((bytes(value) for key, value in message.get("headers", ()) if key.lower() == name), b"")


def _said(error: DataError) -> Refusal:
    return Refusal(400, f"{error.path}: {error.reason}", error.remedy)


async def _answer(send: Send, refusal: Refusal) -> None:
    body = json.dumps({"detail": {"error": refusal.error, "remedy": refusal.remedy}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers.append((b"connection", b"close"))  # the rest of a body that is refused is not waited for
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Folders:
    """Removal of folders from texts, keeping the names of files.

    Args:
        folders: of images, the app and sessions; those of Python, of temporary files and the user's home are known.
    """

    def __init__(self, folders: Iterable[str | Path] = ()) -> None:
        known = [*folders, Path.home(), tempfile.gettempdir(), sys.prefix, sys.base_prefix, *site.getsitepackages()]
        known += [sysconfig.get_paths()["stdlib"], os.getcwd(), Path(__file__).parents[2]]
        both = {str(form) for folder in known if str(folder) for form in (Path(folder), Path(folder).resolve())}
        usable = sorted((path for path in both if len(Path(path).parts) > 1), key=len, reverse=True)
        each = "|".join(re.escape(path) for path in usable)
        self._pattern = re.compile(rf"(?:{each})(?:[/\\]+(?:[^/\\\s'\":,;]+[/\\]+)*|(?![\w.-]))")

    def hide(self, text: str) -> str:
        """Remove folders from a text."""
        return self._pattern.sub("", text)

    def hide_in(self, body: bytes, kind: bytes) -> bytes:
        """Remove folders from an answer's body."""
        if not kind.startswith(b"application/json"):
            return self.hide(body.decode("utf-8", "replace")).encode()
        try:
            return json.dumps(self._walk(json.loads(body)), ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            return self.hide(body.decode("utf-8", "replace")).encode()

    def _walk(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, list):
            return [self._walk(each) for each in value]
        return {key: self._walk(each) for key, each in value.items()} if isinstance(value, dict) else value
