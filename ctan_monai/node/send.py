"""Send answers to a destination by C-STORE (pynetdicom) or STOW-RS, again and again until they have arrived."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from pynetdicom import AE, _config
from pynetdicom.presentation import PresentationContext, build_context

from ctan_monai.node.deliveries import Delivery, due, postpone, sent
from ctan_monai.node.journal import Journal
from ctan_monai.node.settings import Destination, NodeSettings
from ctan_monai.node.tls import client_context, reason_of

_logger = logging.getLogger(__name__)
_config.STORE_SEND_CHUNKED_DATASET = True  # the file's data set as it is, not decoded and encoded again
_CONNECT_S, _ANSWER_S, _CONTEXTS_MAX = 10.0, 120.0, 128
_WARNINGS = range(0xB000, 0xC000)


class Sender:
    """Storage SCU, or STOW-RS client, for a destination.

    Args:
        journal: of the node.
        settings: of the node.
        destination: where to.
    """

    def __init__(self, journal: Journal, settings: NodeSettings, destination: Destination) -> None:
        self.journal, self.settings, self.destination = journal, settings, destination

    def work(self) -> bool:
        """Send what is due in one association; returns False if nothing is."""
        waiting = due(self.journal, self.destination.name, time.time())
        if not waiting:
            return False
        if self.destination.url:
            self._send_by_stow(waiting)
            return True
        association = associate(self.settings, self.destination, _contexts(waiting))
        if not association.is_established:
            self._postpone(waiting, why_not(association, self.destination))
            return True
        try:
            for at, delivery in enumerate(waiting):
                if not association.is_established:
                    self._postpone(waiting[at:], "the association ended early")
                    break
                self._send(association, delivery)
        finally:
            if association.is_established:
                association.release()
        return True

    def _send_by_stow(self, waiting: Sequence[Delivery]) -> None:
        from ctan_monai.node.stow_send import StowSender

        with StowSender(self.destination) as service:
            for delivery in waiting:
                stored, note = service.send(self.settings.folder / delivery.file)
                if stored:
                    self._note(delivery, note)
                else:
                    self._postpone([delivery], note)

    def _send(self, association: Any, delivery: Delivery) -> None:
        try:
            status = association.send_c_store(self.settings.folder / delivery.file).get("Status")
        except Exception as error:  # of the contexts that were accepted, or a file that cannot be read
            self._postpone([delivery], f"it cannot be sent ({_reason(error)})")
            return
        if status is None:
            self._postpone([delivery], "no answer came, or the association ended")
        elif status == 0 or status in _WARNINGS:
            self._note(delivery, f"stored with warning {status:04X}" if status else "")
        else:
            self._postpone([delivery], f"it was refused with status {status:04X}")

    def _note(self, delivery: Delivery, note: str) -> None:
        sent(self.journal, delivery, time.time(), note)
        said = f" ({note})" if note else ""
        _logger.info("%s: %s is at %s%s", delivery.pseudonym, delivery.kind, delivery.destination, said)

    def _postpone(self, deliveries: Sequence[Delivery], reason: str) -> None:
        for each in deliveries:
            wait = postpone(
                self.journal, each, reason, self.settings.retry_s, self.settings.give_up_after_h, time.time()
            )
            then = "given up" if wait is None else f"again in {wait:.0f} s"
            what = (each.pseudonym, each.kind, each.destination, reason, then)
            _logger.log(logging.ERROR if wait is None else logging.WARNING, "%s: %s is not at %s: %s; %s", *what)


def associate(settings: NodeSettings, destination: Destination, contexts: list[PresentationContext]) -> Any:
    """Ask a destination for an association.

    Raises:
        OSError: a file of TLS cannot be used any more.
    """
    entity, tls = AE(settings.ae_title), destination.tls
    entity.connection_timeout, entity.acse_timeout = _CONNECT_S, 3 * _CONNECT_S
    entity.dimse_timeout = entity.network_timeout = _ANSWER_S
    files = None if tls is None else (client_context(tls), tls.name or destination.host)
    return entity.associate(destination.host, destination.port, contexts, ae_title=destination.ae_title, tls_args=files)


def why_not(association: Any, destination: Destination) -> str:
    """Return why an association was not established."""
    if association.is_rejected:
        return "it rejected the association; does it know this node's AE title and address, and its own title?"
    told = "it aborted, or cannot be reached" if association.is_aborted else "it cannot be reached"
    checks = "; is it running, and are host and port right?"
    if destination.tls is None:
        return f"{told}{checks}"
    return f"{told}{checks} With TLS: {reason_of(destination.tls, destination.host, destination.port)}"


def _contexts(waiting: Sequence[Delivery]) -> list[PresentationContext]:
    syntaxes: dict[str, dict[str, None]] = defaultdict(dict)
    for each in waiting:
        syntaxes[each.sop_class][each.syntax] = None
    pairs = [(sop_class, syntax) for sop_class, found in syntaxes.items() for syntax in found]
    return [build_context(sop_class, syntax) for sop_class, syntax in pairs][:_CONTEXTS_MAX]


def _reason(error: Exception) -> str:
    text = str(error)
    return "the destination does not accept this kind" if "presentation context" in text else type(error).__name__
