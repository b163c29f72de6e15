"""Sphinx configuration: Markdown pages, the API from docstrings, tables from the code."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import generated  # noqa: E402 - found on the path above

import mammoscope  # noqa: E402

project = "Mammoscope"
author = "The Mammoscope authors"
copyright = "The Mammoscope authors, Apache-2.0"  # noqa: A001 - Sphinx's name
version = release = mammoscope.__version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["_build", "_generated"]
nitpicky = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"Mammoscope {release}"
html_copy_source = False
html_show_sphinx = False
# Nothing is loaded from elsewhere: no web fonts, no scripts, no images.
html_theme_options = {"top_of_page_buttons": []}

generated.write(ROOT / "docs" / "_generated")
