"""Call results: the values that callers receive, and the records that the engine stores, replays and sends.

Typed run outcomes are in `perdure.values.outcome`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Generic, Literal, TypeAlias, TypeVar

import attrs

from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.frozen import frozen
from perdure.values.status import FailureRecord, Status

Forgotten: TypeAlias = Literal["forgotten", "running", "not_found"]
"""Whether a key was forgotten. It is not while its own run is in progress, whose end would store it again."""


@frozen(kw_only=True)
class Added:
    """Result of ``add``: the batch including this event.

    Attributes:
        created: whether this event started the batch.
        event_count: events in the batch.
        will_flush_at: when the batch flushes unless later events change that. None while the instance is paused or
            parked.
    """

    created: bool
    event_count: int
    will_flush_at: datetime | None


@frozen(kw_only=True)
class Cleared:
    """Result of ``clear``: how many events it discarded."""

    cleared: bool
    discarded: int


@frozen(kw_only=True)
class Sent:
    """Result of ``send``: the event was handled and its changes are durable.

    Attributes:
        created: whether this event created the instance.
        status: the status after the event. None when the handler terminated the instance, or when a ``terminate``
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
        status: the status after the call. None when the instance does not exist.
    """

    changed: bool
    status: Status | None


# ---------------------------------------------------------------- records: stored, replayed and sent
@frozen(kw_only=True)
class OutcomeRecord:
    """A run's outcome, with its error in stored form."""

    __repr__ = fields_in_line

    form: Literal["completed", "retrying", "failed", "terminated", "running", "paused", "parked"]
    error: FailureRecord | None = None
    at_ms: int | None = None
    reason: str = attrs.field(default="", repr=excerpt)


@frozen(kw_only=True)
class RunAnswer:
    """Result of a command that runs user code.

    Attributes:
        created: whether this command created the instance.
        found: the state in which the command found the instance: ``absent`` also when the command then created it.
            ``empty`` if there was no batch to flush.
        status: the status after the command. None when the instance no longer exists.
        outcome: the run's outcome, or why it did not run.
    """

    created: bool = False
    found: Literal["exists", "absent", "empty"]
    status: Status | None = None
    outcome: OutcomeRecord | None = None


Answer: TypeAlias = RunAnswer | Added | Cleared | Sent | Terminated | PauseResult
"""Every result that the kinds of this package can store for an idempotency key."""


A_co = TypeVar("A_co", covariant=True)


@frozen
class Done(Generic[A_co]):
    """It succeeded, with this value."""

    value: A_co = attrs.field(repr=excerpt)


@frozen
class WasCancelled:
    """It was cancelled, for the reason that the caller passed."""

    reason: str = attrs.field(repr=excerpt)


@frozen
class DeadlinePassed(WasCancelled):
    """It was cancelled at the deadline that its start declared. Its finalizers and compensations ran."""
