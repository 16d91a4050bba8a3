"""Write `llms.txt`, a map of the site for language models, and each page as Markdown.

The format is that of https://llmstxt.org: a title, a summary, and a list of links for
each part of the site.
"""

from collections.abc import Iterator
from pathlib import Path

from command_help import expanded
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def first_paragraph(document: nodes.document) -> str:
    """Return the first sentence of a page, on one line."""
    for paragraph in document.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        return text.partition(". ")[0].rstrip(".:") + "."
    return ""


def below(env: BuildEnvironment, page: str) -> Iterator[str]:
    """Walk the pages below a page, in the order of its tables of contents."""
    for child in env.toctree_includes.get(page, []):
        yield child
        yield from below(env, child)


def entry(env: BuildEnvironment, page: str, url: str) -> str:
    """Return the line of one page."""
    title = env.titles[page].astext()
    return f"- [{title}]({url}{page}.md): {first_paragraph(env.get_doctree(page))}"


def site_map(env: BuildEnvironment, url: str) -> str:
    """Return the text of `llms.txt`."""
    root = env.config.root_doc
    parts: dict[str, list[str]] = {"Pages": []}
    for page in env.toctree_includes[root]:
        children = list(below(env, page))
        title = env.titles[page].astext() if children else "Pages"
        parts.setdefault(title, []).extend(
            entry(env, each, url) for each in [page, *children]
        )
    summary = first_paragraph(env.get_doctree(root))
    sections = [
        f"## {title}\n\n" + "\n".join(lines) for title, lines in parts.items() if lines
    ]
    return "\n\n".join([f"# {env.config.project}", f"> {summary}", *sections]) + "\n"


def write(app: Sphinx, exception: Exception | None) -> None:
    """Write the map and the pages beside the HTML."""
    if exception is not None or app.builder.name not in ("html", "dirhtml"):
        return
    out = Path(app.outdir)
    (out / "llms.txt").write_text(
        site_map(app.env, app.config.html_baseurl), encoding="utf-8"
    )
    for page in app.env.found_docs:
        copy = out / f"{page}.md"
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = Path(app.env.doc2path(page)).read_text(encoding="utf-8")
        copy.write_text(expanded(text), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
