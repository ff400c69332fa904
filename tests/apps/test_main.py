"""The command line's entrance: help, version, and errors as one line."""

import subprocess
import sys

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

import ctan_monai
from ctan_monai.apps.main import OneLineErrors, app
from ctan_monai.errors import ConfigError

CHECK = """
import runpy, sys
sys.argv = ["ctan_monai", "--help"]
try:
    runpy.run_module("ctan_monai", run_name="__main__")
finally:
    print("heavy:", sorted({"torch", "monai", "pandas", "matplotlib", "itk"} & set(sys.modules)))
"""


def test_help_is_there_at_once_because_nothing_heavy_is_imported(plain):
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=True)
    shown = plain(done.stdout)
    assert "Usage: ctan-monai" in shown
    assert "score" in shown
    assert "heavy: []" in shown


def test_the_version_is_the_packages(run):
    code, printed, errors = run(app, "--version")
    assert (code, errors) == (0, "")
    assert printed.splitlines()[0] == f"ctan-monai {ctan_monai.__version__}"
    assert {line.partition(": ")[0] for line in printed.splitlines()[1:]} >= {"torch", "monai", "cpu", "onednn"}


def test_an_error_made_on_purpose_is_one_line_and_any_other_keeps_its_traceback(run):
    failing = typer.Typer(cls=OneLineErrors)

    @failing.command()
    def refuse():
        raise ConfigError("epochs", "found [-1], expected 1 or more. " + "x" * 200, "Give a positive number.")

    @failing.command()
    def crash():
        raise KeyError("a bug")

    code, stdout, stderr = run(failing, "refuse")
    assert (code, stdout) == (2, "")
    assert stderr.startswith("Error: epochs: found [-1], expected")
    assert stderr.count("\n") == 1
    with pytest.raises(KeyError, match="a bug"):
        CliRunner().invoke(failing, ["crash"], catch_exceptions=False)


def _texts(command, name):
    yield from ((name, text) for text in (command.help, command.epilog, command.short_help) if text)
    for parameter in command.params:
        if help := getattr(parameter, "help", None):
            yield f"{name} --{parameter.name}", help
    for each, child in getattr(command, "commands", {}).items():
        yield from _texts(child, f"{name} {each}")


def test_brackets_in_help_are_shown_and_not_taken_for_markup():
    texts = list(_texts(typer.main.get_command(app), "ctan-monai"))
    assert len(texts) > 100
    for name, text in texts:
        assert {str(span.style) for span in Text.from_markup(text).spans} <= {"bold"}, name
