"""Errors of this package as answers of the server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ctan_monai.errors import ConfigError, CtanError, DataError
from ctan_monai.serve.monailabel_api import HTTPException
from ctan_monai.serve.names import said_of
from ctan_monai.serve.sizes import TooLargeError

_logger = logging.getLogger(__name__)


@contextmanager
def as_answer() -> Iterator[None]:
    """Turn an error of this package into an HTTP answer that says it in JSON, without paths of this machine."""
    try:
        yield
    except CtanError as error:
        _logger.warning("%s", error)
        status = 413 if isinstance(error, TooLargeError) else 400 if isinstance(error, DataError | ConfigError) else 500
        raise HTTPException(status, said_of(error)) from error
