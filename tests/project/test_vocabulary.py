"""The words of docs, docstrings, comments, messages and test names: plain technical English, addressed to the reader.

A ratchet: the numbers that are allowed below may only become smaller, down to zero.
"""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import perdure

pytestmark = pytest.mark.xdist_group("vocabulary")  # one process reads all files once

ROOT = Path(__file__).parents[2]
OWN_LANGUAGE = {"surviving-mutants.md", "planted-mutants.md", "benchmarks.md"}  # tables of texts
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if page.parent.name not in ("decisions", "benchmarks") and page.name not in OWN_LANGUAGE
]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = [
    file
    for folder in ("tests", "property_tests")
    for file in sorted((ROOT / folder).rglob("*.py"))
    if file != Path(__file__)  # it lists the words
]

BANNED = re.compile(
    r"\b(somebody|nobody|whoever|anybody|everybody|anew|mend(s|ed|ing)?|errands?|told of|in vain|go(es)? on|"
    r"hold(s)? up|let(s)? go|again and again|dead items?|on_dead)\b",
    re.IGNORECASE,
)
NOMINAL_WHAT = re.compile(
    r"\b[Ww]hat (is|was|are|were|it|they|the|a|an|this|that|came|comes|has|had|can|cannot|may|must|does|did|"
    r"happens|you|your|one|each|to|in|no|some|other|another|old|new|still|only|will|would|should|ran|runs|went|goes|stands)\b"
)
WHAT = re.compile(r"\bwhat\b")
GIVE = re.compile(r"\b(give|gives|gave|giving)\b(?! up)", re.IGNORECASE)
YOU = re.compile(r"\byou(r|rs|rself)?\b", re.IGNORECASE)

COMMENT = re.compile(r"(?:^|\s)(#[ :!].*)$", re.MULTILINE)  # without a tokenizer, which takes ten times as long

# All of these may only shrink.
ALLOWED_BANNED_IN_PAGES = 0
ALLOWED_BANNED_IN_SOURCES = 13
MAX_NOMINAL_WHAT = 20  # for 10,000 words of the pages
ALLOWED_WHAT_IN_SOURCES = 97
ALLOWED_IN_TESTS = 0  # banned words and nominal "what", in text and in names
ALLOWED_GIVE_IN_TESTS = 1  # of a message of the library
MIN_YOU = 100  # for 10,000 words of the pages

# Genitive chains, semicolons and pronouns, for 10,000 words of each part of the users' pages. May only become smaller.
OF, SEMICOLON, PRONOUN = (
    re.compile(r"\bof\b", re.IGNORECASE),
    re.compile(";"),
    re.compile(r"\b(its|their)\b", re.IGNORECASE),
)
MAX_RATES: dict[str, dict[re.Pattern[str], int]] = {
    "how-to": {OF: 130, SEMICOLON: 3, PRONOUN: 8},
    "explanation": {OF: 105, SEMICOLON: 2, PRONOUN: 10},
    "guarantees": {OF: 90, SEMICOLON: 2, PRONOUN: 30},
    "index": {OF: 100, SEMICOLON: 2, PRONOUN: 30},
    "faq": {OF: 60, SEMICOLON: 2, PRONOUN: 30},
    "contributing": {OF: 205, SEMICOLON: 8, PRONOUN: 90},
    "reference": {OF: 140, SEMICOLON: 10, PRONOUN: 45},
    "tutorial": {OF: 90, SEMICOLON: 2, PRONOUN: 32},
}


# The same for the docstrings, at the lower end of other libraries' docs (126 to 171 "of", 1 to 17 semicolons).
# Fewer would force stacked possessives.
MAX_DOCSTRING_RATES: dict[re.Pattern[str], int] = {OF: 126, SEMICOLON: 12, PRONOUN: 175}

# Words of the users' pages with tables and names, without code. Grows with a feature alone.
MAX_WORDS = {
    "how-to": 23_800,
    "tutorial": 4_450,
    "explanation": 8_030,
    "guarantees": 7_940,
    "reference": 26_610,
    "index": 430,
    "faq": 540,
}


def prose(page: Path) -> str:
    """The text of a page without its code, tables, links and inline code."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"^(`{3,}|:{3,})[^\n]*\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r"`[^`]*`", "", text)


@cache
def written(source: Path) -> str:
    """The docstrings, comments and messages of a module, without inline code."""
    text = source.read_text(encoding="utf-8")
    parts = [
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    ]
    parts += COMMENT.findall(text)
    return re.sub(r"`+[^`]*`+", "", "\n".join(parts))


@cache
def named(source: Path) -> str:
    """The names that a module defines, one a line, as words: functions, classes, parameters and variables."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case _:
                pass
    return "\n".join(sorted(names)).replace("_", " ").lower()


def words(text: str) -> int:
    return len(re.findall(r"[A-Za-z][A-Za-z'-]*", text))


def found(pattern: re.Pattern[str], texts: dict[str, str]) -> Counter[str]:
    return Counter({name: hits for name, text in texts.items() if (hits := len(pattern.findall(text)))})


def pages() -> dict[str, str]:
    return {page.relative_to(ROOT).as_posix(): prose(page) for page in PAGES}


def sources() -> dict[str, str]:
    return {source.relative_to(ROOT).as_posix(): written(source) for source in SOURCES}


def test_no_page_uses_a_banned_word() -> None:
    hits = found(BANNED, pages())
    assert hits.total() <= ALLOWED_BANNED_IN_PAGES, hits.most_common()


def test_no_source_uses_a_banned_word() -> None:
    hits = found(BANNED, sources())
    assert hits.total() <= ALLOWED_BANNED_IN_SOURCES, hits.most_common()


def test_pages_name_the_object() -> None:
    """At most 20 nominal "what" in 10,000 words: the noun instead."""
    texts = pages()
    hits = found(NOMINAL_WHAT, texts)
    rate = 10_000 * hits.total() / sum(map(words, texts.values()))
    assert rate <= MAX_NOMINAL_WHAT, (round(rate, 1), hits.most_common())


def test_sources_name_the_object() -> None:
    hits = found(NOMINAL_WHAT, sources())
    assert hits.total() <= ALLOWED_WHAT_IN_SOURCES, hits.most_common(30)


def test_no_test_uses_a_banned_word() -> None:
    texts = {file.relative_to(ROOT).as_posix(): written(file) for file in TESTS}
    hits = found(BANNED, texts) + found(NOMINAL_WHAT, texts)
    assert hits.total() <= ALLOWED_IN_TESTS, hits.most_common()


def test_tests_return_and_pass_values() -> None:
    """Values are returned, passed, produced: not given."""
    hits = found(GIVE, {file.relative_to(ROOT).as_posix(): f"{written(file)}\n{named(file)}" for file in TESTS})
    assert hits.total() <= ALLOWED_GIVE_IN_TESTS, hits.most_common()


def test_no_name_in_a_test_uses_a_banned_word() -> None:
    names = {file.relative_to(ROOT).as_posix(): named(file) for file in TESTS}
    hits = found(BANNED, names) + found(WHAT, names)
    assert hits.total() <= ALLOWED_IN_TESTS, hits.most_common()


def test_pages_address_the_reader() -> None:
    texts = pages()
    rate = 10_000 * found(YOU, texts).total() / sum(map(words, texts.values()))
    assert rate >= MIN_YOU, round(rate, 1)


@pytest.mark.parametrize("part", MAX_RATES)
def test_sentences_name_their_subjects(part: str) -> None:
    """Compound nouns instead of chains of "of", full stops instead of semicolons, nouns instead of pronouns."""
    texts = {name: text for name, text in pages().items() if name.startswith(f"docs/{part}")}
    total = sum(map(words, texts.values()))
    hits = {pattern: found(pattern, texts) for pattern in MAX_RATES[part]}
    rates = {pattern: round(10_000 * count.total() / total, 1) for pattern, count in hits.items()}
    high = {pattern for pattern, rate in rates.items() if rate > MAX_RATES[part][pattern]}
    assert not high, [(rates[pattern], hits[pattern].most_common(10)) for pattern in high]


def docstrings(source: Path) -> str:
    """The docstrings of a module, without inline code."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = ast.walk(ast.parse(source.read_text(encoding="utf-8")))
    texts = (ast.get_docstring(node) or "" for node in nodes if isinstance(node, documented))
    return re.sub(r"`+[^`]*`+", "", "\n".join(texts))


def test_docstrings_name_their_subjects() -> None:
    texts = {source.relative_to(ROOT).as_posix(): docstrings(source) for source in SOURCES}
    total = sum(map(words, texts.values()))
    hits = {pattern: found(pattern, texts) for pattern in MAX_DOCSTRING_RATES}
    rates = {pattern: round(10_000 * count.total() / total, 1) for pattern, count in hits.items()}
    high = {pattern for pattern, rate in rates.items() if rate > MAX_DOCSTRING_RATES[pattern]}
    assert not high, [(rates[pattern], hits[pattern].most_common(10)) for pattern in high]


@pytest.mark.parametrize("part", MAX_WORDS)
def test_a_part_of_the_pages_does_not_grow(part: str) -> None:
    """A fact is written once: link to it."""
    pages_ = [page for page in PAGES if page.relative_to(ROOT).as_posix().startswith(f"docs/{part}")]
    texts = [
        re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL) for page in pages_
    ]
    assert len(" ".join(texts).split()) <= MAX_WORDS[part]


# Public class names that occur in more than one module. May only become fewer.
SHARED_NAMES: set[str] = set()


# Functions that hide the module of their own name. May only become fewer.
HIDDEN_MODULES: set[str] = set()


def modules() -> list[ModuleType]:
    names = [module.name for module in pkgutil.walk_packages(perdure.__path__, "perdure.")]
    left_out = {"perdure.__main__"} | ({"perdure.integrations.django.tasks"} if sys.version_info < (3, 12) else set())
    return [perdure, *(importlib.import_module(name) for name in names if name not in left_out)]


def test_no_two_public_classes_share_a_name() -> None:
    homes: defaultdict[str, set[str]] = defaultdict(set)
    for module in modules():
        for name, thing in vars(module).items():
            if inspect.isclass(thing) and thing.__module__ == module.__name__ and not name.startswith("_"):
                homes[name].add(module.__name__)
    shared = {name: sorted(places) for name, places in homes.items() if len(places) > 1}
    assert set(shared) <= SHARED_NAMES, {name: shared[name] for name in sorted(set(shared) - SHARED_NAMES)}


def test_no_public_name_hides_a_module() -> None:
    """`import perdure.x as x` binds the module: no attribute of a package has the name of one of its modules."""
    hidden: set[str] = set()
    for package in modules():
        for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
            attribute = getattr(package, module.name, None)
            if attribute is not None and not isinstance(attribute, ModuleType):
                hidden.add(f"{package.__name__}.{module.name}")
    assert hidden <= HIDDEN_MODULES, hidden - HIDDEN_MODULES
