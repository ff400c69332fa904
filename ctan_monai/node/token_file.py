"""Token of STOW-RS, in a file of its own, so that settings can be shown to others."""

from __future__ import annotations

import re
from pathlib import Path

from ctan_monai.errors import ConfigError

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,4096}")  # RFC 6750, and long enough not to be guessed


def read_token(path: Path, where: str) -> str:
    """Read a bearer token.

    Args:
        path: a file with nothing else.
        where: entry of the settings.

    Raises:
        ConfigError: the file cannot be read, or holds no token.
    """
    remedy = "Make one: openssl rand -hex 32"
    try:
        found = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(where, f"{path} cannot be read ({error.strerror}).", remedy) from error
    except ValueError as error:
        raise ConfigError(where, f"{path} holds no token.", remedy) from error
    if not _TOKEN.fullmatch(found):
        raise ConfigError(where, f"{path} holds no token of at least 16 letters, digits or signs.", remedy)
    return found
