"""Connections of a DICOM node: who may connect, how long a silence and a protocol data unit may be."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
import weakref
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

_PIECE = 2**18
_ASKING_S = 10.0  # from the connection to the request of an association, with TLS's handshake
_RECENT_S, _LOOK_S = 0.5, 0.05  # what was silent for so long is looked at so rarely
_MESSAGE_SLACK = 2**20  # of the data set and its command, PDU headers and everything between two instances


class GuardedSocket(AssociationSocket):  # type: ignore[misc]  # pynetdicom is not followed
    """Socket of an association that ends where there is no progress, and before memory does.

    pynetdicom waits without end for the rest of a protocol data unit, of whatever length its sender announces.
    """

    idle_s: float
    pdu_max: int
    message_max: int
    received = 0
    last = 0.0

    @property
    def ready(self) -> bool:
        """Tell whether there is something to read.

        pynetdicom asks a thousand times a second; many silent peers would take the processor from the others.
        """
        if self.socket is not None and time.monotonic() - self.last > _RECENT_S:
            with contextlib.suppress(OSError, ValueError):  # it was closed meanwhile
                select.select([self.socket], [], [], _LOOK_S)
        return bool(super().ready)

    def recv(self, nr_bytes: int) -> bytearray:
        """Read bytes.

        Args:
            nr_bytes: how many.

        Returns:
            The bytes; fewer if the peer has closed the connection.

        Raises:
            OSError: it is more than allowed, or takes too long.
        """
        self.received += nr_bytes
        if nr_bytes > self.pdu_max or self.received > self.message_max:
            raise OSError("the peer sends more than is allowed")
        connection, found = self.socket, bytearray(nr_bytes)
        patience = self.idle_s if asked(self.assoc) else min(self.idle_s, _ASKING_S)
        self.last = time.monotonic()
        view, at, end = memoryview(found), 0, self.last + patience
        while at < nr_bytes:
            left = end - time.monotonic()
            if connection is None or left <= 0:
                raise TimeoutError("the peer makes no progress")
            connection.settimeout(left)
            count = connection.recv_into(view[at : at + _PIECE])
            if not count:
                break
            at += count
        view.release()
        del found[at:]
        if connection is not None:
            connection.settimeout(self.idle_s)  # of sending
        return found


def asked(association: Any) -> bool:
    """Tell whether a connection has asked for an association."""
    return association.requestor.primitive is not None


class Entity(AE):  # type: ignore[misc]
    """Application entity whose limit on associations does not count connections that have not asked for one."""

    @property
    def active_associations(self) -> list[Any]:
        """The associations that were asked for."""
        return [each for each in super().active_associations if asked(each)]


class _Contexts(list[Any]):
    """Supported contexts; pynetdicom copies 170 of them (1.3 MiB) for each connection, and changes none."""

    def __deepcopy__(self, _: Any) -> list[Any]:
        return list(self)


def shut(connection: socket.socket | None) -> None:
    """Shut a connection down; its thread finds it so, and ends."""
    if connection is not None:
        with contextlib.suppress(OSError):  # it was closed meanwhile
            connection.shutdown(socket.SHUT_RDWR)


def _closed(event: Any) -> None:
    """End the thread of a connection that was closed before it asked for an association; it would wait on."""
    if not asked(event.assoc):
        event.assoc.dul.to_user_queue.put(None)


class GuardedHandler(RequestHandler):  # type: ignore[misc]
    """Handler of a connection that gives the association a `GuardedSocket`."""

    def _create_association(self) -> Any:
        made: Any = super()._create_association()
        plain, server = made.dul.socket, self.server
        plain.__class__ = GuardedSocket  # pynetdicom makes the socket where nothing else can be given
        plain.idle_s, plain.pdu_max, plain.message_max = server.idle_s, server.pdu_max, server.message_max
        made.bind(evt.EVT_CONN_CLOSE, _closed)
        made.acse_timeout = min(server.idle_s, _ASKING_S)
        return made


class Listener(ThreadedAssociationServer):  # type: ignore[misc]
    """Server of associations that refuses addresses before a byte is read.

    Args:
        addresses: IP addresses that may connect; empty: any.
        connections: so many at once; for more, the oldest that has not asked for an association is closed.
        idle_s: seconds.
        pdu_max: bytes of a protocol data unit.
        message_max: bytes of an instance.
    """

    daemon_threads = True
    request_queue_size = 128
    contexts: Any

    def __init__(
        self,
        *args: Any,
        addresses: tuple[str, ...],
        connections: int,
        idle_s: float,
        pdu_max: int,
        message_max: int,
        **kwargs: Any,
    ) -> None:
        self.addresses, self.connections = addresses, connections
        self.idle_s, self.pdu_max, self.message_max = idle_s, pdu_max, message_max + _MESSAGE_SLACK
        self.turned_away = 0
        super().__init__(*args, request_handler=GuardedHandler, **kwargs)
        self.contexts = _Contexts(self.contexts)
        self._connected: weakref.WeakKeyDictionary[socket.socket, float] = weakref.WeakKeyDictionary()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; TLS is negotiated by its own thread, so that a slow peer holds up nobody."""
        connection, address = self.socket.accept()
        connection.settimeout(self.idle_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context: ssl.SSLContext | None = self.ssl_context
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Tell whether an address may connect, and there is room."""
        allowed = not self.addresses or client_address[0] in self.addresses
        if not allowed or not self._make_room(request):
            self.turned_away += 1
            return False
        return True

    def _make_room(self, connection: socket.socket) -> bool:
        """Note a connection; if there are too many, the oldest that has not asked for an association is closed."""
        open_ones = [each for each in self._connected if each.fileno() >= 0]
        if len(open_ones) >= self.connections:
            busy = {id(each.dul.socket.socket) for each in self.active_associations if asked(each)}
            silent = [each for each in open_ones if id(each) not in busy]
            if not silent:
                return False
            self.turned_away += 1
            oldest = min(silent, key=lambda each: self._connected[each])
            del self._connected[oldest]
            shut(oldest)
        self._connected[connection] = time.monotonic()
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over what a connection did wrong; the association's end is logged."""
        self.turned_away += 1
