"""The documentation site: `uv run sphinx-build -W docs docs/site`, without network.

API pages are made from the docstrings. Everything that the pages need lies beside them, so the site
works from a folder, offline, with a search that runs in the browser.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from collect import collect

collect(Path(__file__).parent)

project = "The Segmentation Course"
author = "The authors of the Segmentation Course"
copyright = author  # the name that Sphinx wants
release = version = installed("segmentation-course")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
]
html_static_path = ["static"]
html_js_files = ["from_a_folder.js", "accessible.js"]
html_extra_path = ["extra"]  # the decks of slides
exclude_patterns = ["site", "**.ipynb_checkpoints"]
default_role = "literal"
nb_execution_mode = "off"  # labs are shown as students get them, lectures come executed
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # there are no live widgets, and none is fetched
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
highlight_language = "none"  # blocks without a language are formulas or terminal lines
nitpicky = False
suppress_warnings = ["ref.python"]  # names that two modules of a paper export

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False  # torch's own words on `forward` say nothing here
python_maximum_signature_line_length = 88
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Example", "Examples"), "Source"]

html_theme = "furo"
html_title = project
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#005a8f",
        "color-brand-content": "#005a8f",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7cc4f0",
        "color-brand-content": "#7cc4f0",
    },
}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def _without_field_numbers(
    app: object, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """A named tuple's fields are described in its own text, not by their numbers."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()


def _formulas_as_written(
    app: object, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """An indented line after a colon is a formula: shown as it stands in the source."""
    for i in range(2, len(lines)):
        before, formula = lines[i - 2], lines[i]
        example = formula.lstrip().startswith((">>>", "- ", "* "))
        indented = len(formula) - len(formula.lstrip()) - (len(before) - len(before.lstrip())) >= 4
        if not lines[i - 1].strip() and indented and before.endswith(":") and not example:
            lines[i - 2] = before + ":"


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _formulas_as_written, priority=100)
    app.connect("autodoc-process-docstring", _without_field_numbers)
