"""Certificates for tests, made by the commands of docs/dicom-node.md."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

PAGE = Path(__file__).parents[2] / "docs" / "dicom-node.md"


def commands():
    """Return the page's openssl commands, in its order."""
    section = PAGE.read_text(encoding="utf-8").partition("## TLS")[2].partition("\n## ")[0]
    return [line for block in re.findall(r"```bash\n(.*?)```", section, re.S) for line in block.splitlines()]


def make_certificates(folder):
    """Make what the page makes: ``ca.pem``, ``node.pem``, ``pacs.pem`` and their keys, in a folder; returns it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder.mkdir(parents=True, exist_ok=True)
    for command in commands():
        subprocess.run(command, shell=True, cwd=folder, check=True, capture_output=True)  # noqa: S602
    return folder


def peer(folder, name=None, server=False, newest=None):
    """Return a context of another system, which trusts ``ca.pem`` and shows the certificate of a name."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(folder / "ca.pem")
    if name is not None:
        made.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    if server:
        made.verify_mode = ssl.CERT_REQUIRED
    if newest is not None:
        made.maximum_version = newest
    return made


def write_self_signed(folder, name, first=-1, last=1, password=None):
    """Write a certificate that nobody else signed, valid between two days from now on, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now + timedelta(days=first)).not_valid_after(now + timedelta(days=last))
    (folder / f"{name}.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    how = BestAvailableEncryption(password) if password else NoEncryption()
    (folder / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))
