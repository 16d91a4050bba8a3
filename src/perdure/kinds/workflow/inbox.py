"""The signals and the ends of children that wait for the program, and the branches that wait for them. Pure.

Each that arrives is a row of the journal, appended by the commit that accepts it. The row of its receipt names it by
its number. So accepting one costs the same however many wait, and the header only counts them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush

import attrs

from perdure.kinds.workflow.row import Row, row_of
from perdure.kinds.workflow.tree import OpenStep
from perdure.values.errors import InvalidInput


def arrival(number: int, name: str, value: str, at_ms: int, *, secret: bool) -> Row:
    """Return the row of a signal, or of the end of a child, that arrives.

    Args:
        number: the number of the signal, from 1.
        name: the name of the signal; ``child`` and the path of the call for the end of a child.
        value: its value as JSON.
        at_ms: the present.
        secret: whether the value has secrets.
    """
    return Row(
        path="", name=name, form="arrived", at_ms=at_ms, began_ms=at_ms, value=value, secret=secret, signal=number
    )


@attrs.define(eq=False, repr=False)
class Inbox:
    """The rows that have arrived and are not received, in order for each name, and their receivers.

    Attributes:
        asked: the instructions without an answer, by path.
        last: the number of the newest signal that has arrived.
    """

    asked: Mapping[str, OpenStep]
    last: int = 0
    _waiting: dict[str, deque[Row]] = attrs.Factory(dict[str, deque[Row]])
    _names: dict[int, str] = attrs.Factory(dict[int, str])
    _receivers: dict[str, deque[OpenStep]] = attrs.Factory(dict[str, deque[OpenStep]])
    _matches: list[tuple[int, str]] = attrs.Factory(list[tuple[int, str]])

    def add(self, row: Row) -> None:
        """Add a row that has arrived, unless it is known: two reads of the journal may overlap."""
        if row.signal <= self.last:
            return
        self.last = row.signal
        self._names[row.signal] = row.name
        self._waiting.setdefault(row.name, deque()).append(row)
        self._match(row.name)

    def add_all(self, bodies: Sequence[str]) -> None:
        """Add the rows among those of a journal that have arrived."""
        for body in bodies:
            row = row_of(body)
            if row.form == "arrived":
                self.add(row)

    def wait(self, name: str, asked: OpenStep) -> None:
        """Register a branch that waits for a name."""
        self._receivers.setdefault(name, deque()).append(asked)
        self._match(name)

    def next(self) -> tuple[OpenStep, Row] | None:
        """Return the oldest row that a branch waits for, with the branch that has waited longest."""
        while self._matches:
            number, name = self._matches[0]
            rows, asked = self._waiting.get(name), self._receiver(name)
            if rows and rows[0].signal == number and asked is not None:
                return asked, rows[0]
            heappop(self._matches)
        return None

    def take(self, number: int) -> Row:
        """Remove a row that is received.

        Raises:
            InvalidInput: no row with this number waits.
        """
        name = self._names.pop(number, None)
        if name is None:
            raise InvalidInput("row of a journal", (f"it receives signal {number}, which has not arrived before it",))
        rows = self._waiting[name]
        row = next(row for row in rows if row.signal == number)
        rows.remove(row)
        if rows:
            self._match(name)
        else:
            del self._waiting[name]
        return row

    def waiting(self) -> list[Row]:
        """Return the rows that wait, in the order of their arrival."""
        return sorted((row for rows in self._waiting.values() for row in rows), key=lambda row: row.signal)

    def _match(self, name: str) -> None:
        """Note the oldest row of a name if a branch waits for it; `next` drops notes that are no longer true."""
        rows = self._waiting.get(name)
        if rows and self._receiver(name) is not None:
            heappush(self._matches, (rows[0].signal, name))

    def _receiver(self, name: str) -> OpenStep | None:
        waiting = self._receivers.get(name)
        while waiting:
            if self.asked.get(waiting[0].path) is waiting[0]:
                return waiting[0]
            waiting.popleft()
        return None
