"""A continuous job's context, commands and stored data."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

import attrs

from perdure.codecs import Codec
from perdure.jobs.context import JobContext
from perdure.jobs.request import TriggerOptions
from perdure.programs import Program
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen, turn_value
from perdure.values.schedule import Schedule
from perdure.values.status import LastRunForm
from perdure.values.times import from_ms

S = TypeVar("S")


@frozen
class StartCommand:
    """Create the instance."""

    __repr__ = fields_in_line

    state: Any  # of the definition's own type


@frozen
class TriggerCommand:
    """Run now: the next attempt of the run that failed last, or a new run."""

    options: TriggerOptions = TriggerOptions()


@frozen(kw_only=True)
class FailedRun:
    """A run that failed for good. A trigger before the next tick continues it.

    Attributes:
        cause: the first attempt's cause.
        attempts: how many attempts it had.
        tick_ms: the run's tick. None for a start or a trigger.
    """

    __repr__ = fields_in_line

    run_id: str
    cause: str
    attempts: int
    tick_ms: int | None


@turn_value(repr=False)
class ContinuousContext(JobContext[S], Generic[S]):
    """The context that a continuous job's ``execute`` receives.

    Attributes:
        tick: the nominal instant of the run's tick. None for a start or a trigger.
        missed: how many ticks were due since the last run and did not run, by ``catch_up``.
    """

    tick: datetime | None = attrs.field(default=None, kw_only=True)
    missed: int = attrs.field(default=0, kw_only=True)

    @property
    def created_at(self) -> datetime:
        """When the instance was started."""
        return from_ms(self._instance.created_ms)


@frozen(kw_only=True)
class StoredTicks:
    """A schedule's stored data: nominal ticks, so that jitter does not accumulate. Integer milliseconds UTC.

    Attributes:
        anchor_ms: when the instance was started. An interval counts from here.
        next_ms: the alarm's tick. None before the first is known.
        taken_ms: the run's tick in progress or in retry.
        missed: how many ticks were dropped for it.
        owed_ms: the tick that a resumption still has to run, however late it is and whatever ``catch_up`` says.
        failed: the last run, if it failed for good. Also while a trigger continues it.
        last: when the last run ended, and how. None before the first end, and in rows of versions that did not note it.
    """

    __repr__ = fields_in_line

    anchor_ms: int
    next_ms: int | None = None
    taken_ms: int | None = None
    missed: int = 0
    owed_ms: int | None = None
    failed: FailedRun | None = None
    last: tuple[int, LastRunForm] | None = None


TICKS: Codec[StoredTicks] = Codec.of(StoredTicks, what="ticks of a continuous job")


@frozen(kw_only=True)
class Recurrence:
    """A continuous job's schedule and function.

    Attributes:
        start: whether ``start`` runs immediately.
        execute: the hook, wrapped to return a program.
    """

    __repr__ = fields_in_line

    schedule: Schedule
    start: str
    execute: Callable[..., Program[Any, Any, Any]]  # the user's hook, of any types
