"""When a recurring job runs next and how missed ticks are handled: pure functions of the times that are passed.

A *tick* is a nominal time at which a run is scheduled. Its *alarm* is at tick + offset, where the offset is that of
the instance (``offset_ms``). The nominal tick is stored, so that offsets do not add up. All times are integer
milliseconds UTC.
"""

from __future__ import annotations

from typing import TypeAlias, assert_never

from perdure.values.catch_up import CatchUpAll
from perdure.values.cron import Cron
from perdure.values.every import Every
from perdure.values.frozen import frozen
from perdure.values.stagger import shift_ms
from perdure.values.ticks import Grid, Ticks

Schedule: TypeAlias = Every | Cron
"""When a continuous job runs: made with ``every`` or ``cron``."""

MAX_MISSED = 10_000
"""Missed ticks are counted up to this number, so that a year of minutes costs no more than a week."""

MAX_GRACE_MS = 60_000
"""How late a tick may be before ``"skip"`` drops it: a sleeping alarm is checked again every 60 s at least."""


@frozen
class Run:
    """Run now.

    Attributes:
        nominal_ms: the tick that is run.
        missed: the number of older due ticks that will not be run.
    """

    nominal_ms: int
    missed: int


@frozen
class Skip:
    """Do not run now.

    Attributes:
        next_nominal_ms: the next tick.
        missed: the number of due ticks that will not be run.
    """

    next_nominal_ms: int
    missed: int


Due: TypeAlias = Run | Skip
"""The decision when the alarm of a tick fires."""


def offset_ms(schedule: Schedule, address: str) -> int:
    """Return the time from an instance's ticks to its alarms.

    Args:
        schedule: the schedule, whose ``stagger`` is the upper bound.
        address: the instance, printed ``kind:name:id``; the result depends on nothing else.

    Returns:
        Milliseconds, 0 without a stagger, and always less than the smallest time between two ticks.
    """
    return shift_ms(address, stagger_ms=schedule.stagger_ms)


def first_tick(schedule: Schedule, start_ms: int) -> int:
    """Return the nominal time of the first scheduled run of an instance that starts now.

    Args:
        schedule: the job's schedule.
        start_ms: when the instance starts; the anchor of a fixed-rate schedule.
    """
    match schedule:
        case Every():
            return start_ms + schedule.interval_ms
        case Cron():
            return schedule.ticks.after(start_ms)
        case _:
            assert_never(schedule)


def settle(schedule: Schedule, *, anchor_ms: int, nominal_ms: int, ended_ms: int, offset_ms: int) -> int:
    """Return the next tick after a run has ended.

    Args:
        schedule: the job's schedule.
        anchor_ms: when the instance started.
        nominal_ms: the tick that was run.
        ended_ms: when the run ended.
        offset_ms: the instance's offset, from ``offset_ms``.

    Returns:
        The nominal tick to store. Its alarm is later than the end of the run, except under ``CatchUpAll``: there it is
        the tick right after the one that was run, so that missed ticks are run one by one.
    """
    match schedule:
        case Every(align="completion"):
            return ended_ms + schedule.interval_ms
        case Every(catch_up=CatchUpAll()) | Cron(catch_up=CatchUpAll()):
            return _ticks(schedule, anchor_ms).after(nominal_ms)
        case Every() | Cron():
            return _ticks(schedule, anchor_ms).after(max(nominal_ms, ended_ms - offset_ms))
        case _:
            assert_never(schedule)


def could_be_set(schedule: Schedule, *, anchor_ms: int, nominal_ms: int, changed_ms: int) -> bool:
    """Return whether this schedule could have set a stored tick.

    Args:
        schedule: the job's schedule, which may differ from the one that set the tick.
        anchor_ms: when the instance started.
        nominal_ms: the stored tick.
        changed_ms: when the instance last changed: none of its runs ended later.
    """
    if isinstance(schedule, Every) and schedule.align == "completion":
        return anchor_ms <= nominal_ms - schedule.interval_ms <= changed_ms
    return _ticks(schedule, anchor_ms).after(nominal_ms - 1) == nominal_ms


def due(schedule: Schedule, *, anchor_ms: int, nominal_ms: int, now_ms: int, offset_ms: int) -> Due:
    """Decide whether to run when the alarm of a tick fires, possibly late.

    The stored tick is used even if the schedule no longer contains it, after a deploy that changed the schedule.

    Args:
        schedule: the job's schedule.
        anchor_ms: when the instance started.
        nominal_ms: the stored tick, whose alarm fires.
        now_ms: the wall clock.
        offset_ms: the instance's offset, from ``offset_ms``.

    Returns:
        ``Run`` or ``Skip``, with the number of dropped ticks, counted up to 10,000:

        - ``"once"``: the latest due tick is run, the older ones are dropped.
        - ``"skip"``: the latest due tick is run unless it is late by more than a grace period, the smaller of 60 s and
          half the time to the next tick; older ones are dropped.
        - ``CatchUpAll``: the oldest tick is run; of more than the limit, the oldest are dropped.
    """
    if isinstance(schedule, Every) and schedule.align == "completion":
        return Run(nominal_ms, 0)
    backlog = _Backlog(_ticks(schedule, anchor_ms), nominal_ms, now_ms - offset_ms)
    match schedule.catch_up:
        case "once":
            return Run(backlog.latest_ms(), backlog.later())
        case "skip":
            return backlog.skip()
        case CatchUpAll(limit=limit):
            return backlog.oldest_of(limit)
        case _:
            assert_never(schedule.catch_up)


def latest_due(schedule: Schedule, *, anchor_ms: int, nominal_ms: int, now_ms: int, offset_ms: int) -> int:
    """Return the latest due tick, whatever the schedule's ``catch_up`` is.

    Args:
        schedule: the job's schedule.
        anchor_ms: when the instance started.
        nominal_ms: the stored tick; itself the latest when no other is due.
        now_ms: the wall clock.
        offset_ms: the instance's offset, from ``offset_ms``.
    """
    if isinstance(schedule, Every) and schedule.align == "completion":
        return nominal_ms
    return _Backlog(_ticks(schedule, anchor_ms), nominal_ms, now_ms - offset_ms).latest_ms()


@frozen
class _Backlog:
    """The due ticks up to an instant: the stored one, and those of the schedule after it."""

    ticks: Ticks
    nominal_ms: int
    until_ms: int

    def later(self) -> int:
        """Count the due ticks other than the stored one."""
        return self.ticks.count(self.nominal_ms, self.until_ms, most=MAX_MISSED)

    def latest_ms(self) -> int:
        return self._last(1)[0]

    def skip(self) -> Due:
        latest_ms = self.latest_ms()
        next_ms = self.ticks.after(latest_ms)
        grace_ms = min(MAX_GRACE_MS, (next_ms - latest_ms) // 2)
        if self.until_ms - latest_ms <= grace_ms:
            return Run(latest_ms, self.later())
        return Skip(next_ms, min(self.later() + 1, MAX_MISSED))

    def oldest_of(self, limit: int) -> Run:
        dropped = max(0, self.later() + 1 - limit)
        return Run(self._last(limit)[0] if dropped else self.nominal_ms, dropped)

    def _last(self, most: int) -> tuple[int, ...]:
        return self.ticks.last(self.nominal_ms, self.until_ms, most=most) or (self.nominal_ms,)


def _ticks(schedule: Schedule, anchor_ms: int) -> Ticks:
    match schedule:
        case Every():
            return Grid(anchor_ms, schedule.interval_ms)
        case Cron():
            return schedule.ticks
        case _:
            assert_never(schedule)
