"""Faults: what can go wrong at one place, of a simulated program or of a world. They print as what makes them.

A place is an effect by its name, ``"send_mail"``, or an operation of the store, ``"store.commit"``.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import attrs

from perdure.values.duration import Duration, duration_ms
from perdure.values.errors import DefinitionError, PerdureError

When: TypeAlias = Literal["before", "after"]
"""Whether the place was reached: ``before``, nothing is done; ``after``, it is done, and its answer is lost."""

OF_THE_STORE: Final = "store."
"""How the places of store operations begin."""

STORE_OPERATIONS: Final = (
    "load",
    "commit",
    "due",
    "next_alarm",
    "claimed",
    "messages",
    "next_message",
    "dead_letters",
    "redrive",
    "find",
    "history",
    "events",
    "prune",
    "health",
)
"""The operations of a store, by the names of its record."""


def _known(_: object, __: object, at: str) -> None:
    if at.startswith(OF_THE_STORE) and at.removeprefix(OF_THE_STORE) not in STORE_OPERATIONS:
        raise DefinitionError("place of a fault", at, f"{OF_THE_STORE} and one of {', '.join(STORE_OPERATIONS)}")


def _named(value: object) -> str:
    return value.__qualname__ if isinstance(value, type) else repr(value)


@attrs.frozen(repr=False)
class _AtPlace:
    """Where and when a fault strikes: what all faults have."""

    at: str = attrs.field(validator=_known)
    when: When = attrs.field(default="before", kw_only=True)
    call: int = attrs.field(default=1, kw_only=True, validator=attrs.validators.ge(1))
    times: int = attrs.field(default=1, kw_only=True, validator=attrs.validators.ge(1))

    def __repr__(self) -> str:
        """Print it as the call that makes it, without what is usual."""
        shown = [repr(self.at)]
        for field in sorted(attrs.fields(self.__class__)[1:], key=lambda each: each.kw_only):
            value: Any = getattr(self, field.name)
            if value != field.default:
                shown.append(f"{field.name}={_named(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - as Hypothesis and IPython call it
        printer.text(repr(self))


@attrs.frozen(repr=False)
class Crash(_AtPlace):
    """The process dies there: a run is cut, its draft is lost, nothing of it happens any more.

    Args:
        at: the place.
        when: before it was reached, or after it did its work.
        call: the first call of that place that goes wrong, from 1; in a world, counted from now on.
        times: how many calls go wrong, from that one on.

    Raises:
        DefinitionError: a store has no such operation.
    """


@attrs.frozen(repr=False)
class Raise(_AtPlace):
    """An exception comes out that nobody declared.

    Args:
        at: the place.
        error: the exception; of a class, one with a text that says where it comes from.
        when: before it was reached, or after it did its work.
        call: the first call of that place that goes wrong, from 1; in a world, counted from now on.
        times: how many calls go wrong, from that one on.

    Raises:
        DefinitionError: a store has no such operation.
    """

    error: Exception | type[Exception] = ConnectionError

    def exception(self) -> Exception:
        """Make what is raised."""
        return self.error(f"made to go wrong by {self!r}") if isinstance(self.error, type) else self.error


@attrs.frozen(repr=False)
class Fail(_AtPlace):
    """It answers with a typed error: a declared one of the effect, or one of the store.

    Args:
        at: the place.
        error: what it fails with.
        when: before it was reached, or after it did its work: a commit whose answer is lost is
            ``Fail("store.commit", OutcomeUnknown("the answer was lost"), when="after")``.
        call: the first call of that place that goes wrong, from 1; in a world, counted from now on.
        times: how many calls go wrong, from that one on.

    Raises:
        DefinitionError: a store has no such operation.
    """

    error: object


@attrs.frozen(repr=False)
class Hang(_AtPlace):
    """It does not answer: a program waits until its own `timeout`, or until the time of the run is up.

    In a world it does answer, once it is released.

    Args:
        at: the place.
        when: before it was reached, or after it did its work.
        call: the first call of that place that goes wrong, from 1; in a world, counted from now on.
        times: how many calls go wrong, from that one on.

    Raises:
        DefinitionError: a store has no such operation.
    """


def _long(_: object, __: object, time: Duration) -> None:
    duration_ms(time, what="time of a Delay", minimum_ms=0)


@attrs.frozen(repr=False)
class Delay(_AtPlace):
    """It takes its time, and goes well.

    Args:
        at: the place.
        time: how long.
        when: whether the time passes before it is reached, or after it did its work.
        call: the first call of that place that is late, from 1; in a world, counted from now on.
        times: how many calls are late, from that one on.

    Raises:
        DefinitionError: a store has no such operation, or the time is none.
    """

    time: Duration = attrs.field(validator=_long)

    @property
    def ms(self) -> int:
        """The time, in milliseconds."""
        return duration_ms(self.time, what="time of a Delay", minimum_ms=0)


Fault: TypeAlias = Crash | Raise | Fail | Hang | Delay

Faults: TypeAlias = tuple[Fault, ...]
"""A plan: at most one fault for each call of each place."""

NO_FAULTS: Faults = ()


@attrs.frozen(repr=False)
class TwoFaults(PerdureError):
    """A plan has two faults for one call.

    Attributes:
        first: one of them.
        second: the other.
    """

    first: Fault
    second: Fault

    def _text(self) -> str:
        return f"one call has one fault; got {self.first!r} and {self.second!r}; give another call=... to one of them"


def by_call(plan: Faults) -> dict[tuple[str, int], Fault]:
    """Sort a plan by the place and the number of the call.

    Raises:
        TwoFaults: two of its faults are for the same call.
    """
    sorted_: dict[tuple[str, int], Fault] = {}
    for fault in plan:
        for call in range(fault.call, fault.call + fault.times):
            first = sorted_.setdefault((fault.at, call), fault)
            if first is not fault:
                raise TwoFaults(first, fault)
    return sorted_
