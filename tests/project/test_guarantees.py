"""Each test that the guarantees page names exists, and each section names one."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`((?:property_)?tests/[\w/.-]+)?(?:::(\w+))?`")


def named_tests() -> list[tuple[str, str]]:
    """Return every (file, test) that the page names; `::test` belongs to the file named before it."""
    found: list[tuple[str, str]] = []
    file = ""
    for match in NAMED.finditer(PAGE):
        file = match[1] or file
        if match[1] or match[2]:
            found.append((file, match[2] or ""))
    return found


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assigned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return functions | assigned | {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


@pytest.mark.parametrize(("file", "test"), sorted(set(named_tests())))
def test_each_named_test_exists(file: str, test: str) -> None:
    path = ROOT / file
    assert path.exists(), f"docs/guarantees.md names {file}"
    if test:
        assert test in names_in(path), f"docs/guarantees.md names {file}::{test}"


def sections() -> dict[str, str]:
    """Return the page's sections by heading."""
    return {section.partition("\n")[0]: section for section in PAGE.split("\n## ")[1:]}


@pytest.mark.parametrize("heading", sections())
def test_every_section_names_a_test(heading: str) -> None:
    assert any(match[1] or match[2] for match in NAMED.finditer(sections()[heading]))


@pytest.mark.parametrize("limit", re.findall(r"^- \*Limits:\*.*?(?=^$)", PAGE, re.MULTILINE | re.DOTALL))
def test_every_limit_precedes_its_tests(limit: str) -> None:
    assert "*Tested by:*" in limit


def test_the_page_names_tests_for_its_guarantees() -> None:
    assert len(named_tests()) >= 30
