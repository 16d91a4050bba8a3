"""Check histories: whether executing concurrent calls one by one can explain their answers.

The algorithm is from Wing and Gong, with Lowe's memory: it places one call after the other, and remembers which calls
it has placed and which state they lead to.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final, TypeVar, final

import attrs

from perdure.values.excerpt import excerpt, fields_in_line

State = TypeVar("State", bound=Hashable)

MAX_PLACINGS: Final = 1_000_000
"""How many calls are placed, over all orders, before the checker gives up."""

_SHOWN: Final = 12  # calls of the longest order


@final
class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()
"""The answer of a call that may have had any."""


@attrs.frozen(kw_only=True)
class TimedCall:
    """A call, with the two instants between which it had its effect, by one clock.

    A call that a caller repeats with its idempotency key is one call, from the first try to the answer.

    Attributes:
        of: its subject, such as an instance's id. Each subject's calls are checked apart.
        asked: the call, for ``apply``.
        called_at: when the caller made it.
        answered_at: when it was answered. None: it was not, so it may have its effect at any later time, or never.
        answer: the answer. `UNKNOWN` if any answer is right.
    """

    __repr__ = fields_in_line

    of: Hashable = None
    asked: Any
    called_at: float
    answered_at: float | None = None
    answer: Any = UNKNOWN

    def __str__(self) -> str:
        until = "no answer" if self.answered_at is None else f"answered {self.answered_at:g}: {excerpt(self.answer)}"
        return f"{excerpt(self.asked)}, called {self.called_at:g}, {until}"


class NotLinearizable(AssertionError):
    """No call order explains the answers.

    Attributes:
        of: the calls that have no order.
        call: the answered call that no order reaches.
        order: the longest order that explains its calls' answers.
        state: the state after it.
    """

    def __init__(self, of: Hashable, call: TimedCall, order: Sequence[TimedCall], state: object) -> None:
        first = [f"... {len(order) - _SHOWN} calls"] if len(order) > _SHOWN else []
        lines = [*first, *map(str, order[-_SHOWN:])]
        super().__init__(
            "\n  ".join(
                [
                    f"no order of the calls of {of!r} explains {call}; the longest order that explains its answers is",
                    *lines,
                    f"and leads to {excerpt(state)}",
                ]
            )
        )
        self.of = of
        self.call = call
        self.order = tuple(order)
        self.state = state


class TooManyOrders(Exception):
    """The checker gave up: check fewer concurrent calls, or fewer calls for one subject.

    Attributes:
        of: the calls.
        placings: how many were placed, over all orders.
    """

    def __init__(self, of: Hashable, placings: int) -> None:
        super().__init__(
            f"after {placings} placings there is no verdict on the calls of {of!r}; make fewer calls at once, or raise "
            "max_placings"
        )
        self.of = of
        self.placings = placings


def check_linearizable(
    calls: Iterable[TimedCall],
    *,
    initial: State,
    apply: Callable[[State, Any], tuple[State, Any]],
    max_placings: int = MAX_PLACINGS,
) -> None:
    """Check that executing the calls one by one, each between its call and its answer, explains all answers.

    Args:
        calls: the history, in any order.
        initial: the state before the first call. States are hashable values.
        apply: returns the next state and a call's answer: ``apply(state, call.asked)``.
        max_placings: how many calls are placed, over all orders, for one subject.

    Raises:
        NotLinearizable: no order does.
        TooManyOrders: there was no verdict in time.
    """
    parts: dict[Hashable, list[TimedCall]] = {}
    for call in calls:
        parts.setdefault(call.of, []).append(call)
    # Apart: calls of different subjects commute, and together they would multiply the orders.
    for of, part in parts.items():
        _Search(of, part, initial, apply, max_placings).run()


@attrs.define(eq=False)
class _Entry:
    """A call's beginning or end, in a list that is ordered by time.

    Attributes:
        number: the call's place in the history.
        end: the matching end, if a call begins here. None at an end, and for a call without an answer.
        is_end: whether this is an end.
    """

    number: int
    is_end: bool
    end: _Entry | None = None
    before: _Entry | None = None
    after: _Entry | None = None

    def take_out(self) -> None:
        """Remove it from the list."""
        if self.before is not None:
            self.before.after = self.after
        if self.after is not None:
            self.after.before = self.before

    def put_back(self) -> None:
        """Insert it where it was. Entries are put back in the opposite order."""
        if self.before is not None:
            self.before.after = self
        if self.after is not None:
            self.after.before = self


class _Search:
    """Places one subject's calls."""

    def __init__(
        self,
        of: Hashable,
        calls: Sequence[TimedCall],
        initial: Any,
        apply: Callable[[Any, Any], tuple[Any, Any]],
        max_placings: int,
    ) -> None:
        self._of = of
        self._calls = calls
        self._state = initial
        self._apply = apply
        self._left = max_placings
        self._max = max_placings
        self._head = _listed(calls)
        self._answered = sum(call.answered_at is not None for call in calls)
        self._order: list[tuple[_Entry, Any]] = []  # the begins of placed calls, with the state before each
        self._longest: tuple[_Entry, list[int], Any] | None = None

    def run(self) -> None:
        """Place all answered calls.

        Raises:
            NotLinearizable: it is not possible.
            TooManyOrders: it takes too long.
        """
        placed, seen = 0, set[tuple[int, Any]]()
        entry = self._head.after
        while self._answered:
            assert entry is not None  # noqa: S101 - the end of an answered call is ahead
            if not entry.is_end:
                next_state = self._placeable(entry)
                bits = placed | 1 << entry.number
                # The same calls with the same state were tried in another order: the rest would end the same way.
                if next_state is not None and (bits, next_state[0]) not in seen:
                    seen.add((bits, next_state[0]))
                    placed = bits
                    self._place(entry, next_state[0])
                    # From the start again: each call that is not placed, and began before the first end that is left,
                    # may be next.
                    entry = self._head.after
                else:
                    entry = entry.after
                continue
            # An answered call ends here and has no place: no call behind its end may be placed before it.
            self._note(entry)
            if not self._order:
                raise self._broken()
            # The last placing leads nowhere: the next call in the list is tried instead.
            begin = self._take_back()
            placed &= ~(1 << begin.number)
            entry = begin.after

    def _placeable(self, entry: _Entry) -> tuple[Any] | None:
        """Return the state after a call. None if its answer is another one."""
        if not self._left:
            raise TooManyOrders(self._of, self._max)
        self._left -= 1
        call = self._calls[entry.number]
        state, answer = self._apply(self._state, call.asked)
        return (state,) if call.answered_at is None or call.answer is UNKNOWN or answer == call.answer else None

    def _place(self, begin: _Entry, state: Any) -> None:
        self._order.append((begin, self._state))
        self._state = state
        begin.take_out()
        if begin.end is not None:
            begin.end.take_out()
            self._answered -= 1

    def _take_back(self) -> _Entry:
        begin, self._state = self._order.pop()
        if begin.end is not None:
            begin.end.put_back()
            self._answered += 1
        begin.put_back()
        return begin

    def _note(self, blocking: _Entry) -> None:
        if self._longest is None or len(self._order) > len(self._longest[1]):
            self._longest = blocking, [begin.number for begin, _ in self._order], self._state

    def _broken(self) -> NotLinearizable:
        assert self._longest is not None  # noqa: S101 - it was noted just before
        blocking, order, state = self._longest
        return NotLinearizable(self._of, self._calls[blocking.number], [self._calls[number] for number in order], state)


def _listed(calls: Sequence[TimedCall]) -> _Entry:
    """Return the head of the list that holds all begins and ends. At the same instant begins come first."""
    timed: list[tuple[float, bool, int, _Entry]] = []
    for number, call in enumerate(calls):
        begin = _Entry(number, is_end=False)
        timed.append((call.called_at, False, number, begin))
        if call.answered_at is not None:
            begin.end = _Entry(number, is_end=True)
            timed.append((call.answered_at, True, number, begin.end))
    head = last = _Entry(-1, is_end=False)
    for *_, entry in sorted(timed, key=lambda one: one[:3]):
        last.after, entry.before = entry, last
        last = entry
    return head
