from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from ctan_monai.report.html import Section, Table, page

VOID = {"meta", "img"}


class _Reader(HTMLParser):
    """Collects cells and images, and checks that every element is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.images, self.text = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


def _read(text):
    reader = _Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


@pytest.mark.promise(6, "texts in a report are shown, never executed")
def test_texts_are_shown_and_never_executed(tmp_path):
    nasty = '<script>alert("x")</script> & co'
    (tmp_path / "a.png").write_bytes(b"\x89PNG image")
    sections = [Section(nasty, [nasty], [Table([nasty], [[nasty]])], [(tmp_path / "a.png", nasty)])]
    text = page(nasty, sections, nasty)
    reader = _read(text)
    assert "<script" not in text
    assert reader.cells == [nasty, nasty]
    assert reader.images[0]["alt"] == nasty


def test_images_are_inside_and_nothing_is_loaded_from_elsewhere(tmp_path):
    content = b"\x89PNG" + bytes(range(256))
    (tmp_path / "a.png").write_bytes(content)
    text = page("t", [Section("h", images=[(tmp_path / "a.png", "a")])])
    (image,) = _read(text).images
    assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) == content
    assert not re.search(r"https?:|<link|<script|url\(", text)


def test_numbers_have_four_digits_and_what_is_unknown_says_so():
    reader = _read(page("t", [Section("h", tables=[Table(["a"], [[0.123456], [None], [3], ["x"]])])]))
    assert reader.cells == ["a", "0.1235", "unknown", "3", "x"]
