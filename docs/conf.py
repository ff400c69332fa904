"""Sphinx's settings. The repository is the source folder, so that links between pages work here as on GitHub.

make site        or: sphinx-build -W --keep-going -c docs . build/site
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # of site_pages
sys.path.insert(0, str(Path(__file__).parents[1]))

from ctan_monai import __version__

project = "ctan_monai"
author = "the authors of ctan_monai"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "site_pages"]
root_doc = "README"
include_patterns = [
    "*.md",
    ".github/ISSUE_TEMPLATE/*.md",
    "docs/**.md",
    "bundles/*/docs/*.md",
    "bundles/*/sample/*.md",
    "benchmarks/*.md",
]
exclude_patterns = [
    ".git",
    ".venv",
    ".*_cache",
    "build",
    "dist",
    "tests",
    "ctan_monai",
    "bundles/*/cache",
    "bundles/*/runs",
    "**/__pycache__",
]

myst_heading_anchors = 4
myst_enable_extensions = ["fieldlist"]
smartquotes = False  # --option would become a dash
default_role = "py:obj"  # docstrings name objects in single backticks; what is none stays code
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_rtype = False
napoleon_custom_sections = [("Source", "notes_style")]
python_use_unqualified_type_names = True
maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"ctan_monai {release}"
html_show_sourcelink = False
html_copy_source = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]
