"""One HTML file that needs nothing beside it: pictures are inside, no script, no link outwards."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 1240px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { font-size: 1.25rem; margin: 2rem 0 .4rem; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid #c8c8c8; padding: .25rem .6rem; text-align: left; vertical-align: top; }
th { background: #f2f2f2; } td.n { text-align: right; }
img { max-width: 100%; height: auto; display: block; margin: .6rem 0; }
p.note { color: #555; }
@media print { body { margin: 0; max-width: none; } figure, table { break-inside: avoid; } }
""".strip()


@dataclass(frozen=True)
class Table:
    """A table; numbers are set to the right with four digits, None is shown as unknown."""

    head: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it: paragraphs, tables, pictures (PNG files) with what they show in words."""

    heading: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[tuple[Path, str]] = ()


def page(title: str, sections: Sequence[Section], note: str = "") -> str:
    """Compose a page; every text is escaped.

    Raises:
        OSError: a picture cannot be read.
    """
    body = "\n".join(_section(section) for section in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f'<h1>{html.escape(title)}</h1>\n<p class="note">{html.escape(note)}</p>\n{body}\n</body>\n</html>\n'
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.heading)}</h2>"]
    parts += [f"<p>{html.escape(text)}</p>" for text in section.paragraphs]
    parts += [_table(table) for table in section.tables]
    parts += [_picture(path, words) for path, words in section.pictures]
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.head)
    rows = "\n".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in table.rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _cell(value: str | float | None) -> str:
    if value is None:
        return '<td class="n">unknown</td>'
    if isinstance(value, str):
        return f"<td>{html.escape(value)}</td>"
    return f'<td class="n">{value:.4g}</td>'


def _picture(path: Path, words: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<figure><img alt="{html.escape(words, quote=True)}" src="data:image/png;base64,{content}"></figure>'
