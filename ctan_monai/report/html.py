"""Self-contained HTML pages: images are embedded, no scripts, no external resources."""

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
caption { text-align: left; color: #555; padding-bottom: .3rem; }
th, td { border: 1px solid #c8c8c8; padding: .25rem .6rem; text-align: left; vertical-align: top; }
th { background: #f2f2f2; } td.n { text-align: right; white-space: nowrap; }
td.yes { background: #e3f1e5; } td.no { background: #fbe3dc; font-weight: 600; } td.na { color: #666; }
table.dense { font-size: .88rem; } table.dense th, table.dense td { padding: .12rem .5rem; }
table.dense th { font-weight: 600; }
img { max-width: 100%; height: auto; display: block; margin: .6rem 0; }
figure { margin: .6rem 0; } figcaption { color: #555; }
p { max-width: 60rem; margin: .5rem 0; } p.note { color: #555; }
p.warning { border-left: 5px solid #b4560b; background: #fdf3e7; padding: .4rem .8rem; font-weight: 600; }
@page { size: A4; margin: 12mm; }
@media print { body { font-size: 10.5pt; margin: 0; max-width: none; padding: 0; } h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; } table.dense { font-size: 8.5pt; } thead { display: table-header-group; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
""".strip()


@dataclass(frozen=True)
class Cell:
    """A table cell with a style.

    Args:
        text: what stands in it.
        kind: '' for text, 'n' for a number, 'yes', 'no' and 'na' for answers (the text says which, too), 'head' for
            the name of the rows to its right.
        link: a file beside the page that it leads to.
        rows: how many rows it covers.
    """

    text: str
    kind: str = ""
    link: str = ""
    rows: int = 1


Entry = str | float | Cell | None


@dataclass(frozen=True)
class Table:
    """A table; numbers are right-aligned with four digits, None is shown as unknown.

    Args:
        head: names of the columns.
        rows: the cells; a row under a cell that covers several rows has fewer.
        caption: what it shows, above it.
        dense: whether to set it small, for many columns.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    caption: str = ""
    dense: bool = False


@dataclass(frozen=True)
class Section:
    """A section of a page: heading, paragraphs, tables, images.

    Args:
        heading: of the section.
        paragraphs: texts.
        tables: tables.
        images: PNG, as file or as bytes, with what it shows in words (for who cannot see it).
        images_first: whether they stand before the tables.
        notes: texts under all of it.
    """

    heading: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    images: Sequence[tuple[Path | bytes, str]] = ()
    images_first: bool = False
    notes: Sequence[str] = ()


def page(
    title: str,
    sections: Sequence[Section],
    note: str = "",
    warning: str = "",
    links: Sequence[tuple[str, str]] = (),
) -> str:
    """Create a page; every text is escaped.

    Args:
        title: of the page.
        sections: what stands on it.
        note: under the title.
        warning: what nobody must miss, set off.
        links: texts and files beside the page that they lead to.

    Raises:
        OSError: an image cannot be read.
    """
    body = "\n".join(_section(section) for section in sections)
    warned = f'<p class="warning">{html.escape(warning)}</p>\n' if warning else ""
    leading = " | ".join(f'<a href="{html.escape(file, quote=True)}">{html.escape(text)}</a>' for text, file in links)
    head = f'<h1>{html.escape(title)}</h1>\n<p class="note">{html.escape(note)}</p>\n{warned}'
    head += f"<p>{leading}</p>\n" if links else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f"{head}{body}\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.heading)}</h2>"]
    parts += [f"<p>{html.escape(text)}</p>" for text in section.paragraphs]
    tables = [_table(table) for table in section.tables]
    images = [_image(image, words) for image, words in section.images]
    parts += [*images, *tables] if section.images_first else [*tables, *images]
    parts += [f'<p class="note">{html.escape(text)}</p>' for text in section.notes]
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _table(table: Table) -> str:
    caption = f"<caption>{html.escape(table.caption)}</caption>\n" if table.caption else ""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.head)
    rows = "\n".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in table.rows)
    kind = ' class="dense"' if table.dense else ""
    return f"<table{kind}>\n{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _cell(value: Entry) -> str:
    if value is None:
        return '<td class="n">unknown</td>'
    if isinstance(value, str):
        return f"<td>{html.escape(value)}</td>"
    if not isinstance(value, Cell):
        return f'<td class="n">{value:.4g}</td>'
    text = html.escape(value.text)
    if value.link:
        text = f'<a href="{html.escape(value.link, quote=True)}">{text}</a>'
    span = f' rowspan="{value.rows}"' if value.rows > 1 else ""
    if value.kind == "head":
        return f'<th scope="{"rowgroup" if value.rows > 1 else "row"}"{span}>{text}</th>'
    kind = f' class="{value.kind}"' if value.kind else ""
    return f"<td{kind}{span}>{text}</td>"


def _image(image: Path | bytes, words: str) -> str:
    content = base64.b64encode(image if isinstance(image, bytes) else image.read_bytes()).decode("ascii")
    return f'<figure><img alt="{html.escape(words, quote=True)}" src="data:image/png;base64,{content}"></figure>'
