"""Show a `mermaid` fence as the picture that `draw_diagrams.py` drew from it.

The pictures are SVG files below `docs/_diagrams`, one for each fence. Each begins with
the digest of its source, so that a page whose fence changed does not build until the
picture is drawn again. A build needs no browser, no network and no script.
"""

import re
from hashlib import sha256
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

DOCS = Path(__file__).parents[1]
PICTURES = DOCS / "_diagrams"
FENCE = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def digest(source: str) -> str:
    """Return the mark of a source, which its picture begins with."""
    return f"<!-- drawn from {sha256(source.strip().encode()).hexdigest()[:16]} -->\n"


def picture(page: str, number: int) -> Path:
    """Return the file of a page's picture: `index` and 2 are `index-2.svg`."""
    return PICTURES / f"{page.replace('/', '-')}-{number}.svg"


def diagrams() -> dict[Path, str]:
    """Return the source of each picture of the pages."""
    found: dict[Path, str] = {}
    for file in sorted(DOCS.rglob("*.md")):
        page = file.relative_to(DOCS).with_suffix("").as_posix()
        for number, source in enumerate(FENCE.findall(file.read_text("utf-8")), 1):
            found[picture(page, number)] = source
    return found


def is_drawn(file: Path, source: str) -> bool:
    """Return whether the picture is of this source."""
    return file.exists() and file.read_text("utf-8").startswith(digest(source))


class Mermaid(SphinxDirective):
    """The picture of a fence, inside the page, so that it has the page's colours."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the SVG, or fail if it is of another source."""
        key = f"diagrams of {self.env.docname}"
        number = self.env.temp_data[key] = self.env.temp_data.get(key, 0) + 1
        file = picture(self.env.docname, number)
        self.env.note_dependency(str(file))
        source = "\n".join(self.content)
        if not is_drawn(file, source):
            raise self.error(
                f"{file.name} is not drawn from this diagram: run docs/draw_diagrams.py"
            )
        drawn = file.read_text("utf-8")
        label = escape(source, quote=True)
        html = f'<div class="diagram" role="img" aria-label="{label}">{drawn}</div>'
        return [nodes.raw("", html, format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
