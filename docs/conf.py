"""Sphinx: `sphinx-build -W docs site`. The build reads nothing from the network.

`PERDURE_DOCS_ONLINE=1` downloads the inventories of Python, returns, attrs and
Hypothesis, and links to their pages.
"""

import os
import sys
from importlib.metadata import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

package = metadata("perdure")
links = dict(link.split(", ", 1) for link in package.get_all("Project-URL") or ())

project = "perdure"
author = "The perdure developers"
copyright = "the perdure developers"  # noqa: A001 - the name that Sphinx reads
version = release = package["Version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "api_directive",
    "command_directive",
    "diagrams",
    "llms_txt",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["benchmarks/*"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_fence_as_directive = ["mermaid"]  # an ordinary fence, which GitHub draws as well
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_custom_sections = [("Attributes", "params_style")]  # one list, as arguments
maximum_signature_line_length = 88

online = os.environ.get("PERDURE_DOCS_ONLINE") == "1"
intersphinx_mapping = (
    {
        "python": ("https://docs.python.org/3", None),
        "returns": ("https://returns.readthedocs.io/en/latest", None),
        "attrs": ("https://www.attrs.org/en/stable", None),
        "hypothesis": ("https://hypothesis.readthedocs.io/en/latest", None),
    }
    if online
    else {}
)

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = f"perdure {release}"
html_baseurl = links["Documentation"]
html_static_path = ["_static"]
html_css_files = ["perdure.css"]
html_theme_options = {
    "source_repository": links["Source"],
    "source_branch": "main",
    "source_directory": "docs/",
}
