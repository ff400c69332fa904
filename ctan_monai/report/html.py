"""Self-contained HTML pages: images are embedded, no scripts, no external resources."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined


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
    environment = Environment(autoescape=True, trim_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["base64"] = _base64
    template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.render(title=title, sections=sections, note=note, warning=warning, links=links)


def _base64(image: Path | bytes) -> str:
    return base64.b64encode(image if isinstance(image, bytes) else image.read_bytes()).decode("ascii")
