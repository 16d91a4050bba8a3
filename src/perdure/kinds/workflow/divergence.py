"""Differences between a journal and a program."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.kinds.workflow.errors import Diverged
from perdure.kinds.workflow.line import line_of
from perdure.kinds.workflow.row import Row, row_of, waits_in
from perdure.kinds.workflow.tree import OpenStep, Tree
from perdure.values.excerpt import excerpt

STARTED = "!"
"""Ends the path of the row that a child was started with."""


def diverged(
    tree: Tree,
    row: Row,
    asked: OpenStep | None = None,
    problem: Exception | None = None,
    raised: Exception | None = None,
) -> Diverged:
    """Describe a row that does not fit the program.

    Args:
        tree: the branches of the program.
        row: the row.
        asked: the instruction at its path, if it is known.
        problem: why the row cannot be decoded.
        raised: the exception at which the program stopped before the row.
    """
    asked = asked or tree.asked.get(row.path.removesuffix(STARTED))
    head, dot, _ = row.path.rpartition(".")
    branch = asked.branch if asked is not None else tree.branches.get(head + dot) or tree.branches.get("")
    line = None if branch is None else line_of(branch.loop)
    performed = None if asked is None else asked.name
    if raised is not None:
        text = f"the program raised {excerpt(raised)} before the recorded {row.name!r}"
    elif problem is not None:
        text = f"the recorded outcome of {row.name!r} cannot be decoded: {problem}"
    else:
        recorded = "the workflow waits for" if row.form == "waiting" else "the journal holds"
        performs = "does not perform it" if performed is None else f"performs {performed!r}"
        text = f"{recorded} {row.name!r}, and the program {performs}"
    where = f" ({line})" if line else ""
    return Diverged(
        "journal of a workflow",
        (f"step {row.path}: {text}{where}",),
        path=row.path,
        recorded=row.name,
        performed=performed,
        line=line,
    )


class Index:
    """The last number and the names of the rows of a journal, by the prefix of their branch.

    It reads no more rows than an answer needs: a replay of a long journal must not block the event loop.
    """

    def __init__(self, bodies: Sequence[str], first: int = 0) -> None:
        self._bodies = bodies
        self._read = first
        self._last: dict[str, int] = {}
        self._names: dict[str, str] = {}

    def is_past(self, prefix: str, number: int, name: str) -> bool:
        """Return whether the journal continues in a branch from a number on, without a step of this name there.

        The rows of a branch are in the order of its numbers, so the first one from this number on decides.
        """
        while self._last.get(prefix, -1) < number and self._read < len(self._bodies):
            row = row_of(self._bodies[self._read])
            self._read += 1
            if row.form == "waiting":
                for path, waiting, _ in waits_in(row):
                    self._add(path, waiting)
            elif row.form not in {"cancelled", "arrived"}:
                self._add(row.path.removesuffix(STARTED), row.name)
        return number <= self._last.get(prefix, -1) and self._names.get(f"{prefix}{number}") != name

    def _add(self, path: str, name: str) -> None:
        self._names.setdefault(path, name)
        while True:
            head, dot, tail = path.rpartition(".")
            prefix = head + dot
            self._last[prefix] = max(self._last.get(prefix, -1), int(tail))
            if not dot:
                return
            path = head.rpartition(".")[0]  # the path of the fork
