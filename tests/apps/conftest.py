"""The patient-free OpenKBP set with the official evaluator's numbers, and a command line whose colours are off."""

import re
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

ARCHIVE = Path(__file__).parents[1] / "golden" / "openkbp" / "synthetic.tar.xz"


@pytest.fixture(scope="session")
def golden(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "synthetic"


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
