"""Where a text of the library stands: in the definition of a name, in whichever file that is.

A function, a class, a method or an assigned name has its qualified name within its module, such as ``Dispatcher.put``,
and all code inside a function belongs to that function. A migration has the name of its file. Code can move
from module to module without a change of these names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import accumulate
from pathlib import Path

import attrs


class NoSuchPlace(ValueError):
    """No definition has the name, none has the text once, or several have it."""


@attrs.frozen
class Definition:
    """A piece of a file, in whole lines.

    Attributes:
        name: the qualified name, or the name of a migration.
        file: where it is, below the source.
        source: the text of the whole file.
        start: the offset of the definition in it, with its decorators.
        end: the offset after it.
    """

    name: str
    file: Path
    source: str = attrs.field(repr=False)
    start: int
    end: int

    @property
    def text(self) -> str:
        """The text of the definition."""
        return self.source[self.start : self.end]

    def replace(self, old: str, new: str) -> str:
        """Return the text of the whole file with another text in this definition."""
        return self.source[: self.start] + self.text.replace(old, new) + self.source[self.end :]


def definition_with(name: str, text: str, source: Path) -> Definition:
    """Return the definition of a name that contains a text; several may share the name, and one has the text once.

    Raises:
        NoSuchPlace: there is no such definition, or the text does not decide between several.
    """
    candidates = definitions(source).get(name, ())
    if not candidates:
        raise NoSuchPlace(f"nothing in {source.name} is named {name}{_similar(name, source)}")
    having = [each for each in candidates if text in each.text]
    if not having:
        raise NoSuchPlace(f"{name} in {_files(candidates)} does not have its text; choose a new anchor for the mutant")
    if len(having) > 1:
        raise NoSuchPlace(f"{name} in {_files(having)} is ambiguous: choose an anchor that only one of them has")
    if (count := having[0].text.count(text)) > 1:
        raise NoSuchPlace(f"{name} in {_files(having)} has its text {count} times; choose a longer anchor")
    return having[0]


def _files(definitions: Sequence[Definition]) -> str:
    return " and ".join(each.file.as_posix() for each in definitions)


def _similar(name: str, source: Path) -> str:
    names, last = definitions(source), name.rpartition(".")[2]
    similar = [each for each in names if each.rpartition(".")[2] == last] or get_close_matches(name, names, n=1)
    return f"; do you mean {' or '.join(similar[:5])}?" if similar else ""


@cache
def definitions(source: Path) -> Mapping[str, Sequence[Definition]]:
    """Return the definitions below a folder by their names. The files are read once in a process."""
    found: dict[str, list[Definition]] = {}
    for path in sorted([*source.rglob("*.py"), *source.rglob("*.sql")]):
        file, text = path.relative_to(source), path.read_text(encoding="utf-8")
        for name, start, end in _of_module(text) if path.suffix == ".py" else [(path.name, 0, len(text))]:
            found.setdefault(name, []).append(Definition(name, file, text, start, end))
    return found


def _of_module(text: str) -> Iterator[tuple[str, int, int]]:
    ends = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]
    return ((name, ends[first - 1], ends[last]) for name, first, last in _named(ast.parse(text).body, ""))


def _named(body: Sequence[ast.AST], prefix: str) -> Iterator[tuple[str, int, int]]:
    """Yield the qualified names of a module or class, each with its first and last line."""
    for node in body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                first = min(each.lineno for each in (node, *node.decorator_list))
                yield f"{prefix}{name}", first, node.end_lineno or first
                if isinstance(node, ast.ClassDef):
                    yield from _named(node.body, f"{prefix}{name}.")
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield f"{prefix}{name}", node.lineno, node.end_lineno or node.lineno
            case ast.If() | ast.Try() | ast.With() | ast.ExceptHandler():  # their definitions belong to the module
                yield from _named(list(ast.iter_child_nodes(node)), prefix)
            case _:
                pass
