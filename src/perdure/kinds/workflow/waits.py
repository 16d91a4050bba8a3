"""A program's waits: its timers and time limits, and the signals and ends of children that arrive. Pure.

Each signal that arrives is a row in the journal, appended by the commit that accepts it. Its receipt's row names
it by its number. So accepting one costs the same however many wait, and the header only counts them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any, Literal, TypeAlias

import attrs

from perdure.jobs.parts import HeldParts
from perdure.kinds.workflow.children import is_child_signal
from perdure.kinds.workflow.header import Header, Publication, shared_in
from perdure.kinds.workflow.instructions import AwaitPromise, Receive
from perdure.kinds.workflow.journal import Row, diverged, row_of_waits, waits_in, whole_row
from perdure.kinds.workflow.tree import Branch, OpenFork, OpenStep, Tree, deadlines_around
from perdure.programs.instructions import Sleep, SleepUntil
from perdure.values.errors import InvalidInput
from perdure.values.excerpt import REFERENCE


def arrival(number: int, name: str, value: str, at_ms: int, *, secret: bool) -> Row:
    """Return the row for a signal, or for a child's end, that arrives.

    Args:
        number: the signal's number, from 1.
        name: the signal's name. ``child`` and the call's path for a child's end.
        value: the signal's value as JSON.
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
    _parts: dict[str, str] = attrs.Factory(dict[str, str])
    _waiting: dict[str, deque[Row]] = attrs.Factory(dict[str, deque[Row]])
    _names: dict[int, str] = attrs.Factory(dict[int, str])
    _receivers: dict[str, deque[OpenStep]] = attrs.Factory(dict[str, deque[OpenStep]])
    _matches: list[tuple[int, str]] = attrs.Factory(list[tuple[int, str]])

    def add(self, row: Row, parts: HeldParts | None = None) -> None:
        """Add a row that has arrived, unless it is known: two reads of the journal may overlap.

        Args:
            row: the row.
            parts: those that a replay has passed, for a value that names some.
        """
        # `<=`: the numbers of arrivals grow, so a smaller one was added before.
        if row.signal <= self.last:
            return
        if parts is not None and row.value[:1] == REFERENCE:
            row = attrs.evolve(row, value=parts.whole(row.value))
        self.last = row.signal
        self._names[row.signal] = row.name
        self._waiting.setdefault(row.name, deque()).append(row)
        self._match(row.name)

    def add_all(self, bodies: Sequence[str]) -> None:
        """Add the rows among those of a journal that have arrived."""
        for body in bodies:
            row = whole_row(body, self._parts)
            if row.form == "arrived":
                self.add(row)
            # The parts of an arrival are in its commit, directly before it: they may be in an earlier page.
            if row.form != "part":
                self._parts.clear()

    def wait(self, name: str, asked: OpenStep) -> None:
        """Register a branch that waits for a name."""
        self._receivers.setdefault(name, deque()).append(asked)
        self._match(name)

    def next(self) -> tuple[OpenStep, Row] | None:
        """Return the oldest row that a branch waits for, with the branch that has waited longest."""
        while self._matches:
            number, name = self._matches[0]
            rows, asked = self._waiting.get(name), self._receiver(name)
            # Notes may be stale. The oldest row overall comes first, so that the order of receipt is that of arrival.
            # A note is stale if its row was received, or its receiver was halted.
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
        # By number, and not the oldest: the row of the receipt says which one it was.
        row = next(row for row in rows if row.signal == number)
        rows.remove(row)
        if rows:
            self._match(name)
        else:
            del self._waiting[name]
            # One call waits for a child, and receives its end once.
            if is_child_signal(name):
                self._receivers.pop(name, None)
        return row

    def waiting(self) -> list[Row]:
        """Return the rows that wait, ordered by arrival."""
        return sorted((row for rows in self._waiting.values() for row in rows), key=lambda row: row.signal)

    def _match(self, name: str) -> None:
        """Note a name's oldest row if a branch waits for it. `next` drops notes that are no longer true."""
        rows = self._waiting.get(name)
        if rows and self._receiver(name) is not None:
            heappush(self._matches, (rows[0].signal, name))

    def _receiver(self, name: str) -> OpenStep | None:
        waiting = self._receivers.get(name)
        while waiting:
            # Receivers that were halted stay in the queue until they are first.
            if self.asked.get(waiting[0].path) is waiting[0]:
                return waiting[0]
            waiting.popleft()
        return None


Anchor: TypeAlias = Literal["reached", "begun", "answered"]
"""Why a time limit begins to count: a wait was reached, a step has begun, or either has been answered."""

WAITS = frozenset({Sleep, SleepUntil, Receive, AwaitPromise})
"""The instructions whose beginning a row records; a child has a row of its start."""


@attrs.define(eq=False)
class Timers:
    """The waits and timers of one replay. One that is no longer needed stays in the heap until it is due."""

    tree: Tree
    _heap: list[tuple[int, int, OpenStep | OpenFork]] = attrs.Factory(list[Any])
    # The heap compares the next member when two instants are equal: steps and forks have no order.
    _tick: Iterator[int] = attrs.Factory(count)
    _unrecorded: list[OpenStep] = attrs.Factory(list[OpenStep])
    _promised: list[OpenStep] = attrs.Factory(list[OpenStep])

    def wait(self, asked: OpenStep, now_ms: int | None) -> None:
        """Add a wait.

        Args:
            asked: the wait.
            now_ms: the present, in which it begins. None in a replay, where a row says when it began.
        """
        self._unrecorded.append(asked)
        if isinstance(asked.instruction, AwaitPromise):
            self._promised.append(asked)
        if now_ms is not None:
            self.reach(asked, now_ms)

    def settled(self, header: Header) -> tuple[OpenStep, Publication] | None:
        """Return the first wait whose promise is settled, with the outcome."""
        # Each answer comes here, and few workflows wait for a promise.
        if not self._promised:
            return None
        self._promised = [asked for asked in self._promised if self.tree.asked.get(asked.path) is asked]
        outcomes = {each.name: each for each in shared_in(header).published}
        named = ((asked, outcomes.get(asked.instruction.promise.name)) for asked in self._promised)
        return next(((asked, outcome) for asked, outcome in named if outcome is not None), None)

    def begin_waits(self, now_ms: int) -> None:
        """Let the waits begin that no row holds: a process that reached them died, or none has."""
        for asked in self._unrecorded:
            if self.tree.asked.get(asked.path) is asked:
                # Now, and not at the branch's last answer: a process that died in between must not use up the wait.
                self.reach(asked, now_ms)

    def note(self) -> Row | None:
        """Return a row of the waits that no row holds yet. None if there are none."""
        waits = [asked for asked in self._unrecorded if self.tree.asked.get(asked.path) is asked]
        self._unrecorded.clear()
        return row_of_waits([(each.path, each.name, each.begun_ms or 0) for each in waits]) if waits else None

    def follow(self, note: Row, gap_ms: int = 0) -> None:
        """Let recorded waits begin when the program reached them.

        Args:
            note: the row.
            gap_ms: the time in which no workflow ran, before this one was forked.

        Raises:
            Diverged: the program does not wait there.
        """
        noted = set[str]()
        for path, name, at_ms in waits_in(note):
            asked = self.tree.asked.get(path)
            # Compared like steps: changed code must not inherit the instant of another wait.
            if asked is None or asked.name != name:
                raise diverged(self.tree, attrs.evolve(note, path=path, name=name), asked)
            # The recorded instant: a wait that began again at each restart would never end.
            self.reach(asked, at_ms + gap_ms)
            noted.add(path)
        # A fork's note holds not all the waits of its commit: the others begin again.
        self._unrecorded = [asked for asked in self._unrecorded if asked.path not in noted]

    def reach(self, asked: OpenStep, at_ms: int) -> None:
        """Let a wait begin, and the time limits around it."""
        asked.begun_ms, instruction = at_ms, asked.instruction
        match instruction:
            case Sleep(delay_ms):
                asked.wake_ms = at_ms + delay_ms
            case SleepUntil(wake_ms):
                asked.wake_ms = wake_ms
            case _:
                pass
        if asked.wake_ms is not None:
            heapq.heappush(self._heap, (asked.wake_ms, next(self._tick), asked))
        self.anchor(asked.branch, at_ms, "reached")

    def anchor(self, branch: Branch, at_ms: int, why: Anchor) -> None:
        """Let the time limits around a branch count from an instant, unless they count already.

        A limit around a step counts from the step's beginning, in full for each attempt. A limit around a wait
        counts from the instant at which the program reached the wait.

        Args:
            branch: the branch.
            at_ms: the instant.
            why: a step that has only begun may have to begin again.
        """
        for fork in deadlines_around(branch):
            if fork.anchored or fork.decided is not None:
                continue
            # The earliest of the parallel branches inside. Counted from the fork, the limit would include the time
            # before a step begins.
            fork.anchor_ms = at_ms if fork.anchor_ms is None else min(at_ms, fork.anchor_ms)
            fork.anchored = why != "begun"
            deadline_ms = fork.deadline_ms
            if deadline_ms is not None:
                heapq.heappush(self._heap, (deadline_ms, next(self._tick), fork))

    @staticmethod
    def begin_again(branch: Branch) -> None:
        """Let the time limits around a step that failed count from its next attempt."""
        for fork in deadlines_around(branch):
            if not fork.anchored:
                fork.anchor_ms = None

    def next_ms(self) -> int | None:
        """Return when the next timer is due."""
        # A timer whose wait is over stays in the heap: to remove it would search it.
        while self._heap and not self._is_valid(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self) -> OpenStep | OpenFork:
        """Remove the timer that is due next."""
        return heapq.heappop(self._heap)[2]

    def _is_valid(self, entry: tuple[int, int, OpenStep | OpenFork]) -> bool:
        at_ms, _, timer = entry
        if isinstance(timer, OpenStep):
            return self.tree.asked.get(timer.path) is timer
        # The limit may have been anchored again: an entry with another instant is an old one.
        return self.tree.forks.get(timer.path) is timer and timer.deadline_ms == at_ms
