"""Try a node's surroundings: call its destinations, and send it a folder."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification

from ctan_monai.data.dicom.read.scan import scan
from ctan_monai.errors import ConfigError
from ctan_monai.node.send import associate, why_not
from ctan_monai.node.settings import ANY_NAME, Destination, NodeSettings

_CONTEXTS_MAX = 128


def call(settings: NodeSettings, destination: Destination) -> str:
    """Call a destination by C-ECHO or QIDO-RS; returns what is wrong, '' if it answers."""
    if destination.url:
        from ctan_monai.node.stow_send import StowSender

        with StowSender(destination) as service:
            return service.call()
    association = associate(settings, destination, [build_context(Verification)])
    if not association.is_established:
        return why_not(association, destination)
    status = association.send_c_echo().get("Status")
    association.release()
    return "" if status == 0 else f"it answers with status {status if status is None else f'{status:04X}'}"


def entry_for(settings: NodeSettings) -> str:
    """Return what the administrator of another system must enter to reach the node."""
    who = ", ".join(settings.callers) or "any AE title"
    lines = [
        "Enter this node where studies are sent from, and where answers are accepted from:",
        f"  AE title: {settings.ae_title}",
        f"  host:     {settings.host}",
        f"  port:     {settings.port}",
        f"It accepts {who} from {', '.join(settings.addresses) or 'any address'}.",
    ]
    if settings.stow_port:
        scheme, token = "http" if settings.tls is None else "https", " with its token" if settings.stow_token else ""
        lines.append(f"STOW-RS: {scheme}://{settings.host}:{settings.stow_port}/studies{token}")
    if settings.tls is not None:
        lines.append(f"It wants TLS with a certificate signed by {', '.join(map(str, settings.tls.ca))}.")
    return "\n".join(lines)


def replay_folder(folder: Path, settings: NodeSettings, host: str, calling: str = "") -> tuple[int, Counter[str]]:
    """Send the DICOM files of a folder to a node.

    Args:
        folder: with any nesting.
        settings: of the node.
        host: where it listens.
        calling: AE title to send under; '': the first that the node accepts.

    Returns:
        How many were stored, and why others were not.

    Raises:
        ConfigError: the node cannot be reached.
        DataError: there are no DICOM files.
    """
    import pydicom

    kinds: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for header in scan(folder, progress=False).objects:
        meta = pydicom.dcmread(header.path, specific_tags=["SOPClassUID"], stop_before_pixels=True)
        syntax = str(meta.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2"))
        kinds[str(meta.SOPClassUID), syntax].append(header.path)
    contexts: list[PresentationContext] = [build_context(*kind) for kind in kinds][:_CONTEXTS_MAX]
    sender = replace(settings, ae_title=calling or (settings.callers[0] if settings.callers else "REPLAY"))
    own = settings.tls  # whose certificate is shown to the node as it shows it to us
    tls = None if own is None else replace(own, ca=tuple(filter(None, (*own.ca, own.certificate))), name=ANY_NAME)
    node = Destination("node", settings.ae_title, host, settings.port, tls)
    association = associate(sender, node, contexts)
    if not association.is_established:
        reason = why_not(association, node)
        raise ConfigError(f"{host}:{settings.port}", reason, "Start the node, or correct its entry.")
    stored, refused = 0, Counter[str]()
    for paths in kinds.values():
        for path in paths:
            try:
                status = association.send_c_store(path).get("Status")
            except (ValueError, AttributeError, RuntimeError) as error:
                refused[f"it could not be sent ({type(error).__name__})"] += 1
                continue
            stored += status == 0
            if status != 0:
                refused["the association ended" if status is None else f"status {status:04X}"] += 1
    if association.is_established:
        association.release()
    return stored, refused
