"""A ledger: an instance that keeps numbers in order, and the sequential model of its calls."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen
from returns.result import Failure, Result, Success

from perdure import Decision

Numbers: TypeAlias = tuple[int, ...]


@frozen
class Append:
    """Append a number, if the ledger has the expected length; None: whatever its length."""

    number: int
    expected: int | None = None


@frozen
class End:
    """Delete the ledger; also during a run, which then commits nothing."""

    interrupt: bool


@frozen
class Mismatch(Exception):
    """The ledger has another length."""

    length: int


def decide(numbers: Numbers, event: Append) -> Result[Decision[Numbers], Mismatch]:
    """Append purely."""
    if event.expected not in (None, len(numbers)):
        return Failure(Mismatch(len(numbers)))
    return Success(Decision((*numbers, event.number)))


def model(numbers: Numbers, asked: Append | End | None) -> tuple[Numbers, object]:
    """Execute one call on a ledger, and return the next state and the answer; None reads it."""
    if asked is None:
        return numbers, numbers
    if isinstance(asked, End):
        return (), "ended"
    if asked.expected not in (None, len(numbers)):
        return numbers, len(numbers)
    return (*numbers, asked.number), "appended"
