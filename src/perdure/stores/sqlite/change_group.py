"""Several transitions as one write: one statement for each kind of change, run for all rows of that kind."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from returns.result import Failure, Result, Success

from perdure.stores.rows import Row
from perdure.stores.sqlite.change import (
    INSERT,
    LOG,
    Change,
    Insert,
    Update,
    Whole,
    apply,
    count_insert,
    count_update,
    encode,
    event_values,
)
from perdure.stores.sqlite.counters import Counters
from perdure.stores.sqlite.narrow import STATEMENTS, Form, count_narrow, narrow_values
from perdure.values.address import Address
from perdure.values.errors import Conflict, StoreUnavailable
from perdure.values.instance import Fence
from perdure.values.transition import AS_EXPECTED, Transition


class RowsDiffer(Exception):
    """A statement for many rows did not change as many: one of them conflicts. The changes must be written singly."""


class ChangeGroup:
    """The changes of several transitions.

    Args:
        transitions: the transitions.
    """

    __slots__ = (
        "_answers",
        "_changes",
        "_events",
        "_inserts",
        "_moved",
        "_narrow",
        "_others",
        "_transitions",
        "_updates",
        "how",
    )

    def __init__(self, transitions: Sequence[Transition]) -> None:
        self.how: Literal["together", "singly"] = "together"
        self._transitions = transitions
        self._answers: list[Any] = [None] * len(transitions)
        self._changes: list[Change | None] = []  # None: it does not encode, or changes few columns
        self._narrow: dict[Form, list[Row]] = {}
        self._moved: list[Transition] = []  # those of them that change a status
        self._updates: dict[str, list[tuple[int, Update]]] = {}
        self._inserts: list[tuple[int, Insert]] = []
        self._events: list[Row] = []
        self._others: list[tuple[int, Whole]] = []
        for place, transition in enumerate(transitions):
            try:
                self._sort(place, transition)
            except Exception as error:  # noqa: BLE001 - a value that JSON cannot represent
                self._answers[place] = _does_not_encode(error)
                self._changes.append(None)

    def _sort(self, place: int, transition: Transition) -> None:
        """Encode a transition, and put it to those of its kind."""
        narrow = narrow_values(transition)
        if narrow is not None:
            events = list(map(event_values, transition.events)) if transition.events else ()
            form, values = narrow
            if form != "state":
                self._moved.append(transition)
            self._narrow.setdefault(form, []).append(values)
            self._events += events
            self._changes.append(None)
            self._answers[place] = AS_EXPECTED
            return
        change = encode(transition)
        self._changes.append(change)
        write = change if isinstance(change, Update) else _only_row(change)
        if type(write) is Update:
            self._updates.setdefault(write.sql, []).append((place, write))
        elif type(write) is Insert:
            self._inserts.append((place, write))
        elif isinstance(change, Whole):
            self._others.append((place, change))
            return
        if isinstance(change, Whole):
            self._events += change.events

    # ------------------------------------------------------------ in the driver's thread
    def __call__(self, cursor: sqlite3.Cursor, counters: Counters) -> Result[list[Any], Any]:
        """Write all changes in the open transaction, and return the answer to each.

        Raises:
            RowsDiffer: one of them conflicts, and nothing may be committed.
        """
        if self.how == "singly":
            answers = [part(cursor, counters) for part in self.parts]
            return Success(answers)
        count_narrow(cursor, counters, self._moved)
        for form, rows in self._narrow.items():
            if cursor.executemany(STATEMENTS[form], rows).rowcount != len(rows):
                raise RowsDiffer
        for sql, updates in self._updates.items():
            self._update(cursor, counters, sql, updates)
        if self._inserts:
            self._insert(cursor, counters)
        if self._events:
            first = counters.sequence + 1
            cursor.executemany(LOG, [(first + number, *values) for number, values in enumerate(self._events)])
            counters.sequence += len(self._events)
        for place, change in self._others:
            self._answers[place] = written(change.address, change, cursor, counters)
        return Success(self._answers)

    def _update(self, cursor: sqlite3.Cursor, counters: Counters, sql: str, updates: list[tuple[int, Update]]) -> None:
        befores = count_update(cursor, counters, [update for _, update in updates])
        if cursor.executemany(sql, [update.values for _, update in updates]).rowcount != len(updates):
            raise RowsDiffer
        befores.changed(counters)
        for place, update in updates:
            self._answers[place] = Success(update.fence)

    def _insert(self, cursor: sqlite3.Cursor, counters: Counters) -> None:
        first = counters.incarnation + 1
        rows = [(first + number, *insert.values) for number, (_, insert) in enumerate(self._inserts)]
        if cursor.executemany(INSERT, rows).rowcount != len(rows):
            raise RowsDiffer
        counters.incarnation += len(rows)
        for number, (place, insert) in enumerate(self._inserts):
            count_insert(counters, first + number, insert)
            self._answers[place] = Success(Fence(first + number, 1))

    @property
    def parts(self) -> list[Any]:
        """The changes as writes of their own, in order."""
        return [
            partial(written, transition.address, encode(transition) if change is None else change)
            if change is not None or answer is AS_EXPECTED
            else partial(_known, answer)
            for transition, change, answer in zip(self._transitions, self._changes, self._answers, strict=True)
        ]

    # ------------------------------------------------------------ the answer
    def answers(self, answer: Result[list[Any], Any]) -> list[Any]:
        """Return the answer to each transition."""
        return answer.unwrap() if isinstance(answer, Success) else [answer] * len(self._transitions)


def written(address: Address, change: Change, cursor: sqlite3.Cursor, counters: Counters) -> Result[Fence, Conflict]:
    """Write one change in the open transaction."""
    fence = apply(cursor, counters, change)
    return Failure(Conflict(str(address))) if fence is None else Success(fence)


def _known(answer: Any, _: sqlite3.Cursor, __: Counters) -> Any:
    return answer


def _does_not_encode(error: Exception) -> Failure[StoreUnavailable]:
    return Failure(StoreUnavailable("commit", f"the transition does not encode: {error!r}"))


def _only_row(change: Whole) -> Update | Insert | None:
    """Return the write of a row, if a change consists of it and of events."""
    row = change.write
    if type(row) is not Update and type(row) is not Insert:
        return None
    if change.messages or change.fate is not None or change.key is not None or change.journal is not None:
        return None
    return row
