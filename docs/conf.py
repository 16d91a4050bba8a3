"""Sphinx: `sphinx-build -W docs site`. It reads nothing from the network."""

from importlib.metadata import version as installed

project = "perdure"
author = "The perdure developers"
copyright = "the perdure developers"  # noqa: A001 - the name that Sphinx reads
version = release = installed("perdure")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["benchmarks/*"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"

html_theme = "furo"
html_title = f"perdure {release}"
