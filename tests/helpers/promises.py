"""Pytest plugin: tests that stand for a promise, and the page that says which held, with what they measured.

A test is marked ``@pytest.mark.promise(number, "what is promised")``, number being that of a section below. It may ask
for `record` to say what it measured, and for `count` to repeat something a few times in CI and often in the long run::

    pytest -m promise --long=1 --promises=docs/promises.md

Rows of tests that were not run this time stay as they are, with their date and commit, so that the long run can be
made in parts. What stands on the page from "## What is not promised" on is written by hand and kept.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections import defaultdict
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import pytest

SECTIONS = {
    1: "A training can be killed",
    2: "Checkpoints",
    3: "Damaged files",
    4: "Geometry, labels and leakage",
    5: "The cache of cases",
    6: "Names and tables",
    7: "Long runs",
    8: "The same again",
    9: "A DICOM node",
}
BY_HAND = "## What is not promised"
ROOT = Path(__file__).resolve().parents[2]
_MEASURED = "measured"
_HEAD = """# Promises

Written by the tests themselves, up to "What is not promised":

```sh
make faults
```

which is `pytest -m promise --long=1 --promises=docs/promises.md`; a part of the tests updates its rows only. CI runs
every test in a short form. The last measurement is of the day and at the commit beside it, on {machine}.
"""


def pytest_addoption(parser):
    group = parser.getgroup("promises")
    group.addoption(
        "--long", type=float, default=0, metavar="SHARE", help="fraction of the long form's repetitions, 0-1"
    )
    group.addoption("--promises", metavar="FILE", help="page of promises to update with what this run finds")


def pytest_configure(config):
    config.addinivalue_line("markers", "promise(number, statement): stands for a promise of docs/promises.md")
    config.pluginmanager.register(Promises(config))


class Promises:
    """What this run found out about promises."""

    def __init__(self, config):
        self.page = config.getoption("--promises")
        self.promises, self.reports = {}, defaultdict(list)

    def pytest_collection_modifyitems(self, items):
        """Note the promises, and refuse one that no page could show."""
        for item in items:
            if marker := item.get_closest_marker("promise"):
                number, statement = marker.args
                if number not in SECTIONS or "|" in statement:
                    raise pytest.UsageError(f"{item.nodeid}: no such promise: {number}, {statement!r}")
                self.promises[base(item.nodeid)] = number, statement

    def pytest_runtest_logreport(self, report):
        if base(report.nodeid) in self.promises and (report.when == "call" or not report.passed):
            self.reports[base(report.nodeid)].append(report)

    def pytest_sessionfinish(self):
        if self.page is None or not self.reports:
            return
        when, path = f"{datetime.now(timezone.utc):%Y-%m-%d}, {commit()}", Path(self.page)
        found = {test: (*self.promises[test], result(reports), when) for test, reports in self.reports.items()}
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(render({**read(old), **found}, old), encoding="utf-8")


def base(nodeid):
    """Return the name of a test without its parameters."""
    return nodeid.split("[")[0]


@pytest.fixture
def count(request):
    """Return ``count(short, long)``: how often to repeat something, in CI and for the page of promises."""
    share = request.config.getoption("--long")
    return lambda short, long: max(short, round(share * long))


@pytest.fixture
def record(record_property):
    """Return ``record(text)``: say what was measured."""
    return lambda text: record_property(_MEASURED, text)


def result(reports):
    """Sum up the outcomes of one test, which may have several parameters."""
    failed = [report for report in reports if report.failed]
    skipped = [report for report in reports if report.skipped]
    if failed:
        return f"**FAILED** ({len(failed)} of {len(reports)})"
    if len(skipped) == len(reports):
        return f"not run: {skipped[0].longrepr[2].removeprefix('Skipped: ')}"
    texts = dict.fromkeys(text for report in reports for name, text in report.user_properties if name == _MEASURED)
    passed = len(reports) - len(skipped)
    held = "; ".join(texts) or ("holds" if passed == 1 else f"holds in {passed} of {passed} cases")
    return held + (f" ({len(skipped)} not run)" if skipped else "")


def read(text):
    """Return the rows of a page, by test; those of tests that are gone are left out."""
    rows, number = {}, 0
    for line in text.split(BY_HAND)[0].splitlines():
        if title := re.match(r"## (\d)\. ", line):
            number = int(title[1])
        if row := re.fullmatch(r"\| (.*?) \| (.*?) \| \[`(.*?)`\]\(.*?\) \| (.*?) \|", line):
            statement, found, test, when = row.groups()
            if exists(test):
                rows[test] = (number, statement, found, when)
    return rows


def exists(test):
    """Tell whether a test is there: file and function."""
    file, _, function = test.partition("::")
    path = ROOT / file
    return path.is_file() and f"def {function}(" in path.read_text(encoding="utf-8")


def render(rows, old=""):
    """Write the page."""
    parts = [_HEAD.format(machine=machine())]
    for number, title in SECTIONS.items():
        parts.append(f"## {number}. {title}\n")
        parts.append("| promise | last measurement | test | when |\n|---|---|---|---|")
        mine = sorted((test, row) for test, row in rows.items() if row[0] == number)
        parts += [
            f"| {statement} | {found} | [`{test}`](../{test.split('::')[0]}) | {when} |"
            for test, (_, statement, found, when) in mine
        ]
        parts.append("")
    by_hand = old.partition(BY_HAND)[2] or "\n"
    return "\n".join(parts) + "\n" + BY_HAND + by_hand


def machine():
    """Describe the machine without its name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    python, system = platform.python_version(), f"{platform.system()} {platform.machine()}"
    return f"{cores} CPU cores, {system}, Python {python}, torch {version('torch')}"


def commit():
    """Name the commit, with a plus if something of the package has changed since."""
    try:
        name = _git("rev-parse", "--short", "HEAD")
        return name + ("+" if _git("status", "--porcelain", "--", "ctan_monai", "tests") else "")
    except (OSError, subprocess.CalledProcessError):
        return "no commit"


def _git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
