"""What a continuous job's hook sees, the commands that reach it, and what is stored for it alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

import attrs

from perdure.codecs import Codec
from perdure.jobs.context import JobContext
from perdure.programs import Program
from perdure.values.excerpt import fields_in_line
from perdure.values.instant import from_ms
from perdure.values.schedule import Schedule
from perdure.values.turn_value import turn_value

S = TypeVar("S")


@attrs.frozen
class StartCommand:
    """Create the instance."""

    __repr__ = fields_in_line

    state: Any  # of the definition's own type


@attrs.frozen
class TriggerCommand:
    """Run now."""


@turn_value(repr=False)
class ContinuousContext(JobContext[S], Generic[S]):
    """What ``execute`` of a continuous job sees and does.

    Attributes:
        tick: the nominal instant of the tick that this run is for; None for a start or a trigger.
        missed: ticks that were due since the last run and are not run, as ``catch_up`` says.
    """

    tick: datetime | None = attrs.field(default=None, kw_only=True)
    missed: int = attrs.field(default=0, kw_only=True)

    @property
    def created_at(self) -> datetime:
        """When the instance was started."""
        return from_ms(self._instance.created_ms)


@attrs.frozen(kw_only=True)
class StoredTicks:
    """What is stored of a schedule: nominal ticks, so that no shift adds up. Integer milliseconds UTC.

    Attributes:
        anchor_ms: when the instance was started; a grid counts from here.
        next_ms: the tick to which the alarm belongs; None before the first is known.
        taken_ms: the tick that the run in progress, or in retry, is for.
        missed: ticks that were dropped for it.
        owed_ms: the tick that a resumption owes: it is run, however late it is and whatever ``catch_up`` says.
    """

    anchor_ms: int
    next_ms: int | None = None
    taken_ms: int | None = None
    missed: int = 0
    owed_ms: int | None = None


TICKS: Codec[StoredTicks] = Codec.of(StoredTicks, what="ticks of a continuous job")


@attrs.frozen(kw_only=True)
class Recurrence:
    """What a continuous job does, and when.

    Attributes:
        schedule: when.
        start: whether ``start`` runs at once.
        execute: what, made to give a program.
    """

    __repr__ = fields_in_line

    schedule: Schedule
    start: str
    execute: Callable[..., Program[Any, Any, Any]]  # the user's hook, whatever its types
