"""The results of calls: first the typed values that callers receive, then the records that are stored and sent."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, Literal, TypeAlias, TypeVar

import attrs
from typing_extensions import TypeAliasType

from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.failure import FailureRecord
from perdure.values.frozen import frozen
from perdure.values.status import Held, Status, Suspension

E_co = TypeVar("E_co", covariant=True)
S_co = TypeVar("S_co", covariant=True)
_E = TypeVar("_E")


# ---------------------------------------------------------------- how a run ended
@frozen
class Completed:
    """The run succeeded; its changes are durable."""


@frozen
class Retrying(Generic[E_co]):
    """The attempt failed; the next one is due at ``at``."""

    error: E_co = attrs.field(repr=excerpt)
    at: datetime


@frozen
class Failed(Generic[E_co]):
    """The run failed and is not retried."""

    error: E_co = attrs.field(repr=excerpt)


@frozen
class SelfTerminated:
    """The run terminated its own instance."""

    reason: str = attrs.field(repr=excerpt)


@frozen
class Running:
    """The run is claimed and still executing; the caller did not wait for it."""


@frozen
class Paused:
    """Nothing ran: the instance is paused."""


@frozen
class Parked:
    """Nothing ran: the instance is parked, for the reason in ``reason``."""

    reason: Held


Outcome = TypeAliasType(
    "Outcome", Completed | Retrying[_E] | Failed[_E] | SelfTerminated | Running | Paused | Parked, type_params=(_E,)
)
"""The outcome of the run that a call requested, or the reason why none ran."""


# ---------------------------------------------------------------- typed results
@frozen(kw_only=True)
class Started(Generic[E_co]):
    """Result of ``start``.

    Attributes:
        created: whether this call created the instance; False means that an existing instance was left unchanged.
        status: the status after the call; None when the run terminated the instance.
        outcome: the outcome of the first run; None when nothing ran.
    """

    created: bool
    status: Status | None
    outcome: Outcome[E_co] | None


@frozen(kw_only=True)
class Triggered(Generic[E_co]):
    """Result of ``trigger``.

    Attributes:
        triggered: whether a run began.
        status: the status after the call; None when the instance does not exist.
        outcome: the outcome of the run, or why it did not run; None when the instance does not exist.
    """

    triggered: bool
    status: Status | None
    outcome: Outcome[E_co] | None


@frozen(kw_only=True)
class Flushed(Generic[E_co]):
    """Result of ``flush``.

    Attributes:
        flushed: whether a run began.
        reason: ``empty`` when there was nothing to flush.
        outcome: the outcome of the run, or why it did not run; None when there was nothing to flush.
    """

    flushed: bool
    reason: Literal["empty"] | None
    outcome: Outcome[E_co] | None


@frozen(kw_only=True)
class Added:
    """Result of ``add``: the batch including this event.

    Attributes:
        created: whether this event started the batch.
        event_count: events in the batch.
        will_flush_at: when the batch flushes unless later events change that; None while the instance is paused or
            parked.
    """

    created: bool
    event_count: int
    will_flush_at: datetime | None


@frozen(kw_only=True)
class Cleared:
    """Result of ``clear``: the number of discarded events."""

    cleared: bool
    discarded: int


@frozen(kw_only=True)
class Sent:
    """Result of ``send``: the event was handled and its changes are durable.

    Attributes:
        created: whether this event created the instance.
        status: the status after the event; None when the handler terminated the instance, or when a ``terminate``
            interrupted the handler, whose changes are then dropped.
        scheduled_at: when the task's alarm is due, if it has one.
    """

    created: bool
    status: Status | None
    scheduled_at: datetime | None


@frozen(kw_only=True)
class Terminated:
    """Result of ``terminate``.

    Attributes:
        terminated: whether an instance was terminated.
        reason: the reason that the caller passed, or ``not_found``.
    """

    terminated: bool
    reason: str = attrs.field(repr=excerpt)


@frozen(kw_only=True)
class PauseResult:
    """Result of ``pause`` and ``resume``.

    Attributes:
        changed: whether the call changed anything.
        status: the status after the call; None when the instance does not exist.
    """

    changed: bool
    status: Status | None


@frozen(kw_only=True)
class InstanceStatus:
    """Result of ``status``.

    Attributes:
        status: ``not_found`` when the instance does not exist.
        run_count: logical runs started; retries do not increase it.
        event_count: events accepted, or events in the current batch.
        created_at: when the instance was created.
        updated_at: when it last changed.
        next_run_at: when the next alarm or retry is due. None while the instance is paused, parked, idle or done.
        started_at: when the current batch started (debounce).
        will_flush_at: when the current batch flushes, unless later events change that (debounce). None while the
            instance is paused or parked.
        attempt: the attempt that is running or due next, the last one if retries are exhausted; 1 without a retry.
        parked: why the instance is parked, if it is.
        left: why code that cannot read the instance left it to other code, if it did.
        since: since when it is paused, parked or left; None if it is not.
        heals: how an operator ends that; empty if there is no need.
        last_error: the error of the last run.
        phase: a word of the job's kind: how a workflow ended, ``done``, ``failed`` or ``cancelled``, or
            ``child_parked`` while a child of it is parked; None for others.
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
    left: FailureRecord | None = None
    since: datetime | None = None
    heals: str = ""
    last_error: FailureRecord | None = None
    phase: str | None = None


# ---------------------------------------------------------------- records: stored, replayed and sent
@frozen(kw_only=True)
class OutcomeRecord:
    """The outcome of a run, with its error in stored form."""

    __repr__ = fields_in_line

    form: Literal["completed", "retrying", "failed", "terminated", "running", "paused", "parked"]
    error: FailureRecord | None = None
    at_ms: int | None = None
    reason: str = attrs.field(default="", repr=excerpt)


@frozen(kw_only=True)
class RunAnswer:
    """The result of a command that runs user code.

    Attributes:
        found: the state in which the command found the instance.
        status: the status after the command; None when the instance no longer exists.
        outcome: the outcome of the run, or why it did not run.
    """

    found: Literal["created", "exists", "absent", "empty"]
    status: Status | None = None
    outcome: OutcomeRecord | None = None


Answer: TypeAlias = RunAnswer | Added | Cleared | Sent | Terminated | PauseResult
"""Every result that the kinds of this package can store for an idempotency key."""
