"""The page of promises is that of the tests: every number, every test, and nothing that is not there."""

import os
import subprocess
import sys
from pathlib import Path

import promises
import pytest
from promises import BY_HAND, ROOT, SECTIONS, exists, read, render

PAGE = ROOT / "docs" / "promises.md"


def test_every_section_has_promises_and_every_test_that_is_named_exists():
    text = PAGE.read_text(encoding="utf-8")
    named = [line.split("[`")[1].split("`]")[0] for line in text.splitlines() if "| [`" in line]
    rows = read(text)
    assert set(rows) == set(named)
    assert {row[0] for row in rows.values()} == set(SECTIONS)
    assert "FAILED" not in text
    assert len(text.split(BY_HAND)[1].split()) > 50


def test_every_test_of_a_promise_is_on_the_page():
    rows = read(PAGE.read_text(encoding="utf-8"))
    marked = set()
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        lines = file.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if line.startswith("@pytest.mark.promise(") and file.name != "test_promises.py":
                function = next(each for each in lines[number:] if each.startswith("def "))
                marked.add(f"{file.relative_to(ROOT).as_posix()}::{function[4:].split('(')[0]}")
    assert marked == set(rows), "bring the page up to date: pytest -m promise --promises=docs/promises.md TESTS"


def test_the_page_survives_being_read_and_written():
    text = PAGE.read_text(encoding="utf-8")
    again = render(read(text), text)
    assert again.split("\n## 1.")[1] == text.split("\n## 1.")[1]
    assert exists("tests/faults/test_promises.py::test_the_page_survives_being_read_and_written")
    assert not exists("tests/faults/test_promises.py::test_nothing")
    assert not exists("tests/faults/test_gone.py::test_nothing")


MODULE = """
import pytest

@pytest.mark.promise(2, "a b")
@pytest.mark.parametrize("n", [1, 2])
def test_it(n, count, record):
    record(f"{count(1, 10)} times")

@pytest.mark.promise(1, "c")
def test_fails():
    assert False

@pytest.mark.promise(4, "d")
def test_skips():
    pytest.skip("no disk")
"""
OLD = "## 3. Old\n| kept | 7 of 7 | [`tests/a.py::test_a`](../tests/a.py) | then |\n\n## What is not promised\n\nmine\n"


@pytest.mark.parametrize(("share", "times"), [("1", 10), ("0.5", 5), ("0", 1)])
def test_a_run_writes_figures_and_failures_and_keeps_what_it_did_not_run(tmp_path, share, times):
    for name, text in (
        ("tests/test_made.py", MODULE),
        ("tests/a.py", "def test_a():\n    pass\n"),
        ("page.md", OLD),
        ("tests/helpers/promises.py", Path(promises.__file__).read_text(encoding="utf-8")),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    options = ["-p", "promises", "--long", share, "--promises", "page.md", "-m", "promise", "tests"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "tests" / "helpers")}
    subprocess.run([sys.executable, "-m", "pytest", *options], cwd=tmp_path, env=environment, capture_output=True)
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert f"| a b | {times} times | [`tests/test_made.py::test_it`](../tests/test_made.py) | 2" in text
    assert "| c | **FAILED** (1 of 1) |" in text
    assert "| d | not run: no disk |" in text
    assert "| kept | 7 of 7 | [`tests/a.py::test_a`](../tests/a.py) | then |" in text
    assert text.index("## 1.") < text.index("**FAILED**") < text.index("## 2.")
    assert text.endswith("## What is not promised\n\nmine\n")
