"""Schedules of wall-clock times: a cron line and a time zone."""

from __future__ import annotations

from datetime import tzinfo
from functools import lru_cache

import attrs

from perdure.values.catch_up import CatchUp, CaughtUp, caught_up, check_catch_up
from perdure.values.cron_line import CronLine
from perdure.values.cron_ticks import CronTicks
from perdure.values.duration import Duration, format_duration
from perdure.values.frozen import frozen
from perdure.values.stagger import check_stagger, stagger_ms
from perdure.values.wall_clock import zone


def _ticks(schedule: Cron) -> CronTicks:
    return _ticks_of(CronLine.read(schedule.line), zone(schedule.tz))


@lru_cache(maxsize=256)
def _ticks_of(line: CronLine, zone: tzinfo) -> CronTicks:
    return CronTicks(line=line, zone=zone, minutes=line.minutes())


@frozen(kw_only=True)
class Cron:
    """A schedule of wall-clock times; make one with ``cron``.

    Two schedules with the same text set the same alarms.

    Attributes:
        line: the five fields.
        tz: the IANA name of the time zone of the line.
        catch_up: how missed ticks are handled.
        stagger_ms: the largest shift of an instance; 0 for none.
        ticks: the computed run times.
    """

    line: str
    tz: str = "UTC"
    catch_up: CaughtUp = "once"
    stagger_ms: int = 0
    ticks: CronTicks = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(_ticks, takes_self=True))

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
    """Run at the wall-clock times of a cron line.

    Args:
        line: ``minute hour day-of-month month day-of-week``, by the rules of Debian's cron, with names of months and
            days, and ``L``, ``LW``, ``5L`` and ``1#2`` besides.
        tz: the IANA name of the time zone of the line.
        catch_up: the missed ticks to run after downtime: ``"once"`` the latest, ``"skip"`` none, ``"all"`` each, the
                oldest first.
        catch_up_limit: with ``catch_up="all"``: the number of missed ticks kept, 1 to 1,000; 100 by default. The oldest
            are dropped and counted in ``ctx.missed``.
        stagger: shift each instance by less than this, by an amount that depends on its address alone. Shorter than the
            smallest time between two ticks.

    Raises:
        DefinitionError: the line, the time zone or an option is not valid.

    >>> str(cron("0 9 * * mon-fri", tz="Europe/Berlin"))
    'cron 0 9 * * MON-FRI in Europe/Berlin'
    """
    return Cron(line=line, tz=tz, catch_up=caught_up(catch_up, catch_up_limit), stagger_ms=stagger_ms(stagger))
