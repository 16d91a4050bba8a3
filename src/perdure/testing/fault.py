"""Faults in a simulated program or a world, such as a crash at one location. They print as the code that makes them.

A location is an effect by its name, ``"send_mail"``, or a store operation, ``"store.commit"``.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import attrs

from perdure.values.errors import DefinitionError, PerdureError
from perdure.values.times import Duration, duration_ms

When: TypeAlias = Literal["before", "after"]
"""When the fault occurs: ``before`` the call, which then has no effect, or ``after`` it, when its result is lost."""

STORE_PREFIX: Final = "store."
"""The prefix of the locations of store operations."""

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
"""Operations of every store, by their names."""

CAPABILITY_OPERATIONS: Final = {
    "cursors": ("read", "move"),
    "journal": ("read",),
    "streams": ("append", "read", "last"),
    "histories": ("declare", "known"),
    "attributes": ("declare", "known", "clear", "fill", "count"),
    "counts": ("instances", "work", "has_work", "messages"),
    "lanes": ("names", "queued", "last_rank"),
    "sharing": ("heartbeat", "abandoned"),
}
"""Those of the capabilities, besides a share of ``due`` and ``messages``. No fault of theirs is drawn."""

_OPERATIONS: Final = (
    *STORE_OPERATIONS,
    "set_hold",
    *(f"{capability}.{name}" for capability, names in CAPABILITY_OPERATIONS.items() for name in names),
)


def _known(_: object, __: object, at: str) -> None:
    if at.startswith(STORE_PREFIX) and at.removeprefix(STORE_PREFIX) not in _OPERATIONS:
        raise DefinitionError("location of a fault", at, f"{STORE_PREFIX} and one of {', '.join(_OPERATIONS)}")


def _named(value: object) -> str:
    return value.__qualname__ if isinstance(value, type) else repr(value)


@attrs.frozen(repr=False)
class _AtPlace:
    """The location and the affected calls: the fields that all faults share."""

    at: str = attrs.field(validator=_known)
    when: When = attrs.field(default="before", kw_only=True)
    call: int = attrs.field(default=1, kw_only=True, validator=attrs.validators.ge(1))
    times: int = attrs.field(default=1, kw_only=True, validator=attrs.validators.ge(1))

    def __repr__(self) -> str:
        """Return the call that makes the fault, without default arguments."""
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
    """The process dies: the run is interrupted and its uncommitted changes are lost.

    Args:
        at: the location.
        when: before the call, or after it had its effect.
        call: the first affected call at that location, from 1. In a world, counted from now on.
        times: how many calls are affected, from that one on.

    Raises:
        DefinitionError: a store has no such operation.
    """


@attrs.frozen(repr=False)
class Raise(_AtPlace):
    """The call raises an undeclared exception.

    Args:
        at: the location.
        error: the exception. For a class, one whose text names this fault.
        when: before the call, or after it had its effect.
        call: the first affected call at that location, from 1. In a world, counted from now on.
        times: how many calls are affected, from that one on.

    Raises:
        DefinitionError: a store has no such operation.
    """

    error: Exception | type[Exception] = ConnectionError

    def exception(self) -> Exception:
        """Return the exception to raise."""
        return self.error(f"raised by the fault {self!r}") if isinstance(self.error, type) else self.error


@attrs.frozen(repr=False)
class Fail(_AtPlace):
    """The call fails with a typed error: an error that the effect declares, or a store error.

    Args:
        at: the location.
        error: the error.
        when: before the call, or after it had its effect. A commit whose result is lost is
            ``Fail("store.commit", OutcomeUnknown("the answer was lost"), when="after")``.
        call: the first affected call at that location, from 1. In a world, counted from now on.
        times: how many calls are affected, from that one on.

    Raises:
        DefinitionError: a store has no such operation.
    """

    error: object


@attrs.frozen(repr=False)
class Succeed(_AtPlace):
    """The call succeeds with this value. With ``when="before"``, its service is not called.

    Args:
        at: the effect, by its name.
        value: the value.
        when: before the call, or after it had its effect.
        call: the first affected call of that effect, from 1. In a world, counted from now on.
        times: how many calls are affected, from that one on.

    Raises:
        DefinitionError: the location is a store operation.
    """

    value: object

    def __attrs_post_init__(self) -> None:
        if self.at.startswith(STORE_PREFIX):
            raise DefinitionError("location of a Succeed", self.at, "an effect by its name")


@attrs.frozen(repr=False)
class Hang(_AtPlace):
    """The call does not return: a program waits until its own `timeout`, or until its `run_timeout`.

    In a world the call returns once you release it.

    Args:
        at: the location.
        when: before the call, or after it had its effect.
        call: the first affected call at that location, from 1. In a world, counted from now on.
        times: how many calls are affected, from that one on.

    Raises:
        DefinitionError: a store has no such operation.
    """


def _long(_: object, __: object, time: Duration) -> None:
    duration_ms(time, what="time of a Delay", minimum_ms=0)


@attrs.frozen(repr=False)
class Delay(_AtPlace):
    """The call is slow, and succeeds.

    Args:
        at: the location.
        time: the delay.
        when: whether the delay is before the call, or after it had its effect.
        call: the first affected call at that location, from 1. In a world, counted from now on.
        times: how many calls are affected, from that one on.

    Raises:
        DefinitionError: a store has no such operation, or the time is not a duration.
    """

    time: Duration = attrs.field(validator=_long)

    @property
    def ms(self) -> int:
        """The delay, in milliseconds."""
        return duration_ms(self.time, what="time of a Delay", minimum_ms=0)


Fault: TypeAlias = Crash | Raise | Fail | Succeed | Hang | Delay

Faults: TypeAlias = tuple[Fault, ...]
"""A plan: at most one fault for each call of each location."""

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
        return f"a call can have one fault only; got {self.first!r} and {self.second!r}; pass another call=... to one"


def by_call(plan: Faults) -> dict[tuple[str, int], Fault]:
    """Index a plan by location and call number.

    Raises:
        TwoFaults: the plan has two faults for one call.
    """
    sorted_: dict[tuple[str, int], Fault] = {}
    for fault in plan:
        for call in range(fault.call, fault.call + fault.times):
            # By identity: the same fault covers several calls, and two equal ones are still two.
            first = sorted_.setdefault((fault.at, call), fault)
            if first is not fault:
                raise TwoFaults(first, fault)
    return sorted_
