"""The generic mutants are changes of code, each is found again by its seed, and texts are left alone."""

import ast

import pytest
from equivalent import EQUIVALENT
from generic import changes_of
from hypothesis import given
from hypothesis import strategies as st
from mutant import SOURCE
from search import BEGIN, END, NEAR_FILES, PACKAGES, PAGE, near, package_of

FILES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))


def shown(code: str) -> list[str]:
    return [change.shown.partition(" in ")[0] for change in changes_of("a.py", code)]


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("a < b", ["`<` → `<=`"]),
        ("a is not b", ["`is not` → `is`"]),
        ("if a == b:\n    c", ["`==` → `!=`"]),
        ("if a:\n    c", ["`a` → `(not (a))`"]),
        ("if not a:\n    c", ["`not a` → `a`"]),
        ("a and b or c", ["`and` → `or`", "`or` → `and`"]),
        ("a - b * c", ["`-` → `+`", "`*` → `//`"]),
        ("a = 7", ["`7` → `8`"]),
        ("a = 500", []),
        ("a = True", ["`True` → `False`"]),
        ("f(a, b=c)", ["`f(a, b=c)` → `pass`", "`b=c` → ` `"]),
        ("a.b = c", ["`a.b = c` → `pass`"]),
        ("a = [b for b in c if d]", ["`d` → `True`"]),
        ("def f():\n    return a", ["`a` → `None`"]),
        ("a = min(b)", ["`min` → `max`"]),
        ("a = 'SELECT 1 WHERE b < c AND d'", ["`<` → `<=`", "`AND` → `OR`"]),
        ("raise A(f'{b + 1}')", []),
        ("'''A text with 1.'''", []),
        ("a: Literal[1]", []),
        ("a = 'ä'; b = c < d", ["`<` → `<=`"]),
    ],
)
def test_the_changes_of_a_line(code: str, changes: list[str]) -> None:
    assert shown(code) == changes


@given(st.sampled_from(FILES), st.randoms(use_true_random=False))
def test_a_change_is_code_and_differs_at_its_lines_alone(file: str, chance: st.DataObject) -> None:
    text = (SOURCE / file).read_text(encoding="utf-8")
    changes = changes_of(file, text)
    assert changes == changes_of(file, text)
    for change in chance.sample(changes, min(3, len(changes))):
        changed = change.apply(text)
        assert changed != text
        ast.parse(changed)
        assert changed.splitlines()[: change.first - 1] == text.splitlines()[: change.first - 1]
        after = len(text.splitlines()) - change.last
        assert changed.splitlines()[len(changed.splitlines()) - after :] == text.splitlines()[change.last :]


@pytest.mark.parametrize(
    ("file", "tests"),
    [
        ("remote/servers.py", "tests/remote/test_several_servers.py"),
        ("values/cron_ticks.py", "tests/values/test_cron.py"),
        ("kinds/worker_pool/handle.py", "tests/kinds/test_worker_pool.py"),
    ],
)
def test_the_tests_near_a_change_are_about_its_words(file: str, tests: str) -> None:
    change = changes_of(file, (SOURCE / file).read_text(encoding="utf-8"))[-1]
    assert tests in near(["tests", "property_tests"]).tests_of(change)[:NEAR_FILES]


def test_a_line_outside_of_functions_runs_on_import() -> None:
    text = (SOURCE / "values/cron_ticks.py").read_text(encoding="utf-8")
    lines = [text.splitlines()[one.first - 1] for one in changes_of("values/cron_ticks.py", text) if one.runs_on_import]
    assert any(line.startswith("_") for line in lines)
    assert not [line for line in lines if "return" in line or line.startswith("        ")]


def test_every_file_of_a_package_has_its_package() -> None:
    assert {package for package in map(package_of, FILES) if package} == set(PACKAGES)


def test_the_equivalent_mutants_are_changes_of_today() -> None:
    for file, change in EQUIVALENT:
        assert change in [each.shown for each in changes_of(file, (SOURCE / file).read_text(encoding="utf-8"))]


def test_the_page_has_a_place_for_the_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert BEGIN in page
    assert END in page
