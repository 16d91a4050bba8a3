"""Schedules: when a recurring job runs next and how missed ticks are handled. Pure functions: callers pass the times.

`every` makes a schedule with a fixed interval and `cron` one with wall-clock times. Both have the same options: what
happens to ticks that no engine ran (``catch_up``), and how far instances are shifted against each other (``stagger``).
"""

from __future__ import annotations

from datetime import tzinfo
from functools import lru_cache
from typing import Literal, Protocol, TypeAlias, assert_never, get_args

import attrs

from perdure.values.cron_ticks import CronLine, CronTicks, zone
from perdure.values.errors import DefinitionError
from perdure.values.frozen import frozen
from perdure.values.times import Duration, duration_ms, format_duration

MAX_CATCH_UP = 1_000
DEFAULT_CATCH_UP = 100


@frozen(kw_only=True)
class CatchUpAll:
    """Run each missed tick, oldest first.

    Attributes:
        limit: how many ticks are kept, 1 to 1,000. When more were missed, the oldest are dropped and counted.

    Raises:
        DefinitionError: the limit is outside its range.
    """

    limit: int

    def __attrs_post_init__(self) -> None:
        _check_limit(self.limit)

    def __str__(self) -> str:
        return f"all, at most {self.limit}"


CatchUp: TypeAlias = Literal["once", "skip", "all"]
"""``"once"``: run the latest missed tick. ``"skip"``: run none. ``"all"``: run each, oldest first."""

CaughtUp: TypeAlias = Literal["once", "skip"] | CatchUpAll
"""The same option as a schedule stores it."""


def caught_up(catch_up: CatchUp, limit: int | None) -> CaughtUp:
    """Combine the option and its limit.

    Args:
        catch_up: as passed to ``every`` and ``cron``.
        limit: only for ``"all"``: how many missed ticks are kept, 1 to 1,000. None means 100.

    Raises:
        DefinitionError: the option is unknown, or a limit was passed with an option other than ``"all"``.
    """
    if catch_up == "all":
        return CatchUpAll(limit=DEFAULT_CATCH_UP if limit is None else limit)
    if catch_up not in ("once", "skip"):
        raise DefinitionError("catch_up of a schedule", catch_up, "'once', 'skip' or 'all'")
    if limit is not None:
        raise DefinitionError("catch_up_limit of a schedule", limit, 'no limit unless catch_up="all"')
    return catch_up


def describe_catch_up(option: CaughtUp) -> str:
    """Describe the option in a line.

    >>> describe_catch_up(CatchUpAll(limit=100))
    'run all, at most 100'
    """
    match option:
        case "once":
            return "run the latest"
        case "skip":
            return "run none"
        case CatchUpAll():
            return f"run {option}"


def check_catch_up(value: object) -> None:
    """Check that a value is a catch-up option.

    Raises:
        DefinitionError: it is not one.
    """
    # The classes check it themselves, because `Every(...)` and `Cron(...)` may be built without `every` and `cron`.
    if value not in ("once", "skip") and not isinstance(value, CatchUpAll):
        raise DefinitionError("catch_up of a schedule", value, "'once', 'skip' or 'all'")


def _check_limit(value: object) -> None:
    if type(value) is not int or not 1 <= value <= MAX_CATCH_UP:
        raise DefinitionError("catch_up_limit of a schedule", value, f"a whole number from 1 to {MAX_CATCH_UP}")


def stagger_ms(stagger: Duration | None) -> int:
    """Convert the option ``stagger`` to milliseconds. None is 0.

    Raises:
        DefinitionError: it is not a duration.
    """
    return 0 if stagger is None else duration_ms(stagger, what="stagger of a schedule")


def check_stagger(stagger_ms: int, *, smallest_gap_ms: int) -> None:
    """Check that a stagger is shorter than the time between any two ticks.

    Raises:
        DefinitionError: a shifted tick could reach the next one.
    """
    # A shift that reached the next tick would make two runs of one instance due at once.
    if stagger_ms >= smallest_gap_ms:
        expected = f"less than the smallest time between two ticks, {format_duration(smallest_gap_ms)}"
        raise DefinitionError("stagger of a schedule", format_duration(stagger_ms), expected)


def shift_ms(address: str, *, stagger_ms: int) -> int:
    """Return an instance's shift within the stagger.

    It depends on the printed address alone: it is the same after a restart, in another process, in a later version.

    Args:
        address: the instance, printed ``kind:name:id``.
        stagger_ms: the upper bound. 0 for no shift.

    Returns:
        Milliseconds, from 0 to ``stagger_ms`` - 1.
    """
    if not stagger_ms:
        return 0
    from hashlib import blake2b  # noqa: PLC0415 - loads OpenSSL, which defining jobs does not need

    # Not `hash()`: that differs between processes, and the alarm would move at each restart.
    digest = blake2b(address.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % stagger_ms


class Ticks(Protocol):
    """An infinite, strictly rising series of instants in integer milliseconds UTC."""

    def after(self, instant_ms: int) -> int:
        """Return the first tick later than an instant."""
        ...

    def count(self, after_ms: int, until_ms: int, *, most: int) -> int:
        """Count the ticks later than ``after_ms`` and not later than ``until_ms``, up to ``most``."""
        ...

    def last(self, after_ms: int, until_ms: int, *, most: int) -> tuple[int, ...]:
        """Return the latest ticks, at most ``most``, in rising order."""
        ...


@frozen
class Grid:
    """Ticks at ``anchor + k * interval``, for every whole k.

    Attributes:
        interval_ms: the time between two ticks.
    """

    anchor_ms: int
    interval_ms: int

    def after(self, instant_ms: int) -> int:
        """Return the first tick later than an instant."""
        # Computed and not added up: after a year of downtime, this takes as long as after a second.
        return self._tick(self._number(instant_ms) + 1)

    def count(self, after_ms: int, until_ms: int, *, most: int) -> int:
        """Count the ticks later than ``after_ms`` and not later than ``until_ms``, up to ``most``."""
        # The clock may have gone back.
        return max(0, min(self._number(until_ms) - self._number(after_ms), most))

    def last(self, after_ms: int, until_ms: int, *, most: int) -> tuple[int, ...]:
        """Return the latest ticks, at most ``most``, in rising order."""
        end = self._number(until_ms) + 1
        first = end - self.count(after_ms, until_ms, most=most)
        return tuple(self._tick(number) for number in range(first, end))

    def _tick(self, number: int) -> int:
        return self.anchor_ms + number * self.interval_ms

    def _number(self, instant_ms: int) -> int:
        """Return the number of the latest tick at or before an instant."""
        return (instant_ms - self.anchor_ms) // self.interval_ms


Align: TypeAlias = Literal["completion", "start"]
"""``"completion"``: an interval begins when a run ends. ``"start"``: ticks are at start + k * interval."""


@frozen(kw_only=True)
class Every:
    """A schedule with a fixed interval. Make one with ``every``.

    Two schedules with the same text set the same alarms.

    Attributes:
        interval_ms: from a run's end to the next tick, or from tick to tick.
        align: which one applies.
        catch_up: how missed ticks are handled. A schedule aligned to completion misses none.
        stagger_ms: an instance's largest shift. 0 for none.
    """

    interval_ms: int
    align: Align = "completion"
    catch_up: CaughtUp = "once"
    stagger_ms: int = 0

    def __attrs_post_init__(self) -> None:
        _check_align(self.align)
        check_catch_up(self.catch_up)
        if self.align == "completion":
            self._check_no_grid_options()
        check_stagger(self.stagger_ms, smallest_gap_ms=self.interval_ms)

    def __str__(self) -> str:
        stagger = f", staggered by {format_duration(self.stagger_ms)}" if self.stagger_ms else ""
        return f"every {format_duration(self.interval_ms)} from {self.align}{stagger}"

    def _check_no_grid_options(self) -> None:
        fix = "on a schedule aligned to the completion of a run; add align='start' to use it"
        if self.stagger_ms:
            raise DefinitionError("stagger of a schedule", format_duration(self.stagger_ms), f"no stagger {fix}")
        if self.catch_up != "once":
            raise DefinitionError("catch_up of a schedule", self.catch_up, f"'once' {fix}")


def every(
    interval: Duration,
    *,
    align: Align = "completion",
    catch_up: CatchUp = "once",
    catch_up_limit: int | None = None,
    stagger: Duration | None = None,
) -> Every:
    """Run at a fixed interval.

    Args:
        interval: 1 ms to 100 years.
        align: ``"completion"``: the next run starts one interval after this one ends (fixed delay). ``"start"``:
            runs start at start + k * interval, however long they take (fixed rate).
        catch_up: with ``align="start"``: the missed ticks to run after downtime: ``"once"`` the latest, ``"skip"``
            none, ``"all"`` each, oldest first.
        catch_up_limit: with ``catch_up="all"``: how many missed ticks are kept, 1 to 1,000, by default 100. The oldest
            are dropped and counted in ``ctx.missed``.
        stagger: with ``align="start"``: shift each instance by less than this, by an amount that depends on its address
            alone. Shorter than the interval.

    Raises:
        DefinitionError: an option is wrong, or needs ``align="start"``.

    >>> str(every("30 minutes", align="start", stagger="5 minutes"))
    'every 30m from start, staggered by 5m'
    """
    return Every(
        interval_ms=duration_ms(interval, what="interval of a schedule"),
        align=align,
        catch_up=caught_up(catch_up, catch_up_limit),
        stagger_ms=stagger_ms(stagger),
    )


def _check_align(value: object) -> None:
    if value not in get_args(Align):
        raise DefinitionError("align of a schedule", value, "'completion' or 'start'")


def _cron_ticks(schedule: Cron) -> CronTicks:
    return _ticks_of_line(CronLine.read(schedule.line), zone(schedule.tz))


# Once for each line and zone: a schedule is decoded with each state.
@lru_cache(maxsize=256)
def _ticks_of_line(line: CronLine, zone: tzinfo) -> CronTicks:
    return CronTicks(line=line, zone=zone, minutes=line.minutes())


@frozen(kw_only=True)
class Cron:
    """A schedule with wall-clock times. Make one with ``cron``.

    Two schedules with the same text set the same alarms.

    Attributes:
        tz: the line's time zone, as an IANA name.
        catch_up: how missed ticks are handled.
        stagger_ms: an instance's largest shift. 0 for none.
    """

    line: str
    tz: str = "UTC"
    catch_up: CaughtUp = "once"
    stagger_ms: int = 0
    ticks: CronTicks = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(_cron_ticks, takes_self=True)
    )

    def __attrs_post_init__(self) -> None:
        check_catch_up(self.catch_up)
        if self.stagger_ms:
            check_stagger(self.stagger_ms, smallest_gap_ms=self.ticks.smallest_gap_ms())

    def __str__(self) -> str:
        stagger = f", staggered by {format_duration(self.stagger_ms)}" if self.stagger_ms else ""
        return f"cron {self.ticks.line.text} in {self.tz}{stagger}"


def cron(
    line: str,
    *,
    tz: str = "UTC",
    catch_up: CatchUp = "once",
    catch_up_limit: int | None = None,
    stagger: Duration | None = None,
) -> Cron:
    """Run at a cron line's wall-clock times.

    Args:
        line: ``minute hour day-of-month month day-of-week``, by the rules in Debian's cron, with month and day names,
            and ``L``, ``LW``, ``5L`` and ``1#2`` besides.
        tz: the line's time zone, as an IANA name.
        catch_up: the missed ticks to run after downtime: ``"once"`` the latest, ``"skip"`` none, ``"all"`` each, the
                oldest first.
        catch_up_limit: with ``catch_up="all"``: how many missed ticks are kept, 1 to 1,000, by default 100. The oldest
            are dropped and counted in ``ctx.missed``.
        stagger: shift each instance by less than this, by an amount that depends on its address alone. Shorter than the
            smallest time between two ticks.

    Raises:
        DefinitionError: the line, the time zone or an option is not valid.

    >>> str(cron("0 9 * * mon-fri", tz="Europe/Berlin"))
    'cron 0 9 * * MON-FRI in Europe/Berlin'
    """
    return Cron(line=line, tz=tz, catch_up=caught_up(catch_up, catch_up_limit), stagger_ms=stagger_ms(stagger))


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
        missed: how many older due ticks will not be run.
    """

    nominal_ms: int
    missed: int


@frozen
class Skip:
    """Do not run now.

    Attributes:
        missed: how many due ticks will not be run.
    """

    next_nominal_ms: int
    missed: int


Due: TypeAlias = Run | Skip
"""The decision when the alarm of a tick fires."""


def offset_ms(schedule: Schedule, address: str) -> int:
    """Return the time from an instance's ticks to its alarms.

    Args:
        schedule: the schedule, whose ``stagger`` is the upper bound.
        address: the instance, printed ``kind:name:id``. The result depends on nothing else.

    Returns:
        Milliseconds, 0 without a stagger, and always less than the smallest time between two ticks.
    """
    return shift_ms(address, stagger_ms=schedule.stagger_ms)


def first_tick(schedule: Schedule, start_ms: int) -> int:
    """Return the nominal time of the first scheduled run after an instance starts.

    Args:
        schedule: the job's schedule.
        start_ms: when the instance starts. A fixed-rate schedule's anchor.
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
        The nominal tick to store. Its alarm is later than the run's end, except under ``CatchUpAll``: there it is
        the tick right after the one that was run, so that missed ticks are run one by one.
    """
    match schedule:
        case Every(align="completion"):
            # From the end: runs that take longer than the interval must not follow each other without a pause.
            return ended_ms + schedule.interval_ms
        case Every(catch_up=CatchUpAll()) | Cron(catch_up=CatchUpAll()):
            # From the tick, and not the end: each missed tick is run.
            return ticks_of(schedule, anchor_ms).after(nominal_ms)
        case Every() | Cron():
            # Less the offset: ticks are nominal, and alarms are later by it. Never back before the tick that was run,
            # if the clock goes back.
            return ticks_of(schedule, anchor_ms).after(max(nominal_ms, ended_ms - offset_ms))
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
    return ticks_of(schedule, anchor_ms).after(nominal_ms - 1) == nominal_ms


def due(schedule: Schedule, *, anchor_ms: int, nominal_ms: int, now_ms: int, offset_ms: int) -> Due:
    """Decide whether to run when a tick's alarm fires, possibly late.

    The stored tick is used even if the schedule no longer contains it, after a deploy that changed the schedule.

    Args:
        schedule: the job's schedule.
        anchor_ms: when the instance started.
        nominal_ms: the stored tick, whose alarm fires.
        now_ms: the wall clock.
        offset_ms: the instance's offset, from ``offset_ms``.

    Returns:
        ``Run`` or ``Skip``, with the dropped ticks, counted up to 10,000:

        - ``"once"``: the latest due tick is run, the older ones are dropped.
        - ``"skip"``: the latest due tick is run unless it is late by more than a grace period, the smaller of 60 s and
          half the time to the next tick. Older ones are dropped.
        - ``CatchUpAll``: the oldest tick is run. Beyond the limit, the oldest are dropped.
    """
    if isinstance(schedule, Every) and schedule.align == "completion":
        return Run(nominal_ms, 0)
    # With the stored tick, also if a deployment changed the schedule: it was promised, and is run.
    backlog = _Backlog(ticks_of(schedule, anchor_ms), nominal_ms, now_ms - offset_ms)
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
        nominal_ms: the stored tick. Itself the latest when no other is due.
        now_ms: the wall clock.
        offset_ms: the instance's offset, from ``offset_ms``.
    """
    if isinstance(schedule, Every) and schedule.align == "completion":
        return nominal_ms
    return _Backlog(ticks_of(schedule, anchor_ms), nominal_ms, now_ms - offset_ms).latest_ms()


@frozen
class _Backlog:
    """The due ticks up to an instant: the stored one, and the schedule's ticks after it."""

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
        # At most half of the gap: later than that, the next tick is nearer.
        grace_ms = min(MAX_GRACE_MS, (next_ms - latest_ms) // 2)
        # Alarms are a little late even without downtime: without a grace, "skip" would skip healthy ticks.
        if self.until_ms - latest_ms <= grace_ms:
            return Run(latest_ms, self.later())
        return Skip(next_ms, min(self.later() + 1, MAX_MISSED))

    def oldest_of(self, limit: int) -> Run:
        # The stored tick counts as well.
        dropped = max(0, self.later() + 1 - limit)
        return Run(self._last(limit)[0] if dropped else self.nominal_ms, dropped)

    def _last(self, most: int) -> tuple[int, ...]:
        # Without a later tick, the stored one is the latest.
        return self.ticks.last(self.nominal_ms, self.until_ms, most=most) or (self.nominal_ms,)


def ticks_of(schedule: Schedule, anchor_ms: int) -> Ticks:
    """Return a schedule's ticks. An interval counts from the anchor."""
    match schedule:
        case Every():
            return Grid(anchor_ms, schedule.interval_ms)
        case Cron():
            return schedule.ticks
        case _:
            assert_never(schedule)
