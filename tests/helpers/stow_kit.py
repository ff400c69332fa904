"""A STOW-RS server of a node for tests, and bodies for it."""

from __future__ import annotations

from contextlib import contextmanager

import httpx
from node_kit import make_store, settings_in

from ctan_monai.node.stow_receive import StowReceiver

TYPE = 'multipart/related; type="application/dicom"; boundary=xx'


def body(files, boundary="xx"):
    """Return files as RFC 2387 joins them."""
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    parts = [each if isinstance(each, bytes) else each.read_bytes() for each in files]
    return b"preamble\r\n" + b"".join(head + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()


@contextmanager
def serving(folder, **given):
    """Run a STOW-RS server; yields it, its store and its URL."""
    store = make_store(settings_in(folder, **given))
    receiver = StowReceiver(store)
    port = receiver.start()
    scheme = "http" if store.settings.tls is None else "https"
    try:
        yield receiver, store, f"{scheme}://127.0.0.1:{port}"
    finally:
        receiver.stop()
        store.journal.close()


def post(url, content, kind=TYPE, path="/studies", **headers):
    """Post a body."""
    return httpx.post(url + path, content=content, headers={"Content-Type": kind, **headers}, timeout=30)
