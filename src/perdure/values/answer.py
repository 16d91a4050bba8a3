"""What calls answer: first the typed values that callers get, then the plain records that are stored and sent."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, Literal, TypeAlias, TypeVar

import attrs
from typing_extensions import TypeAliasType

from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.failure import FailureRecord
from perdure.values.instance import Status, Suspension

E_co = TypeVar("E_co", covariant=True)
S_co = TypeVar("S_co", covariant=True)
_E = TypeVar("_E")


# ---------------------------------------------------------------- how a run went
@attrs.frozen
class Completed:
    """The run succeeded; what it changed is safe."""


@attrs.frozen
class Retrying(Generic[E_co]):
    """The attempt failed; the next one is due at this instant."""

    error: E_co = attrs.field(repr=excerpt)
    at: datetime


@attrs.frozen
class Failed(Generic[E_co]):
    """The run failed, and this run is not tried again."""

    error: E_co = attrs.field(repr=excerpt)


@attrs.frozen
class SelfTerminated:
    """The run terminated its own instance."""

    reason: str = attrs.field(repr=excerpt)


@attrs.frozen
class Running:
    """The run is claimed and goes on; nobody waited for it."""


@attrs.frozen
class Paused:
    """Nothing ran: the instance is paused."""


@attrs.frozen
class Parked:
    """Nothing ran: the instance is parked, for this reason."""

    reason: Suspension


Outcome = TypeAliasType(
    "Outcome", Completed | Retrying[_E] | Failed[_E] | SelfTerminated | Running | Paused | Parked, type_params=(_E,)
)
"""How the run that a call asked for went, or why none did."""


# ---------------------------------------------------------------- typed answers
@attrs.frozen(kw_only=True)
class Started(Generic[E_co]):
    """Answer of ``start``.

    Attributes:
        created: whether this call created the instance; False leaves what was there as it was.
        status: the status after the call; None when the run terminated the instance.
        outcome: how the first run went; None when nothing ran.
    """

    created: bool
    status: Status | None
    outcome: Outcome[E_co] | None


@attrs.frozen(kw_only=True)
class Triggered(Generic[E_co]):
    """Answer of ``trigger``.

    Attributes:
        triggered: whether a run began.
        status: the status after the call; None when no instance is there.
        outcome: how the run went, or what kept it from running; None when there is no instance.
    """

    triggered: bool
    status: Status | None
    outcome: Outcome[E_co] | None


@attrs.frozen(kw_only=True)
class Flushed(Generic[E_co]):
    """Answer of ``flush``.

    Attributes:
        flushed: whether a run began.
        reason: ``empty`` when there was nothing to flush.
        outcome: how the run went, or what kept it from running; None when there was nothing to flush.
    """

    flushed: bool
    reason: Literal["empty"] | None
    outcome: Outcome[E_co] | None


@attrs.frozen(kw_only=True)
class Added:
    """Answer of ``add``: the batch as it is with this event.

    Attributes:
        created: whether this event began the batch.
        event_count: events in the batch.
        will_flush_at: when it flushes, unless later events move that; None while the instance is paused or parked.
    """

    created: bool
    event_count: int
    will_flush_at: datetime | None


@attrs.frozen(kw_only=True)
class Cleared:
    """Answer of ``clear``: how many events were discarded."""

    cleared: bool
    discarded: int


@attrs.frozen(kw_only=True)
class Sent:
    """Answer of ``send``: the event was handled, and what it changed is safe.

    Attributes:
        created: whether this event created the instance.
        status: the status after it; None when the handler terminated the instance.
        scheduled_at: when the task's alarm is due, if it has one.
    """

    created: bool
    status: Status | None
    scheduled_at: datetime | None


@attrs.frozen(kw_only=True)
class Terminated:
    """Answer of ``terminate``.

    Attributes:
        terminated: whether there was something to end.
        reason: the reason given, or ``not_found``.
    """

    terminated: bool
    reason: str = attrs.field(repr=excerpt)


@attrs.frozen(kw_only=True)
class PauseResult:
    """Answer of ``pause`` and ``resume``.

    Attributes:
        changed: whether the call changed anything.
        status: the status after it; None when there is no such instance.
    """

    changed: bool
    status: Status | None


@attrs.frozen(kw_only=True)
class InstanceStatus:
    """Answer of ``status``.

    Attributes:
        status: ``not_found`` when there is no such instance.
        run_count: logical runs begun; retries keep the number.
        event_count: events accepted, or in the batch that collects.
        created_at: when the instance was created.
        updated_at: when it last changed.
        next_run_at: when it is due next: alarm or retry. None while it is held or has nothing to do.
        started_at: when the collecting batch began (debounce).
        will_flush_at: when the collecting batch flushes, unless later events move that (debounce). None while the
            instance is held.
        attempt: the attempt that is running or comes next; 1 without a retry.
        parked: why it is parked, if it is.
        last_error: what the last run failed with.
    """

    __repr__ = fields_in_line

    status: Status | Literal["not_found"]
    run_count: int = 0
    event_count: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None
    next_run_at: datetime | None = None
    started_at: datetime | None = None
    will_flush_at: datetime | None = None
    attempt: int = 1
    parked: Suspension | None = None
    last_error: FailureRecord | None = None


# ---------------------------------------------------------------- records: what is stored, replayed and sent
@attrs.frozen(kw_only=True)
class OutcomeRecord:
    """How a run went, with the error in its stored form."""

    __repr__ = fields_in_line

    form: Literal["completed", "retrying", "failed", "terminated", "running", "paused", "parked"]
    error: FailureRecord | None = None
    at_ms: int | None = None
    reason: str = attrs.field(default="", repr=excerpt)


@attrs.frozen(kw_only=True)
class RunAnswer:
    """What a command that runs user code answers.

    Attributes:
        found: what the command met.
        status: the status after it; None when no instance is left.
        outcome: how the run went, or what kept it from running.
    """

    found: Literal["created", "exists", "absent", "empty"]
    status: Status | None = None
    outcome: OutcomeRecord | None = None


Answer: TypeAlias = RunAnswer | Added | Cleared | Sent | Terminated | PauseResult
"""Every answer that can be remembered for an idempotency key by the kinds of this package."""
