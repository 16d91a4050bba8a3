"""Lessons 1 to 4 need at most fifteen concepts, and the map links each further concept to its page."""

import ast
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
TUTORIAL = DOCS / "tutorial"
MAP = DOCS / "explanation" / "map.md"
AT_MOST = 15

LESSONS = sorted(TUTORIAL.glob("[1-4]-*.md"))
CODE = re.compile(r"^```[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n((?!>>>).*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^>>> ((?:from|import) .*)$", re.MULTILINE)
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ARROW = re.compile(r'^    (\w+)(\(\[.+?\]\)|\[.+?\])? -- "[^"]+" --> (\w+)(\[.+?\])?$')
ENTRY = re.compile(r"^- \*\*\[([^\]]+)\]\(([^)]+)\)\*\*: ", re.MULTILINE)

PLAIN_ENGLISH = {"failure", "token"}
"""Terms of the glossary that the lessons use as any text does: a failed effect, an access token."""


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def concepts() -> dict[str, list[str]]:
    """The concepts of the index, each with its names."""
    section = text(TUTORIAL / "index.md").partition("## Fifteen concepts")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", section, re.MULTILINE)
    ]
    return {row[0]: re.findall(r"`(\w+)`", row[1]) for row in rows[2:]}


def imported(page: str) -> set[str]:
    """The public names of perdure and returns that the code of a page imports, also behind a prompt."""
    blocks = [*PYTHON.findall(page), *PROMPT.findall(page)]
    return {
        alias.name
        for block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and node.module is not None
        if re.match(r"(perdure|returns)\b(?!\.examples)", node.module)
        for alias in node.names
    }


def glossary() -> set[str]:
    return set(re.findall(r"^([a-z][a-z ]+)$", text(DOCS / "reference" / "glossary.md"), re.MULTILINE))


def terms(page: str) -> set[str]:
    """The terms of the glossary in the prose of a page. A link points to a further page, so its text does not count."""
    prose = re.sub(r"\[[^\]]*\]\([^)]*\)|`[^`]*`", "", CODE.sub("", page)).lower()
    return {term for term in glossary() if re.search(rf"\b{term}s?\b", prose)}


def test_the_first_lessons_need_at_most_fifteen_concepts() -> None:
    names = [name for names in concepts().values() for name in names]
    assert len(LESSONS) == 4
    assert 0 < len(concepts()) <= AT_MOST
    assert len(names) == len(set(names)) <= AT_MOST


def test_the_first_lessons_import_each_name_in_the_list_and_no_other() -> None:
    names = {name for names in concepts().values() for name in names}
    assert set().union(*(imported(text(page)) for page in LESSONS)) == names


@pytest.mark.parametrize("page", LESSONS, ids=lambda page: page.stem)
def test_a_first_lesson_uses_no_other_term_of_the_glossary(page: Path) -> None:
    assert terms(text(page)) - set(concepts()) - PLAIN_ENGLISH == set()


def test_another_name_or_term_is_found() -> None:
    page = text(LESSONS[0])
    planted = f"{page}\n```python\nfrom perdure import Retry\n```\n\nThe run keeps its claim.\n"
    assert imported(planted) - imported(page) == {"Retry"}
    assert terms(planted) - terms(page) == {"claim"}


def drawn(diagram: str) -> tuple[set[str], set[str]]:
    """The round and the square labels of a diagram, of which each line is an arrow with a need."""
    round_, square = set[str](), set[str]()
    for line in diagram.splitlines()[1:]:
        arrow = ARROW.match(line)
        assert arrow is not None, line
        for label in filter(None, (arrow[2], arrow[4])):
            (round_ if label.startswith("(") else square).add(label.strip("([])"))
    return round_, square


def test_the_map_starts_at_the_concepts_of_the_first_lessons() -> None:
    diagrams = [drawn(diagram) for diagram in DIAGRAM.findall(text(MAP))]
    assert len(diagrams) >= 5
    assert set().union(*(round_ for round_, _ in diagrams)) <= set(concepts())


def test_each_node_of_the_map_links_to_a_page() -> None:
    further = set().union(*(square for _, square in map(drawn, DIAGRAM.findall(text(MAP)))))
    entries = dict(ENTRY.findall(text(MAP)))
    assert further == set(entries)
    assert [link for link in entries.values() if not (MAP.parent / link.partition("#")[0]).is_file()] == []
