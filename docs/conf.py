"""How Sphinx builds the site; ``make docs``. Everything it needs lies in the repository."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from arietta._version import __version__  # noqa: E402 - found by the line above
from docs.make.notebook import page  # noqa: E402

project = "Arietta"
author = "the Arietta maintainers"
copyright = "2026, the Arietta maintainers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown", ".ipynb": "notebook"}
exclude_patterns = ["_site", "make"]
suppress_warnings = [
    "myst.header",  # a card begins at the level that its own page needs
    "myst.xref_missing",  # cards and CONTRIBUTING link to files of the repository
    "ref.python",  # attributes of several classes share a name
]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"exclude-members": "__init__, __new__"}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
add_module_names = False
pygments_style = "friendly"

html_theme = "furo"
html_title = f"Arietta {__version__}"
html_static_path: list[str] = []
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}


class NotebookParser(MystParser):
    """Runs a notebook and reads the page that comes out."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Run the cells in a folder of their own, so that what they write is left behind there."""
        here = Path.cwd()
        with TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                text = page(inputstring)
            finally:
                os.chdir(here)
        super().parse(text, document)


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the notebook's parser."""
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
