"""What the site adds to the pages of the repository: their order, an index of options, links in docstrings."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pygments.lexers.special import TextLexer

ROOT = Path(__file__).resolve().parents[1]
TREE = {
    "Start": ["docs/README", "docs/python", "docs/tutorial-tabular-data", "docs/own-dicom", "docs/walkthrough"],
    "Guides": [
        "docs/compare", "docs/uncertainty", "docs/tracking", "docs/data-on-device", "docs/multi-gpu", "docs/federated",
        "docs/share", "docs/label", "docs/dicom-node",
    ],
    "Bundles": ["docs/options", "bundles/*/docs/README"],
    "Reference": ["docs/api/README", "docs/design", "docs/adr/README", "docs/promises", "docs/checks",
                  "docs/results/README", "docs/results/protocol", "benchmarks/README"],
    "Project": ["CONTRIBUTING", "CHANGELOG"],
}  # fmt: skip
ORPHANS = re.compile(r"docs/results/.+/table|bundles/.+/sample/README|\.github/.+")  # reached by links only
_OPTION = re.compile(r"^(\w+): *(.*?)(?:\s+# *(.*))?$")


def setup(app: Any) -> dict[str, Any]:
    """Connect everything with Sphinx."""
    app.add_lexer("csv", TextLexer)  # which Pygments does not know
    app.connect("source-read", add_to_page)
    app.connect("autodoc-process-docstring", prepare_docstring)
    app.connect("missing-reference", find_by_last_name)
    app.connect("build-finished", write_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_to_page(app: Any, docname: str, source: list[str]) -> None:
    """Append what is generated to the pages that have something generated."""
    if docname == app.config.root_doc:
        named = {entry for entries in TREE.values() for entry in entries}
        others = sorted({f"docs/{path.stem}" for path in (ROOT / "docs").glob("*.md")} - named)
        for caption, entries in TREE.items():
            listed = "\n".join([*entries, *others] if caption == "Guides" else entries)
            source[0] += f"\n```{{toctree}}\n:caption: {caption}\n:hidden:\n:glob:\n{listed}\n```\n"
    elif docname == "docs/options":
        for config in sorted(ROOT.glob("bundles/*/configs/train.yaml")):
            app.env.note_dependency(str(config))
            source[0] += options_section(config)
    elif docname == "docs/api/networks":
        for path in sorted((ROOT / "ctan_monai" / "networks").glob("*.py")):
            if re.search("^@register", path.read_text(encoding="utf-8"), re.M):
                name = f"ctan_monai.networks.{path.stem}"
                source[0] += f"\n## {path.stem}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n"
    elif docname == "docs/adr/README":
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n[0-9]*\n```\n"
    elif ORPHANS.fullmatch(docname):
        source[0] = "---\norphan: true\n" + (
            source[0].removeprefix("---\n") if source[0].startswith("---\n") else "---\n" + source[0]
        )


def options_section(config: Path) -> str:
    """Return the options of a bundle as a section with a table."""
    bundle = config.parents[1].name
    lines = [f"\n## {bundle}\n", f"[About the bundle](../bundles/{bundle}/docs/README.md)\n"]
    lines += ["| option | default | |", "|---|---|---|"]
    lines += [
        f"| `{name}` | `` {default} `` | {comment} |".replace("``  ``", "")
        for name, default, comment in read_options(config.read_text(encoding="utf-8"))
    ]
    return "\n".join(lines) + "\n"


def read_options(text: str) -> Iterator[tuple[str, str, str]]:
    """Read name, default and comment of each entry under a config's heading of options."""
    block = re.search(r"^# ---- options.*?\n(.*?)^(?:settings:|# ----)", text, re.M | re.S)
    if block is None:
        raise ValueError("the config has no block of options")
    for line in re.sub(r"\n\s+(?=\S)", " ", block[1]).splitlines():
        if found := _OPTION.match(line):
            name, default, comment = found.groups(default="")
            value = yaml.safe_load(default)
            shown = value if isinstance(value, str) else default
            if isinstance(value, dict) and "_target_" in value:
                shown = value["_target_"].rpartition(".")[2] + "(...)"
            cells = (shown, comment)
            yield (name, *(cell.replace("|", r"\|") for cell in cells))


def prepare_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Make reStructuredText of a docstring that uses * for "any number of" and names decision records."""
    for at, line in enumerate(lines):
        bullet, text = re.match(r"(\s*(?:\* )?)(.*)", line).groups()
        parts = re.split(r"(``.*?``|`.*?`|>>> .*)", text)
        lines[at] = bullet + "".join(part if index % 2 else _plain(part) for index, part in enumerate(parts))


def _plain(text: str) -> str:
    text = re.sub(r"([*|])", r"\\\1", text)
    text = re.sub(r"\b(\w+)_(?=\W|$)", r"\1\\_", text)
    for record in re.findall(r"docs/adr/(\d{4})", text):
        (page,) = (ROOT / "docs" / "adr").glob(f"{record}-*.md")
        text = text.replace(f"docs/adr/{record}", f":doc:`docs/adr/{record} </docs/adr/{page.stem}>`")
    return text


def find_by_last_name(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Resolve a name in a docstring that only one public object has."""
    if node.get("refdomain") != "py":
        return None
    last = node["reftarget"].rpartition(".")[2]
    objects = env.domains["py"].objects
    found = [name for name in objects if name.rpartition(".")[2] == last and not objects[name].aliased]
    if len(found) != 1:
        return None
    from sphinx.util.nodes import make_refnode

    entry = objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, found[0])


def write_index(app: Any, error: Exception | None) -> None:
    """Let a folder's address lead to the front page."""
    if error is None and app.builder.format == "html":
        shutil.copyfile(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")
