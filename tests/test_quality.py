"""The tools that read the code instead of running it; pytest is the one gate, so they are called from here."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

LINES_MAX = {"ctan_monai": 300, "tests": 400, "benchmarks": 400}
SCRIPTS = Path(sysconfig.get_path("scripts"))
TOOLS = {
    "ruff check": [sys.executable, "-m", "ruff", "check", "."],
    "ruff format": [sys.executable, "-m", "ruff", "format", "--check", "."],
    "mypy": [sys.executable, "-m", "mypy"],
    "imports point downwards": [SCRIPTS / "lint-imports"],
}


@pytest.mark.parametrize("tool", TOOLS)
def test_nothing_is_found_by(tool, repository):
    done = subprocess.run(TOOLS[tool], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_modules_stay_short_enough_to_be_read_at_once(repository):
    lines = {
        str(path.relative_to(repository)): (len(path.read_text(encoding="utf-8").splitlines()), most)
        for folder, most in LINES_MAX.items()
        for path in (repository / folder).rglob("*.py")
    }
    assert len(lines) > 100
    assert not {module: count for module, (count, most) in lines.items() if count > most}
