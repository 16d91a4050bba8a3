"""The ticks of a cron line in a time zone, with the daylight-saving rules.

- A wall time that does not exist runs once, at the first instant after the gap.
- A wall time that occurs twice runs once, the first time.
- A line whose minute or hour starts with ``*`` follows real time instead: it runs at each instant whose wall time
  matches, both times in a repeated hour. It does not run in a gap, unless the day would have no run at all.
- So a matching day is never skipped.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, tzinfo
from itertools import islice, pairwise

import attrs

from perdure.values.cron_line import CronLine
from perdure.values.frozen import frozen
from perdure.values.wall_clock import (
    after_gap_ms,
    changes_on,
    days_of_change,
    instants_ms,
    midnight_ms,
    wall_time,
)

_DAY = timedelta(days=1)
_DAY_MINUTES = 1_440
_MINUTE_MS = 60_000


@frozen(kw_only=True)
class CronTicks:
    """The ticks of a cron line in a time zone.

    Attributes:
        line: the days and wall times.
        zone: the time zone of the wall clock.
        minutes: the minutes of a day that the line matches.
    """

    line: CronLine
    zone: tzinfo
    minutes: tuple[int, ...] = attrs.field(repr=False, eq=False)

    def after(self, instant_ms: int) -> int:
        """Return the first tick later than an instant."""
        return next(self._rising(instant_ms))

    def count(self, after_ms: int, until_ms: int, *, most: int) -> int:
        """Count the ticks later than ``after_ms`` and not later than ``until_ms``, up to ``most``."""
        found = 0
        for tick_ms in islice(self._rising(after_ms), most):
            if tick_ms > until_ms:
                break
            found += 1
        return found

    def last(self, after_ms: int, until_ms: int, *, most: int) -> tuple[int, ...]:
        """Return the latest of those ticks, at most ``most``, in rising order."""
        found: set[int] = set()
        for day in self.line.days_back_from(self._day(until_ms) + _DAY):
            ticks_ms = self.of_day(day)
            # The ticks of neighbouring days may interleave: stop only after a full day without a tick in the range.
            if len(found) >= most and ticks_ms[-1] < min(found):
                break
            found.update(tick_ms for tick_ms in ticks_ms if after_ms < tick_ms <= until_ms)
            if ticks_ms[-1] <= after_ms:
                break
        return tuple(sorted(found)[-most:])

    def smallest_gap_ms(self) -> int:
        """Return the smallest time between two ticks, as if every day matched: from a minute to a day.

        Daylight-saving changes are those that the zone's data lists for 2020 to 2029.
        """
        over_midnight = self.minutes[0] + _DAY_MINUTES - self.minutes[-1]
        usual = min((later - earlier for earlier, later in pairwise(self.minutes)), default=over_midnight)
        usual_ms = min(usual, over_midnight) * _MINUTE_MS
        if usual_ms == _MINUTE_MS:
            return usual_ms
        return min((usual_ms, *map(self._smallest_gap_around_ms, days_of_change(self.zone))))

    def of_day(self, day: date) -> tuple[int, ...]:
        """Return the ticks of a day, whether or not the line matches it: at least one, in rising order."""
        if changes_on(day, self.zone):
            return tuple(sorted(self._of_changing_day(day)))
        start_ms = midnight_ms(day, self.zone)
        return tuple(start_ms + minute * _MINUTE_MS for minute in self.minutes)

    def _of_changing_day(self, day: date) -> set[int]:
        walls = [datetime.combine(day, time(*divmod(minute, 60))) for minute in self.minutes]
        if not self.line.runs_in_repeated_hours:
            return {self._once_ms(wall) for wall in walls}
        found = {instant_ms for wall in walls for instant_ms in instants_ms(wall, self.zone)}
        return found or {after_gap_ms(walls[0], self.zone)}

    def _once_ms(self, wall: datetime) -> int:
        instants = instants_ms(wall, self.zone)
        return instants[0] if instants else after_gap_ms(wall, self.zone)

    def _rising(self, after_ms: int) -> Iterator[int]:
        """Yield the ticks later than an instant.

        Where a clock is put back over midnight, ticks of a day come after the first ticks of the next day. A tick is
        therefore yielded only when the next day has no earlier one.
        """
        waiting: tuple[int, ...] = ()
        for day in self.line.days_from(self._day(after_ms) - _DAY):
            ticks_ms = self.of_day(day)
            ready = bisect_left(waiting, ticks_ms[0])
            yield from waiting[:ready]
            later_ms = ticks_ms[bisect_right(ticks_ms, after_ms) :]
            waiting = tuple(sorted({*waiting[ready:], *later_ms})) if ready < len(waiting) else later_ms

    def _smallest_gap_around_ms(self, day: date) -> int:
        ticks_ms = {tick_ms for near in (day - _DAY, day, day + _DAY) for tick_ms in self.of_day(near)}
        return min(later - earlier for earlier, later in pairwise(sorted(ticks_ms)))

    def _day(self, instant_ms: int) -> date:
        return wall_time(instant_ms, self.zone).date()
