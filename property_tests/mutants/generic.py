"""Generic mutants: every small change of a fixed set of operators to a file of the library, each at its place.

The operators are the usual ones: another comparison, the other branch, ``and`` for ``or``, a deleted call or
assignment, a number plus one, ``None`` for a result, a missing option; and the comparisons, orders and conjunctions of
SQL. Texts, annotations and the messages of errors are left alone: another text is no bug.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import attrs
from mutant import SOURCE

GREATEST_NUMBER = 10  # a chunk of 501 in place of 500 is as good
SHOWN = 100

COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "//"),
    ast.FloorDiv: ("//", "*"),
}
TEXTS = {"what", "of", "help"}  # options that are texts: of the message of an error, or of a command
CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}
SQL = re.compile(r"\b(?:SELECT|UPDATE|DELETE|INSERT)\b")
SQL_CHANGES = (
    (re.compile(r" <= "), " < "),
    (re.compile(r" < "), " <= "),
    (re.compile(r" >= "), " > "),
    (re.compile(r" > "), " >= "),
    (re.compile(r"\bAND\b"), "OR"),
    (re.compile(r"\bOR\b(?! (?:IGNORE|REPLACE))"), "AND"),
    (re.compile(r"\bASC\b"), "DESC"),
    (re.compile(r"\bDESC\b"), "ASC"),
    (re.compile(r"\bIS NOT NULL\b"), "IS NULL"),
    (re.compile(r"\bIS NULL\b"), "IS NOT NULL"),
)


@attrs.frozen
class Change:
    """One generic mutant.

    Attributes:
        file: below ``src/perdure``.
        start: the offset of the replaced text, in characters.
        end: the offset after it.
        new: the text that takes its place.
        first: the number of the first changed line.
        last: the number of the last one.
        shown: the change, in one line.
    """

    file: str
    start: int
    end: int
    new: str
    first: int
    last: int
    shown: str

    @property
    def path(self) -> Path:
        """The file in the checkout, which is only read."""
        return SOURCE / self.file

    @property
    def key(self) -> str:
        """A name that stays while neither the change nor the lines before it in the file move."""
        return sha256(f"{self.file}:{self.first}:{self.start}:{self.shown}".encode()).hexdigest()[:12]

    @property
    def is_code(self) -> bool:
        """Whether the file with the change is Python."""
        try:
            ast.parse(self.changed())
        except SyntaxError:
            return False
        return True

    @property
    def near(self) -> str:
        """The text of the functions and classes that have the change: their names, and of the innermost one all."""
        around = [node for node in self._definitions() if node.lineno <= self.first <= (node.end_lineno or 0)]
        text = self.path.read_text(encoding="utf-8")
        inner = ast.get_source_segment(text, around[-1]) if around else text.splitlines()[self.first - 1]
        return " ".join([*(node.name for node in around), inner or ""])

    @property
    def runs_on_import(self) -> bool:
        """Whether no function has the change: the first import of the module runs its line, and nothing else."""
        functions = (each for each in self._definitions() if not isinstance(each, ast.ClassDef))
        return not any(each.body[0].lineno <= self.first <= (each.end_lineno or 0) for each in functions)

    def _definitions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
        """Return the functions and classes of the file, outer ones first."""
        nodes = ast.walk(ast.parse(self.path.read_text(encoding="utf-8")))
        return [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]

    def changed(self) -> str:
        """Return the text of the file with the change."""
        return self.apply(self.path.read_text(encoding="utf-8"))

    def apply(self, text: str) -> str:
        """Return a text of the file with the change."""
        return text[: self.start] + self.new + text[self.end :]


def changes_of(file: str, text: str) -> list[Change]:
    """Return every change of a file, in the order of its text."""
    return sorted(set(_Finder(file, text).found()), key=lambda one: (one.start, one.end, one.new))


class _Finder:
    def __init__(self, file: str, text: str) -> None:
        self.file, self.text, self.tree = file, text, ast.parse(text)
        self.offsets = [0]
        for line in text.splitlines(keepends=True):
            self.offsets.append(self.offsets[-1] + len(line))
        self.lines = text.splitlines(keepends=True)

    def found(self) -> Iterator[Change]:
        yield from self._within(self.tree)

    def _within(self, node: ast.AST) -> Iterator[Change]:
        if _is_left_alone(node):
            return
        for start, end, new in self._of(node):
            if self.text[start:end] != new:
                yield self._change(start, end, new)
        for name, value in ast.iter_fields(node):
            if name in {"annotation", "returns", "decorator_list", "bases", "type_params"}:
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self._within(child)

    def _change(self, start: int, end: int, new: str) -> Change:
        old = self.text[start:end]
        first = self.text.count("\n", 0, start) + 1
        shown = f"`{_short(old)}` → `{_short(new) or ' '}` in `{_short(self.lines[first - 1])}`"
        return Change(self.file, start, end, new, first, first + old.count("\n"), shown)

    # ---------------------------------------------------------------- the operators
    def _of(self, node: ast.AST) -> Iterator[tuple[int, int, str]]:
        match node:
            case ast.Compare() | ast.BinOp() | ast.BoolOp():
                yield from self._of_operator(node)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                yield *self._span(node), self._source(operand)
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not _has_an_opposite(test):
                yield *self._span(test), f"(not ({self._source(test)}))"
            case ast.comprehension(ifs=conditions):
                for condition in conditions:
                    yield *self._span(condition), "True"
            case ast.Constant(value=value):
                yield from self._of_constant(node, value)
            case ast.Call():
                yield from self._of_call(node)
            case _:
                yield from self._of_statement(node)

    def _of_operator(self, node: ast.Compare | ast.BinOp | ast.BoolOp) -> Iterator[tuple[int, int, str]]:
        match node:
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                yield from self._between(left, right, COMPARISONS.get(type(operator)))
            case ast.BinOp(left=left, op=operator, right=right):
                yield from self._between(left, right, ARITHMETIC.get(type(operator)))
            case ast.BoolOp(op=operator, values=values):
                words = ("and", "or") if isinstance(operator, ast.And) else ("or", "and")
                for left, right in pairwise(values):
                    yield from self._between(left, right, words)

    def _of_constant(self, node: ast.Constant, value: object) -> Iterator[tuple[int, int, str]]:
        start, end = self._span(node)
        if isinstance(value, bool):
            yield start, end, str(not value)
        elif isinstance(value, int) and 0 <= value <= GREATEST_NUMBER:
            yield start, end, str(value + 1)
        elif isinstance(value, str) and SQL.search(value):
            source = self.text[start:end]
            for old, new in SQL_CHANGES:
                for match in old.finditer(source):
                    yield start + match.start(), start + match.end(), new

    def _of_call(self, node: ast.Call) -> Iterator[tuple[int, int, str]]:
        if isinstance(node.func, ast.Name) and node.func.id in CALLED:
            yield *self._span(node.func), CALLED[node.func.id]
        for keyword in node.keywords:
            if keyword.arg is not None and keyword.arg not in TEXTS:
                start, end = self._span(keyword)
                while self.text[end : end + 1] in {",", " "}:
                    end += 1
                yield start, end, ""

    def _of_statement(self, node: ast.AST) -> Iterator[tuple[int, int, str]]:
        match node:
            case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
                yield *self._span(value), "None"
            case ast.Expr(value=ast.Call() | ast.Await() | ast.YieldFrom() | ast.Yield() as value):
                if not _is_left_alone(value):
                    yield *self._span(node), "pass"
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.AugAssign() | ast.Delete():
                yield *self._span(node), "pass"
            case ast.Continue():
                yield *self._span(node), "break"
            case ast.Break():
                yield *self._span(node), "continue"

    # ---------------------------------------------------------------- places
    def _between(self, left: ast.AST, right: ast.AST, words: tuple[str, str] | None) -> Iterator[tuple[int, int, str]]:
        if words is None:
            return
        after, before = self._span(left)[1], self._span(right)[0]
        pattern = rf"(?<![\w<>=!]){re.escape(words[0])}(?![\w<>=])"
        if (match := re.search(pattern, self.text[after:before])) is not None:
            yield after + match.start(), after + match.end(), words[1]

    def _span(self, node: ast.AST) -> tuple[int, int]:
        return (
            self._offset(node.lineno, node.col_offset),  # type: ignore[attr-defined]
            self._offset(node.end_lineno, node.end_col_offset),  # type: ignore[attr-defined]
        )

    def _offset(self, line: int, column: int) -> int:
        """Return an offset in characters; the tree counts the bytes of a line."""
        text = self.lines[line - 1] if line <= len(self.lines) else ""
        return self.offsets[line - 1] + len(text.encode()[:column].decode())

    def _source(self, node: ast.AST) -> str:
        start, end = self._span(node)
        return self.text[start:end]


UNTOUCHED_CALLS = {"assert_never", "cast", "TypeVar", "NewType", "ParamSpec"}


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Raise() | ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.Assert():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.Expr(value=ast.Constant()):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id="attrs"), attr="field")):
            return True
        case ast.FunctionDef(name=name):
            return name in {"_text", "__repr__", "__str__"}
        case _:
            return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in UNTOUCHED_CALLS


def _has_an_opposite(test: ast.expr) -> bool:
    """Say whether another operator already negates a condition."""
    opposites = ast.Eq | ast.NotEq | ast.Is | ast.IsNot | ast.In | ast.NotIn
    match test:
        case ast.UnaryOp(op=ast.Not()):
            return True
        case ast.Compare(ops=[operator]):
            return isinstance(operator, opposites)
        case _:
            return False


def _short(text: str) -> str:
    line = " ".join(text.split()).replace("`", "'").replace("|", "\\|")
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 3]}..."
