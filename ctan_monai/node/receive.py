"""Receive instances: an SCP of Verification and Storage by pynetdicom."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from typing import Any

from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.sop_class import Verification

from ctan_monai.errors import ConfigError
from ctan_monai.node.incoming import NOT_UNDERSTOOD, RefusedError, Store
from ctan_monai.node.listener import Entity, GuardedSocket, Listener, asked, shut
from ctan_monai.node.studies import touch
from ctan_monai.node.tls import server_context

_logger = logging.getLogger(__name__)
_DEFLATED = "1.2.840.10008.1.2.1.99"  # a few kilobytes can become gigabytes before anybody can look
SYNTAXES = [syntax for syntax in ALL_TRANSFER_SYNTAXES if syntax != _DEFLATED]
_HANDSHAKE_CONNECTIONS = 20  # beyond the associations: they are told that there are too many
SUCCESS = 0x0000


class Receiver:
    """Storage SCP of a node.

    Args:
        store: keeps the instances.

    Attributes:
        counts: refused instances and associations since the start, for the metrics.
    """

    def __init__(self, store: Store) -> None:
        self.store, self.settings = store, store.settings
        self.counts: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._sending: dict[Any, set[str]] = {}  # studies by association
        self._server: Any = None

    def start(self) -> int:
        """Listen.

        Returns:
            The TCP port.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        wanted = self.settings
        entity = Entity(wanted.ae_title)
        entity.maximum_associations, entity.maximum_pdu_size = wanted.associations, wanted.pdu_kib * 1024
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = wanted.idle_s
        entity.require_called_aet, entity.require_calling_aet = True, list(wanted.callers)
        entity.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax or "", SYNTAXES)
        handlers = [
            (evt.EVT_C_STORE, self._on_store), (evt.EVT_REJECTED, self._on_rejected), (evt.EVT_ABORTED, self._on_abort),
            (evt.EVT_RELEASED, self._on_end), (evt.EVT_CONN_CLOSE, self._on_end),
        ]  # fmt: skip
        try:
            self._server = entity.make_server(
                (wanted.host, wanted.port),
                evt_handlers=handlers,
                ssl_context=None if wanted.tls is None else server_context(wanted.tls),
                server_class=Listener,
                addresses=wanted.addresses,
                connections=wanted.associations + _HANDSHAKE_CONNECTIONS,
                idle_s=wanted.idle_s,
                pdu_max=2 * wanted.pdu_kib * 1024,  # some senders count their own header on top
                message_max=wanted.instance_mib * 2**20,
            )
        except OSError as error:
            reason = f"{wanted.host}:{wanted.port} cannot be listened on ({error.strerror or error})."
            raise ConfigError("port", reason, "End what listens there, or give another port.") from error
        entity._servers.append(self._server)
        threading.Thread(target=self._server.serve_forever, args=(0.2,), name="listener", daemon=True).start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Stop listening and abort what is open; what was answered with success is on the disk."""
        if self._server is None:
            return
        open_ones, self._server.ae.maximum_associations = list(self._server.active_associations), 1
        self._server.shutdown()
        for association in open_ones:
            association.abort() if asked(association) else shut(association.dul.socket.socket)
        self._server = None

    def open_associations(self) -> int:
        """Count the open connections."""
        return 0 if self._server is None else len(self._server.active_associations)

    def busy_studies(self) -> set[str]:
        """Return the studies that open associations have sent something of."""
        with self._lock:
            for association in [each for each in self._sending if not each.is_alive()]:
                del self._sending[association]  # it stored its last instance while it was closed
            return set().union(*self._sending.values())

    def _on_store(self, event: Any) -> int:
        """Store an instance, and answer when it is on the disk."""
        if isinstance(event.assoc.dul.socket, GuardedSocket):
            event.assoc.dul.socket.received = 0
        try:
            request = event.request
            head = b"\x00" * 128 + b"DICM" + encode_file_meta(event.file_meta)
            dataset = event.encoded_dataset(include_meta=False)
            found = self.store.add(head, dataset, str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        except RefusedError as error:
            return self._refuse(error.status, error.reason)
        except Exception as error:  # of pynetdicom about hostile commands; the text may quote the data set
            return self._refuse(NOT_UNDERSTOOD, f"it cannot be understood ({type(error).__name__})")
        finally:
            event.assoc.dul._idle_timer.restart()  # what the disk took is not the peer's silence
        with self._lock:
            self._sending.setdefault(event.assoc, set()).add(found.study)
        return SUCCESS

    def _refuse(self, status: int, reason: str) -> int:
        self._add("instances_refused")
        _logger.warning("an instance was refused with status %04X: %s", status, reason)
        return status

    def _on_rejected(self, event: Any) -> None:
        self._add("associations_rejected")
        _logger.warning("an association was rejected: titles that are not listed, or too many at once")

    def _on_abort(self, event: Any) -> None:
        self._add("associations_aborted")
        _logger.warning("an association was aborted")
        self._on_end(event)

    def _on_end(self, event: Any) -> None:
        """Let the studies of an association rest from now on."""
        with self._lock:
            studies = self._sending.pop(event.assoc, None)
        if studies:
            try:
                touch(self.store.journal, studies, time.time())
            except OSError as error:
                _logger.warning("the end of an association was not noted: %s", error.strerror)

    def _add(self, name: str) -> None:
        with self._lock:
            self.counts[name] += 1
