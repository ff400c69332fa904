"""Receive instances by STOW-RS (PS3.18 10.5): an ASGI application of Starlette, served by uvicorn in a thread."""

from __future__ import annotations

import asyncio
import hmac
import io
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from pydicom.filereader import _read_file_meta_info, read_preamble
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from ctan_monai.errors import ConfigError
from ctan_monai.node.incoming import NO_MATCH, NOT_UNDERSTOOD, RefusedError, Store
from ctan_monai.node.multipart import MalformedError, TooLargeError, boundary_of, read_parts
from ctan_monai.node.receive import SYNTAXES
from ctan_monai.node.studies import touch
from ctan_monai.node.tls import server_context
from ctan_monai.node.token_file import read_token

_logger = logging.getLogger(__name__)
_ASKING_S = 10.0  # from the connection to a request
_SPARE_CONNECTIONS = 20
_SLACK = 2**20  # of the boundaries of a body


class _Protocol(H11Protocol):  # type: ignore[misc]  # uvicorn is not followed
    """Protocol that closes a connection which asks for nothing; uvicorn waits for its request without end."""

    def connection_made(self, transport: Any) -> None:
        """Give a connection its time."""
        super().connection_made(transport)
        self.loop.call_later(_ASKING_S, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class StowReceiver:
    """STOW-RS server of a node.

    Args:
        store: keeps the instances.
    """

    def __init__(self, store: Store) -> None:
        self.store, self.settings = store, store.settings
        self._lock = threading.Lock()
        self._sending: Counter[str] = Counter()  # requests that send a study
        self._requests, self._token = 0, ""
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Listen.

        Returns:
            The TCP port.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        wanted = self.settings
        if wanted.stow_token is not None:
            self._token = read_token(wanted.stow_token, "stow_token")
        try:
            family = socket.AF_INET6 if ":" in wanted.host else socket.AF_INET
            listening = socket.create_server((wanted.host, wanted.stow_port), family=family)
        except OSError as error:
            reason = f"{wanted.host}:{wanted.stow_port} cannot be listened on ({error.strerror or error})."
            raise ConfigError("stow_port", reason, "End what listens there, or give another port.") from error
        routes = [Route(path, self._answer, methods=["GET", "POST"]) for path in ("/studies", "/studies/{study}")]
        config = uvicorn.Config(
            Starlette(routes=routes), http=_Protocol, ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, limit_concurrency=wanted.associations + _SPARE_CONNECTIONS,
            timeout_graceful_shutdown=5,
        )  # fmt: skip
        config.load()
        config.ssl = None if wanted.tls is None else server_context(wanted.tls)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, name="stow", daemon=True
        )
        self._thread.start()
        return int(listening.getsockname()[1])

    def stop(self) -> None:
        """Stop listening; what was answered with success is on the disk."""
        if self._thread is not None:
            self._server.should_exit = True
            self._thread.join(10)
            self._thread = None

    def busy_studies(self) -> set[str]:
        """Return the studies that requests are sending."""
        with self._lock:
            return set(self._sending)

    async def _answer(self, request: Request) -> Response:
        wanted = self.settings
        client = request.client.host if request.client else ""
        if wanted.addresses and client not in wanted.addresses:
            return PlainTextResponse("This address may not send.\n", 403)
        if not self._may(request):
            return PlainTextResponse("A token is needed.\n", 401, {"WWW-Authenticate": "Bearer"})
        if request.method != "POST":
            return PlainTextResponse("Only STOW-RS is here.\n", 405, {"Allow": "POST"})
        if not (boundary := boundary_of(request.headers.get("content-type", ""))):
            return PlainTextResponse("Send multipart/related; type=application/dicom.\n", 415)
        if self._requests >= wanted.associations:
            return PlainTextResponse("Too many at once.\n", 503, {"Retry-After": "5"})
        self._requests += 1
        studies: set[str] = set()
        try:
            return await self._store_all(request, boundary, studies)
        except (MalformedError, ClientDisconnect):
            return PlainTextResponse("The body is not complete, or no multipart/related.\n", 400)
        except TooLargeError:
            return PlainTextResponse(f"Larger than instance_mib ({wanted.instance_mib}) or study_mib.\n", 413)
        except asyncio.TimeoutError:
            return PlainTextResponse("Nothing came for too long.\n", 408, {"Connection": "close"})
        finally:
            self._requests -= 1
            await run_in_threadpool(self._rest, studies)

    def _may(self, request: Request) -> bool:
        given = request.headers.get("authorization", "").encode()
        return not self._token or hmac.compare_digest(given, f"Bearer {self._token}".encode())

    async def _store_all(self, request: Request, boundary: str, studies: set[str]) -> Response:
        """Store the instances of a body one by one; each is on the disk before the next is read."""
        stored, failed, wanted = [], [], request.path_params.get("study", "")
        async for content in read_parts(self._pieces(request), boundary, self.settings.instance_mib * 2**20):
            sop_class, uid, problem = await run_in_threadpool(self._store, content, wanted, studies)
            item = {"00081150": _ui(sop_class), "00081155": _ui(uid)}
            if problem:
                failed.append({**item, "00081197": {"vr": "US", "Value": [problem]}})
            else:
                stored.append(item)
        if not stored and not failed:
            raise MalformedError
        both = (("00081199", stored), ("00081198", failed))
        told = {tag: {"vr": "SQ", "Value": items} for tag, items in both if items}
        status = 200 if not failed else 202 if stored else 409
        return JSONResponse(told, status, media_type="application/dicom+json")

    async def _pieces(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the pieces of a body that comes in time and is not larger than a study may be."""
        total, pieces = 0, request.stream().__aiter__()
        while True:
            try:
                piece = await asyncio.wait_for(anext(pieces), self.settings.idle_s)
            except StopAsyncIteration:
                return
            total += len(piece)
            if total > self.settings.study_mib * 2**20 + _SLACK:
                raise TooLargeError
            yield piece

    def _store(self, content: bytes, wanted: str, studies: set[str]) -> tuple[str, str, int]:
        """Store an instance; return its class, its UID and the reason of a failure (PS3.3 C.14), 0 for none."""
        sop_class = uid = ""
        try:
            sop_class, uid = _named(content)
            found = self.store.add(b"", content, sop_class, uid, wanted)
        except RefusedError as error:
            _logger.warning("an instance was refused with status %04X: %s", error.status, error.reason)
            return sop_class, uid, error.status
        except Exception as error:  # its text may quote the data set
            _logger.error("an instance was refused: an unexpected %s occurred", type(error).__name__)
            return sop_class, uid, NOT_UNDERSTOOD
        if found.study not in studies:
            studies.add(found.study)
            with self._lock:
                self._sending[found.study] += 1
        return sop_class, uid, 0

    def _rest(self, studies: set[str]) -> None:
        """Let the studies of a request rest from now on."""
        with self._lock:
            self._sending -= Counter(studies)
        if studies:
            try:
                touch(self.store.journal, studies, time.time())
            except OSError as error:
                _logger.warning("the end of a request was not noted: %s", error.strerror)


def _ui(uid: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [uid]} if uid else {"vr": "UI"}


def _named(content: bytes) -> tuple[str, str]:
    """Return the class and the UID that the meta information of a file names.

    Raises:
        RefusedError: it is no DICOM file, or of a transfer syntax that C-STORE does not take either.
    """
    file = io.BytesIO(content)
    try:
        read_preamble(file, force=False)
        meta = _read_file_meta_info(file)
        named = str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID)
        syntax = str(meta.TransferSyntaxUID)
    except Exception as error:  # damaged files make pydicom raise almost anything; the text may quote them
        raise RefusedError(NOT_UNDERSTOOD, f"it is no DICOM file ({type(error).__name__})") from None
    if syntax not in SYNTAXES:
        raise RefusedError(NO_MATCH, "its transfer syntax is not taken")
    return named
