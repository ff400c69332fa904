"""Read the project's Markdown pages: their code blocks, commands and links."""

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "bundles/*/docs/*.md", "bundles/*/sample/*.md", "tests/golden/**/*.md")
    for path in ROOT.glob(pattern)
)
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.M | re.S)


class Block(NamedTuple):
    """A fenced block and where it begins."""

    language: str
    code: str
    line: int


def name(page):
    """Name a page in the way that a test's id shows it."""
    return str(page.relative_to(ROOT))


def blocks(page):
    """Return the fenced blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text)]


def run_snippets(page):
    """Run a page's snippets in their order, and compare what each prints with the block of text below it."""
    namespace = {"__name__": page.stem}
    printed = ""
    for block in blocks(page):
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as stdout:
                exec(compile("\n" * block.line + block.code, str(page), "exec"), namespace)  # noqa: S102
            printed = stdout.getvalue()
        elif block.language == "text":
            assert printed.rstrip() == block.code.rstrip(), f"{name(page)}, line {block.line}"


def prose(page):
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def section_block(page, heading):
    """Return the first ```bash block under the first heading that begins with some words, None without one."""
    text = page.read_text(encoding="utf-8")
    section = re.search(rf"^#+\s*{heading}.*?$(.*?)(?=^#+\s|\Z)", text, re.M | re.S)
    block = section and re.search(r"```bash\n(.*?)```", section[1], re.S)
    return block[1].strip() if block else None


def commands(page, program):
    """Return the arguments of every call of a program on a page, as a shell would split them."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (line.strip().lstrip("$ ") for line in text.splitlines())
    return [shlex.split(line.removeprefix(program)) for line in lines if line.startswith(program)]


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+\s+(.*?)\s*$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page):
    """Return the targets of a page's links that are no web addresses."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]
