"""When a recurring job runs next, and what becomes of the ticks that were missed: pure functions of given times.

A *tick* is a nominal time at which the schedule wants a run. Its *alarm* lies at tick + offset, where the offset is
that of the instance (``offset_ms``). The nominal tick is what is stored, so that offsets do not add up. All times are
integer milliseconds UTC.
"""

from __future__ import annotations

from typing import TypeAlias, assert_never

import attrs

from perdure.values.catch_up import CatchUpAll
from perdure.values.cron import Cron
from perdure.values.every import Every
from perdure.values.stagger import shift_ms
from perdure.values.ticks import Grid, Ticks

Schedule: TypeAlias = Every | Cron
"""When a continuous job runs: made with ``every`` or ``cron``."""

MAX_MISSED = 10_000
"""Missed ticks are counted up to this many, so that a year of minutes costs no more than a week."""

MAX_GRACE_MS = 60_000
"""How late a tick may be before ``"skip"`` drops it: an alarm's sleep is looked at again every 60 s at least."""


@attrs.frozen
class Run:
    """Run now.

    Attributes:
        nominal_ms: as which tick.
        missed: how many other ticks were due, are older, and will not be run.
    """

    nominal_ms: int
    missed: int


@attrs.frozen
class Skip:
    """Do not run now.

    Attributes:
        next_nominal_ms: the tick to wait for.
        missed: how many ticks were due and will not be run.
    """

    next_nominal_ms: int
    missed: int


Due: TypeAlias = Run | Skip
"""What to do when the alarm of a tick fires."""


def offset_ms(schedule: Schedule, address: str) -> int:
    """Give the time from an instance's ticks to its alarms.

    Args:
        schedule: whose spread bounds it.
        address: the instance, printed ``kind:name:id``; nothing else decides.

    Returns:
        Milliseconds, 0 without a spread, and always less than the smallest time between two ticks.
    """
    return shift_ms(address, stagger_ms=schedule.stagger_ms)


def first_tick(schedule: Schedule, start_ms: int) -> int:
    """Give the nominal time of the first scheduled run of an instance that starts now.

    Args:
        schedule: the job's schedule.
        start_ms: when the instance starts; it is the anchor of a grid from then on.
    """
    match schedule:
        case Every():
            return start_ms + schedule.interval_ms
        case Cron():
            return schedule.ticks.after(start_ms)
        case _:
            assert_never(schedule)


def settle(schedule: Schedule, *, anchor_ms: int, nominal_ms: int, ended_ms: int, offset_ms: int) -> int:
    """Give the next tick after a run has ended.

    Args:
        schedule: the job's schedule.
        anchor_ms: when the instance started.
        nominal_ms: the tick that was run.
        ended_ms: when the run ended.
        offset_ms: the instance's offset, from ``offset_ms``.

    Returns:
        The nominal tick to store. Its alarm is later than the end of the run, except under ``CatchUpAll``: there it is
        the tick right after the one that was run, so that a backlog is worked off.
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
    """Whether a stored tick is one that this schedule gives, as far as its instance tells.

    Args:
        schedule: the job's schedule, maybe another than the one that set the tick.
        anchor_ms: when the instance started.
        nominal_ms: the stored tick.
        changed_ms: when the instance last changed: no run of it ended later.
    """
    if isinstance(schedule, Every) and schedule.align == "completion":
        return anchor_ms <= nominal_ms - schedule.interval_ms <= changed_ms
    return _ticks(schedule, anchor_ms).after(nominal_ms - 1) == nominal_ms


def due(schedule: Schedule, *, anchor_ms: int, nominal_ms: int, now_ms: int, offset_ms: int) -> Due:
    """Decide what to run when the alarm of a tick fires, maybe late.

    The stored tick stands even if it is none of the schedule's, after a deploy that changed it.

    Args:
        schedule: the job's schedule.
        anchor_ms: when the instance started.
        nominal_ms: the stored tick, whose alarm fires.
        now_ms: the wall clock.
        offset_ms: the instance's offset, from ``offset_ms``.

    Returns:
        ``Run`` or ``Skip``, with how many ticks are dropped, counted up to 10,000:

        - ``"once"``: the latest tick that is due is run, the older ones are dropped.
        - ``"skip"``: the latest tick that is due is run unless it is late by more than a grace, the smaller of 60 s and
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
    """Give the latest tick that is due, whatever the schedule does about those that were missed.

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


@attrs.frozen
class _Backlog:
    """The ticks that are due: the stored one, and those of the schedule after it, until an instant."""

    ticks: Ticks
    nominal_ms: int
    until_ms: int

    def later(self) -> int:
        """Count the ticks that are due besides the stored one."""
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
