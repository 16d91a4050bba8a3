"""Code may move between modules; a change that removes a name or the text of a planted mutant moves the mutant."""

import builtins
import re
import symtable
from collections.abc import Iterator
from pathlib import Path

import pytest
from definitions import NoSuchPlace, definition_with
from planted import MUTANTS

A = """
MOST = 3

@cache
def begin():
    def inner():
        one()
    shared()
    twice(); twice()

if TYPE_CHECKING:
    def checked(): ...

class Queue:
    limit: int = 5

    async def put(self):
        one()
"""
B = """
def begin():
    other()
    shared()
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.py").write_text(A, encoding="utf-8")
    (tmp_path / "inner" / "b.py").write_text(B, encoding="utf-8")
    (tmp_path / "inner" / "0001_tables.sql").write_text("CREATE TABLE one;", encoding="utf-8")
    return tmp_path


def undefined(table: symtable.SymbolTable, known: set[str]) -> Iterator[str]:
    """The names that a module reads and that neither it nor Python defines."""
    for symbol in table.get_symbols():
        if symbol.is_referenced() and symbol.is_global() and symbol.get_name() not in known:
            yield symbol.get_name()
    for inner in table.get_children():
        yield from undefined(inner, known)


def test_the_text_of_each_mutant_is_in_its_definition_once() -> None:
    """And its change reads names that are defined: any test kills a `NameError`, which says nothing of the killer."""
    lost: list[str] = []
    for mutant in MUTANTS:
        try:
            changed = mutant.changed()
        except NoSuchPlace as error:
            lost.append(str(error))
        else:
            assert changed != mutant.path.read_text(encoding="utf-8"), mutant
            if mutant.path.suffix == ".py":  # another one is a migration
                module = symtable.symtable(changed, mutant.name, "exec")
                # Each module has the dunder names of `re`.
                known = {*dir(builtins), *dir(re), *module.get_identifiers()}
                lost += (f"{mutant}: {name} is undefined" for name in undefined(module, known))
    assert lost == []


@pytest.mark.parametrize(
    ("name", "text", "file"),
    [
        ("MOST", "3", "a.py"),
        ("begin", "@cache", "a.py"),
        ("begin", "one()", "a.py"),
        ("begin", "other()", "inner/b.py"),
        ("checked", "...", "a.py"),
        ("Queue", "limit", "a.py"),
        ("Queue.limit", "5", "a.py"),
        ("Queue.put", "one()", "a.py"),
        ("0001_tables.sql", "one", "inner/0001_tables.sql"),
    ],
)
def test_a_text_is_replaced_in_the_definition_of_the_name_alone(source: Path, name: str, text: str, file: str) -> None:
    found = definition_with(name, text, source)
    assert found.file.as_posix() == file
    before = (source / file).read_text(encoding="utf-8")
    after = found.replace(text, "NEW")
    assert after.count("NEW") == 1
    assert after.replace("NEW", text) == before


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("Stack", "one()", "nothing in {source} is named Stack"),
        ("put", "one()", "nothing in {source} is named put; do you mean Queue.put?"),
        ("Queue.putt", "one()", "nothing in {source} is named Queue.putt; do you mean Queue.put?"),
        ("begin", "three()", "begin in a.py and inner/b.py does not have its text; choose a new anchor"),
        ("begin", "shared()", "begin in a.py and inner/b.py is ambiguous: choose an anchor that only one of them has"),
        ("begin", "twice()", "begin in a.py has its text 2 times; choose a longer anchor"),
    ],
)
def test_a_mutant_that_has_lost_its_place_is_told_why(source: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(NoSuchPlace, match=re.escape(said.format(source=source.name))):
        definition_with(name, text, source)
