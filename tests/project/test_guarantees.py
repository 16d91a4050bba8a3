"""The guarantees name the tests that hold them: each of those tests exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`((?:property_)?tests/[\w/.-]+)?(?:::(\w+))?`")


def promises() -> list[tuple[str, str]]:
    """Every (file, test) that the page names; a name that begins with `::` is of the file named before it."""
    found: list[tuple[str, str]] = []
    file = ""
    for match in NAMED.finditer((ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")):
        file = match[1] or file
        if match[1] or match[2]:
            found.append((file, match[2] or ""))
    return found


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assigned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return functions | assigned | {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


@pytest.mark.parametrize(("file", "test"), sorted(set(promises())))
def test_each_test_that_holds_a_promise_exists(file: str, test: str) -> None:
    path = ROOT / file
    assert path.exists(), f"docs/guarantees.md names {file}"
    if test:
        assert test in names_in(path), f"docs/guarantees.md names {file}::{test}"


def sections() -> dict[str, str]:
    """The page's sections, by heading."""
    page = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    return {section.partition("\n")[0]: section for section in page.split("\n## ")[1:]}


@pytest.mark.parametrize("heading", sections())
def test_every_section_names_what_holds_it(heading: str) -> None:
    assert any(match[1] or match[2] for match in NAMED.finditer(sections()[heading]))


def test_the_page_names_tests_for_its_promises() -> None:
    assert len(promises()) >= 30
