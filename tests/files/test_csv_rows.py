"""Rows of CSV tables: no line is lost in a quote, none is shifted, whatever program wrote them."""

import csv
import io
from pathlib import Path

import pytest

from ctan_monai.errors import DataError
from ctan_monai.files.csv_rows import csv_table

TABLE = Path("cases.csv")
WANTED = (["image", "note"], [(2, {"image": "a.png", "note": "1"}), (3, {"image": "b.png", "note": ""})])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("above", ["sep={}\n", '"sep={}"\r\n', "\n"])
def test_excels_line_above_the_header_is_none_of_the_table(separator, above):
    text = above.format(separator) + f"image{separator}note\na.png{separator}1\nb.png{separator}\n"
    columns, rows = csv_table(TABLE, text)
    assert (columns, [(line - 1, cells) for line, cells in rows]) == WANTED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('image,age,note\na,1,x\nb,2,"sharp\nc,3,z\nd,4,w\n', "line 3 cannot be read"),
        ('image,age,note\na,1,"sharp\nb,2,y\nc,3,"z"\n', "line 2 cannot be read"),
        ('image,age,note\na,1,"sharp\nb,2,y\nc,3,"\nd,4,w\n', "the quote that line 2 opens is closed in line 4"),
        ('image,note\na,"6" scan"\nb,\n', "line 2 cannot be read"),
    ],
    ids=["to the end", "to another quote", "to the end of a line", "inches"],
)
def test_a_quote_that_takes_lines_of_the_table_is_refused(text, message):
    with pytest.raises(DataError, match=message + ".*Close each quote"):
        csv_table(TABLE, text)


def test_a_text_may_have_several_lines_quotes_and_separators():
    cells = ["a.png", 'he said "6 cm"\nand left, then came', "3"]
    written = io.StringIO()
    csv.writer(written).writerows([["image", "note", "age"], cells, ["b.png", "", "4"]])
    _, rows = csv_table(TABLE, written.getvalue())
    assert [list(found.values()) for _, found in rows] == [cells, ["b.png", "", "4"]]


def test_separators_inside_of_a_columns_name_do_not_count():
    columns, rows = csv_table(TABLE, 'image;age;"note, of a kind, to us, all"\na.png;1;x\n')
    assert columns == ["image", "age", "note, of a kind, to us, all"]
    assert rows == [(2, dict(zip(columns, ["a.png", "1", "x"], strict=True)))]
