"""Allowed origins of requests: the server's own pages, and those that the app's folder lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ctan_monai.errors import ConfigError

_LOCAL = frozenset({"127.0.0.1", "localhost", "[::1]"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")


@dataclass(frozen=True)
class Refusal:
    """Response to a refused request: error and remedy."""

    status: int
    error: str
    remedy: str


class Origins:
    """Allowed origins and hosts.

    Args:
        origins: further ones, such as ``http://viewer.example.org:3000``.

    Raises:
        ConfigError: one is no origin.
    """

    def __init__(self, origins: Sequence[str] = ()) -> None:
        self.origins = frozenset(checked_origins(origins))
        self.hosts = _LOCAL | {_host(urlsplit(origin).netloc) for origin in self.origins}

    def refusal(self, scope: Mapping[str, Any]) -> Refusal | None:
        """Return why a request is refused, None if it is not.

        A browser says in ``Origin`` and ``Sec-Fetch-Site`` which page asks, and in ``Host`` which address it was given.
        Programs such as 3D Slicer send no origin.
        """
        host, origin, site, mode = _headers(scope["headers"], b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode")
        if host is not None and _host(host) not in self.hosts:
            return _refuse("under this name", f"http://{host}")
        own = origin is not None and host is not None and origin in (f"http://{host}", f"https://{host}")
        if origin is not None:
            return None if own or origin in self.origins else _refuse("to this web page", origin)
        opened = mode == "navigate" and scope.get("method") == "GET"  # somebody followed a link
        if site in ("cross-site", "same-site") and not opened:
            return _refuse("to this web page", "the page's address")
        return None


def checked_origins(origins: Iterable[str]) -> list[str]:
    """Check origins and return them in the form that browsers send.

    Raises:
        ConfigError: one has no scheme or host, or a path.
    """
    found = []
    for origin in origins:
        text = origin.strip().lower().rstrip("/") if isinstance(origin, str) else ""
        parts = urlsplit(text)
        bare = text == f"{parts.scheme}://{parts.netloc}"
        if parts.scheme not in ("http", "https") or not bare or not _host(parts.netloc):
            remedy = "Write scheme, host and port, such as http://127.0.0.1:3000."
            raise ConfigError("origins", f"{str(origin)[:80]!r} is no origin.", remedy)
        found.append(text)
    return found


def _host(netloc: str) -> str:
    """Return the host without its port, '' if it is none."""
    match = _HOST.fullmatch(netloc)
    return match[1] if match else ""


def _headers(headers: Iterable[tuple[bytes, bytes]], *wanted: bytes) -> list[str | None]:
    """Return the values of headers; those of repeated ones are unknown."""
    found: dict[bytes, str] = {}
    for key, value in headers:
        name = key.lower()
        found[name] = "several" if name in found else value.decode("latin-1").strip().lower()
    return [found.get(name) for name in wanted]


def _refuse(where: str, what: str) -> Refusal:
    remedy = f'If that is wanted, add "{what[:80]}" to the list "origins" in the app\'s app.json, and start it again.'
    return Refusal(403, f"the server does not answer {where}.", remedy)
