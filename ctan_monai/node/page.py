"""The node's local page, its health and its metrics, over HTTP on 127.0.0.1."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from ctan_monai.errors import ConfigError
from ctan_monai.node.overview import counts, metrics, problems, table
from ctan_monai.node.predict import ANSWERS
from ctan_monai.node.service import Node

_HOST = "127.0.0.1"
_PICTURE = re.compile(r"/picture/(\d{1,12})")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


class Page:
    """HTTP server of a node's page.

    Args:
        node: what it shows.

    Raises:
        ConfigError: the port cannot be listened on.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        template = (resources.files("ctan_monai.node") / "page.html").read_text(encoding="utf-8")
        self._template = Environment(autoescape=True, undefined=StrictUndefined).from_string(template)
        page = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:  # the name that http.server calls
                page.answer(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing: monitoring asks every few seconds."""

        try:
            self._server = ThreadingHTTPServer((_HOST, node.settings.page_port), Handler)
        except OSError as error:
            reason = f"{_HOST}:{node.settings.page_port} cannot be listened on ({error.strerror or error})."
            raise ConfigError("page_port", reason, "Give another port, or 0 for no page.") from error
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.2,), name="page", daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        host = (request.headers.get("Host") or "").rpartition(":")[0] or request.headers.get("Host")
        if host not in (_HOST, "localhost"):  # a page from elsewhere whose name was pointed at this machine
            return _send(request, 403, "text/plain", b"Ask 127.0.0.1.\n")
        if request.path == "/":
            return _send(request, 200, "text/html; charset=utf-8", self._render())
        if request.path == "/healthz":
            found = problems(self.node)
            return _send(request, 503 if found else 200, "text/plain", ("\n".join(found) or "ok").encode() + b"\n")
        if request.path == "/metrics":
            return _send(request, 200, "text/plain; version=0.0.4", metrics(self.node).encode())
        if (found_picture := _PICTURE.fullmatch(request.path)) is not None:
            file = self.node.settings.folder / ANSWERS / found_picture[1] / "picture.png"
            if file.is_file():
                return _send(request, 200, "image/png", file.read_bytes())
        return _send(request, 404, "text/plain", b"There is no such page.\n")

    def _render(self) -> bytes:
        shown = [(name, value) for name, value in counts(self.node).items()]
        text = self._template.render(
            title=f"DICOM node {self.node.settings.ae_title}",
            problems=problems(self.node),
            counts=shown,
            rows=table(self.node),
        )
        return text.encode()


def _send(request: BaseHTTPRequestHandler, status: int, kind: str, content: bytes) -> None:
    request.send_response(status)
    for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **_HEADERS}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(content)
