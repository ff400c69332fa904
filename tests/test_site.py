"""The page that trains from Python, and the documentation's site."""

import sys

import pytest
from markdown_pages import run_snippets


@pytest.mark.slow
def test_ten_lines_of_python_train_and_predict(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    run_snippets(repository / "docs" / "python.md")
