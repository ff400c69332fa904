"""TLS of a node (at least 1.2): what the files hold is checked when the settings are read."""

from __future__ import annotations

import socket
import ssl
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ctan_monai.errors import ConfigError
from ctan_monai.node.settings import ANY_NAME, Tls

_CALL_S = 5.0
_NOT_ENCRYPTED = "Give one without a password: openssl pkey -in KEY -out NEW."


def check(tls: Tls, where: str) -> None:
    """Check that files are there, belong together, and are of this time.

    Args:
        tls: files.
        where: entry of the settings.

    Raises:
        ConfigError: they are not; the message names the file.
    """
    for file in tls.ca:
        _certificates(file, f"{where}: ca")
    if tls.certificate is not None and tls.key is not None:
        own = _certificates(tls.certificate, f"{where}: certificate")[0]
        if _key(tls.key, f"{where}: key").public_key() != own.public_key():
            remedy = "Give the key that the certificate was asked for with; the certificate itself must come first."
            raise ConfigError(f"{where}: key", f"{tls.key} does not belong to {tls.certificate}.", remedy)
    try:
        _context(tls, ssl.PROTOCOL_TLS_SERVER)
    except (OSError, ValueError) as error:  # of OpenSSL's policy, as a key that is too short
        found = f"{tls.certificate} cannot be used ({getattr(error, 'reason', None) or error})."
        raise ConfigError(
            f"{where}: certificate", found, "Make key and certificate as docs/dicom-node.md does."
        ) from error


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return the context of who listens: a client must show a certificate that one of ``ca`` signed."""
    made = _context(tls, ssl.PROTOCOL_TLS_SERVER)
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def client_context(tls: Tls) -> ssl.SSLContext:
    """Return the context of who calls: the certificate of the other side is checked, with its name."""
    made = _context(tls, ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = tls.name != ANY_NAME
    return made


def reason_of(tls: Tls, host: str, port: int) -> str:
    """Call another side by TLS alone, and return what it says, for a message."""
    try:
        with (
            socket.create_connection((host, port), timeout=_CALL_S) as plain,
            client_context(tls).wrap_socket(plain, server_hostname=tls.name or host) as made,
        ):
            made.settimeout(_CALL_S / 5)
            made.recv(1)  # with TLS 1.3 it is here that a certificate of ours is refused
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not accepted ({error.verify_message.rstrip('.')})."
    except ssl.SSLError as error:
        return f"it does not accept the connection ({error.reason}); does it know who signed this node's certificate?"
    except OSError as error:
        return "it answered." if isinstance(error, TimeoutError) else f"no connection ({error.strerror or error})."
    return "it closed the connection; does it know who signed this node's certificate?"


def _context(tls: Tls, protocol: Any) -> ssl.SSLContext:
    made = ssl.SSLContext(protocol)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a certificate that is named itself is trusted
    for file in tls.ca:
        made.load_verify_locations(file)
    if tls.certificate is not None:
        made.load_cert_chain(tls.certificate, tls.key)
    return made


def _read(file: Path, where: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        remedy = "Name a PEM file that the node's user can read."
        raise ConfigError(where, f"{file} cannot be read ({error.strerror}).", remedy) from error


def _certificates(file: Path, where: str) -> Any:
    """Return the certificates of a file.

    Raises:
        ConfigError: there is none, or one is not of this time.
    """
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(_read(file, where))
    except ValueError as error:
        remedy = "Give certificates in PEM, which begin with -----BEGIN CERTIFICATE-----."
        raise ConfigError(where, f"{file} holds no certificate.", remedy) from error
    now = datetime.now(timezone.utc)
    for each in found:
        if each.not_valid_after_utc < now:
            raise ConfigError(where, f"{file} has expired on {each.not_valid_after_utc:%Y-%m-%d}.", "Renew it.")
        if each.not_valid_before_utc > now:
            remedy = "Set this machine's clock, or renew it."
            raise ConfigError(where, f"{file} is valid from {each.not_valid_before_utc:%Y-%m-%d} on.", remedy)
    return found


def _key(file: Path, where: str) -> Any:
    """Return the key of a file.

    Raises:
        ConfigError: there is none, or it has a password, which nobody could enter at the start.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(_read(file, where), None)
    except TypeError as error:
        raise ConfigError(where, f"{file} has a password.", _NOT_ENCRYPTED) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        remedy = "Give a key in PEM, which begins with -----BEGIN PRIVATE KEY-----."
        raise ConfigError(where, f"{file} holds no key.", remedy) from error
