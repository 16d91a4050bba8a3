"""Each documented limit has a row in the tables here, or names the test elsewhere that reaches it."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import attrs
import elsewhere
import pytest
import small_limits
from engine_edges import EDGES
from fixed_edges import FIXED
from option_edges import RANGES
from sentences import ROW, SENTENCES

from perdure import Limits
from perdure.server.http_limits import HttpLimits

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
import api  # noqa: E402 - the parameters of the reference

PAGE = (ROOT / "docs" / "reference" / "limits.md").read_text(encoding="utf-8")
NUMBERS = re.compile(r"\b1(?: ms)? to [\d,]+|\b(?:at most|up to) [\d,]{2,}|\bdefault 1 to [\d,]+")
NOT_PUBLIC = ("testing", "conformance")
"""Pages of the testing kit."""


def documented_options() -> set[str]:
    """Return the parameters of which the reference says a range, as ``Class.parameter``."""
    found: set[str] = set()
    for page in sorted(api.PAGES.glob("*.md")):
        for block in api.BLOCK.finditer(page.read_text(encoding="utf-8")):
            for line in re.sub(r"\n {8}", " ", block["body"]).splitlines():
                parameter = re.match(r"    \*{0,2}(\w+)", line)
                is_limits = block["name"].endswith(("Limits", "HttpLimits"))
                if parameter and parameter[1] != "raises" and NUMBERS.search(line) and not is_limits:
                    found.add(f"{block['name'].rpartition('.')[2]}.{parameter[1]}" * (page.stem not in NOT_PUBLIC))
    return found - {""}


def fixed() -> set[str]:
    """Return the limits that the page says no option changes."""
    table = PAGE.partition("You cannot change these:")[2]
    return {line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")} - {"limit"}


def test_each_limit_of_the_engine_has_a_row() -> None:
    fields = {field.name for field in attrs.fields(Limits)}
    named = {edge.name.partition(", ")[0] for edge in EDGES} | set(elsewhere.ENGINE)
    assert {name for name in fields if name.removesuffix("_ms") not in named} == set()
    assert named <= fields


def test_each_limit_of_the_server_names_its_test() -> None:
    assert set(elsewhere.HTTP) == {field.name for field in attrs.fields(HttpLimits)}


def test_each_fixed_limit_has_a_row_or_names_its_test() -> None:
    here = {edge.name for edge in FIXED}
    assert here | set(elsewhere.FIXED_ELSEWHERE) | set(elsewhere.FIXED_RANGES) == fixed()


def test_each_range_of_the_reference_has_a_row_or_names_its_test() -> None:
    rows = {limit.name for limit in RANGES}
    known = rows | set(elsewhere.OPTIONS_ELSEWHERE) | set(elsewhere.SAME) | set(elsewhere.NO_LIMITS)
    assert documented_options() - known == set()
    assert set(elsewhere.SAME.values()) <= rows
    assert {name for names in elsewhere.FIXED_RANGES.values() for name in names} <= rows


USERS_PAGES = ("explanation/*.md", "how-to/*.md", "reference/*.md", "tutorial/*.md", "*.md")
OTHER_PAGES = ("limits", "changelog", "benchmarks")
"""The first has tables of limits, which the tests above read. The others are history."""
PHRASES = re.compile(r"\b(?:at most|up to) [\d,]*\d\d|\b[\d,]*\d\d at a time\b|\b1(?: ms)? to \d[\d,]*\b")


def sentences() -> set[str]:
    """Return the limits in the sentences of the users' pages, by page."""
    docs, found = ROOT / "docs", set[str]()
    for page in (page for pages in USERS_PAGES for page in docs.glob(pages) if page.stem not in OTHER_PAGES):
        prose = api.BLOCK.sub("", page.read_text(encoding="utf-8"))
        name = page.relative_to(docs).as_posix()
        found |= {f"{name}: {' '.join(phrase.split()).rstrip(',')}" for phrase in PHRASES.findall(prose)}
    return found


def test_each_limit_in_a_sentence_has_a_row_or_names_its_test_or_has_a_reason() -> None:
    assert set(SENTENCES) == sentences()
    named = {found.removeprefix(ROW) for found in SENTENCES.values() if found.startswith(ROW)}
    assert named <= {limit.name for limit in RANGES}


TESTED_SENTENCES = {sentence: found for sentence, found in SENTENCES.items() if "::" in found}
ELSEWHERE = {
    **elsewhere.ENGINE,
    **elsewhere.HTTP,
    **elsewhere.FIXED_ELSEWHERE,
    **elsewhere.OPTIONS_ELSEWHERE,
    **TESTED_SENTENCES,
}


@pytest.mark.parametrize("test", sorted(set(ELSEWHERE.values())))
def test_each_test_elsewhere_exists(test: str) -> None:
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("how many items in a chunk, 1 to 1,000.", True),
        ("further keys to decrypt with, at most 31.", True),
        ("1 ms to 100 years.", True),
        ("how many workers there are.", False),
    ],
)
def test_a_range_is_recognized(text: str, is_one: bool) -> None:  # noqa: FBT001 - drawn
    assert (NUMBERS.search(text) is not None) == is_one


def test_worlds_of_healthy_work_draw_each_limit_small_or_say_why_not() -> None:
    drawn = set(small_limits.SMALL) | set(small_limits.NOT_SMALL)
    assert drawn == {field.name for field in attrs.fields(Limits) if not field.name.endswith("_ms")}
    assert not set(small_limits.SMALL) & set(small_limits.NOT_SMALL)
