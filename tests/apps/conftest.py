"""A command line whose colors are off."""

import re

import pytest
from typer.testing import CliRunner


@pytest.fixture(scope="session")
def plain():
    """Take out what a forced terminal adds (some CI services force one)."""
    return lambda text: re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.fixture
def run(plain):
    """Run a command as a user does; gives exit code, stdout and stderr."""

    def invoke(app, *options):
        result = CliRunner().invoke(app, [str(option) for option in options], env={"COLUMNS": "120"})
        return result.exit_code, plain(result.stdout), plain(result.stderr)

    return invoke
