"""Faults: what can go wrong at one call of one effect. A plan is a tuple of them, and can be pasted into a test."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs

from perdure.values.errors import PerdureError

When: TypeAlias = Literal["before", "after"]
"""Whether the service was reached: ``before``, it never heard of the call; ``after``, it did its work and its answer
was lost."""


def _pasteable(fault: Fault) -> str:
    """Print a fault as the call that makes it, without what is usual."""
    shown = [repr(fault.effect)]
    for field in attrs.fields(fault.__class__)[1:]:
        value: Any = getattr(fault, field.name)
        if value != field.default:
            shown.append(f"{field.name}={_named(value)}")
    return f"{type(fault).__name__}({', '.join(shown)})"


def _named(value: object) -> str:
    return value.__qualname__ if isinstance(value, type) else repr(value)


@attrs.frozen(repr=False)
class Crash:
    """The process dies there: the run is cut, its draft is lost, nothing of it happens any more.

    Attributes:
        effect: the name of the `effect`.
        when: before the service was reached, or after it did its work.
        call: which call of that effect, from 1.
    """

    effect: str
    when: When = "before"
    call: int = 1

    def __repr__(self) -> str:
        return _pasteable(self)


@attrs.frozen(repr=False)
class Raise:
    """The service raises an exception that nobody declared.

    Attributes:
        effect: the name of the `effect`.
        error: the class of the exception; it is raised with a text that says where it comes from.
        when: before the service was reached, or after it did its work.
        call: which call of that effect, from 1.
    """

    effect: str
    error: type[Exception] = ConnectionError
    when: When = "before"
    call: int = 1

    def __repr__(self) -> str:
        return _pasteable(self)


@attrs.frozen(repr=False)
class Fail:
    """The service answers with a typed error.

    Attributes:
        effect: the name of the `effect`.
        error: what it fails with, of its declared type.
        when: before the service was reached, or after it did its work.
        call: which call of that effect, from 1.
    """

    effect: str
    error: object
    when: When = "before"
    call: int = 1

    def __repr__(self) -> str:
        return _pasteable(self)


@attrs.frozen(repr=False)
class TimeOut:
    """The service never answers: the program waits until its own `timeout`, or until the time of the run is up.

    Attributes:
        effect: the name of the `effect`.
        when: before the service was reached, or after it did its work.
        call: which call of that effect, from 1.
    """

    effect: str
    when: When = "before"
    call: int = 1

    def __repr__(self) -> str:
        return _pasteable(self)


Fault: TypeAlias = Crash | Raise | Fail | TimeOut

Faults: TypeAlias = tuple[Fault, ...]
"""A plan: at most one fault for each call of each effect."""

NO_FAULTS: Faults = ()


@attrs.frozen(str=False)
class TwoFaults(PerdureError):
    """A plan has two faults for one call.

    Attributes:
        first: one of them.
        second: the other.
    """

    first: Fault
    second: Fault

    def __str__(self) -> str:
        return f"one call has one fault; got {self.first!r} and {self.second!r}; give another call=... to one of them"


def by_call(plan: Faults) -> dict[tuple[str, int], Fault]:
    """Sort a plan by the effect and the number of the call.

    Raises:
        TwoFaults: two of its faults are for the same call.
    """
    sorted_: dict[tuple[str, int], Fault] = {}
    for fault in plan:
        first = sorted_.setdefault((fault.effect, fault.call), fault)
        if first is not fault:
            raise TwoFaults(first, fault)
    return sorted_
