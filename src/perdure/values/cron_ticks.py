"""Cron lines: the five fields, and the instants that they name in a time zone, with the daylight-saving rules."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs
from cronsim import CronSim, CronSimError

from perdure.values.errors import DefinitionError
from perdure.values.frozen import frozen
from perdure.values.times import from_ms, to_ms

_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_FIRST_MONDAY = date(2019, 12, 30)
_WEEKS = 522  # to the end of 2029: the rules of a zone repeat every year


def zone(name: object) -> tzinfo:
    """Return the time zone with an IANA name.

    Raises:
        DefinitionError: no time zone has that name, or this machine has no time zone data.
    """
    if name == "UTC":
        return UTC  # needs no time zone data
    expected = "the IANA name of a time zone, such as 'Europe/Berlin'"
    if not isinstance(name, str):
        raise DefinitionError("zone of a schedule", name, expected)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        fix = "if it is one, this machine has no time zone data: pip install tzdata"
        raise DefinitionError("zone of a schedule", name, f"{expected}; {fix}") from error


def instants_ms(wall: datetime, zone: tzinfo) -> tuple[int, ...]:
    """Return the instants at which a zone's clocks show a wall time.

    Args:
        wall: the wall time, without a zone.
        zone: the time zone.

    Returns:
        Integer milliseconds UTC: one, two where the clock was put back over it, none where it was put forward over it.
    """
    readings = {_instant_ms(wall, zone, fold) for fold in (0, 1)}
    return tuple(sorted(instant_ms for instant_ms in readings if wall_time(instant_ms, zone) == wall))


def wall_time(instant_ms: int, zone: tzinfo) -> datetime:
    """Return a zone's wall time at an instant, without the zone."""
    return from_ms(instant_ms).astimezone(zone).replace(tzinfo=None, fold=0)


def after_gap_ms(wall: datetime, zone: tzinfo) -> int:
    """Return the first instant after the gap that contains a wall time.

    Args:
        wall: a wall time that the zone's clocks never show.
        zone: the time zone.

    Returns:
        Integer milliseconds UTC.
    """
    # With the offset after the gap, the time lies before it, and the other way round (PEP 495): bisect the range.
    before_ms, after_ms = _instant_ms(wall, zone, fold=1), _instant_ms(wall, zone, fold=0)
    offset_after = _offset(after_ms, zone)
    while after_ms - before_ms > 1:
        middle_ms = (before_ms + after_ms) // 2
        if _offset(middle_ms, zone) == offset_after:
            after_ms = middle_ms
        else:
            before_ms = middle_ms
    return after_ms


def changes_on(day: date, zone: tzinfo) -> bool:
    """Return whether a zone's clocks are put forward or back on a day, its last midnight included."""
    # A last midnight that occurs twice is read as the second: then earlier times may occur twice as well.
    return _midnight(day, zone).utcoffset() != _midnight(day + _DAY, zone).replace(fold=1).utcoffset()


def midnight_ms(day: date, zone: tzinfo) -> int:
    """Return the instant at which a day begins. The clocks must not change on it."""
    return to_ms(_midnight(day, zone), what="midnight")


@lru_cache(maxsize=64)
def days_of_change(zone: tzinfo) -> tuple[date, ...]:
    """List the days from 2020 to 2029 on which a zone's clocks change, as far as its data lists them."""
    weeks = (_FIRST_MONDAY + number * _WEEK for number in range(_WEEKS))
    changing = (
        week for week in weeks if _midnight(week, zone).utcoffset() != _midnight(week + _WEEK, zone).utcoffset()
    )
    days = (week + number * _DAY for week in changing for number in range(7))
    return tuple(day for day in days if changes_on(day, zone))


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone)


def _instant_ms(wall: datetime, zone: tzinfo, fold: int) -> int:
    return to_ms(wall.replace(tzinfo=zone, fold=fold), what="wall time")


def _offset(instant_ms: int, zone: tzinfo) -> timedelta | None:
    return from_ms(instant_ms).astimezone(zone).utcoffset()


MAX_LINE_CHARACTERS = 200
_FIELDS = 5
_SECOND = timedelta(seconds=1)
_ANY_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_SHAPE = "five fields, minute hour day-of-month month day-of-week, such as '0 9 * * 1-5'"


@frozen
class CronLine:
    """A cron line, parsed by the rules in Debian's cron. It knows the calendar but no time zones.

    Attributes:
        text: its five fields, in upper case, with one space between them.
    """

    text: str

    @classmethod
    def read(cls, text: object) -> CronLine:
        """Parse a cron line.

        Raises:
            DefinitionError: the line does not have five fields, a field is not valid, or the line never matches a day.
        """
        if not isinstance(text, str) or len(text) > MAX_LINE_CHARACTERS:
            raise DefinitionError("cron line", text, f"{_SHAPE}, of at most {MAX_LINE_CHARACTERS} characters")
        fields = text.upper().split()
        if len(fields) != _FIELDS:
            raise DefinitionError("cron line", text, f"{_SHAPE}; these are {len(fields)} fields")
        line = cls(" ".join(fields))
        line._check(text)
        return line

    @property
    def runs_in_repeated_hours(self) -> bool:
        """Whether the minute or hour starts with a star. Such a line follows real time, as in Debian's cron."""
        minute, hour, *_ = self.text.split()
        return minute.startswith("*") or hour.startswith("*")

    def minutes(self) -> tuple[int, ...]:
        """Return the minutes in a day that the line matches, from 0 to 1,439, in rising order."""
        minute, hour, *_ = self.text.split()
        whole_day = CronSim(f"{minute} {hour} * * *", _ANY_DAY - _SECOND)
        found: list[int] = []
        for moment in whole_day:
            if moment.date() != _ANY_DAY.date():
                break
            found.append(moment.hour * 60 + moment.minute)
        return tuple(found)

    def days_from(self, first: date) -> Iterator[date]:
        """Yield the matching days from ``first`` on, until no day matches for 50 years."""
        return (moment.date() for moment in CronSim(self._day_line(), _midnight_of(first) - _SECOND))

    def days_back_from(self, last: date) -> Iterator[date]:
        """Yield the matching days from ``last`` backwards, until no day matches for 50 years."""
        return (moment.date() for moment in CronSim(self._day_line(), _midnight_of(last) + _SECOND, reverse=True))

    def _day_line(self) -> str:
        _, _, *days = self.text.split()
        return " ".join(("0", "0", *days))

    def _check(self, text: str) -> None:
        try:
            CronSim(self.text, _ANY_DAY)
        except CronSimError as error:
            field = str(error).removeprefix("Bad ")
            raise DefinitionError("cron line", text, f"{_SHAPE}; its {field} is not valid") from error
        # February 30: without this, the job would silently never run.
        if next(self.days_from(_ANY_DAY.date()), None) is None:
            raise DefinitionError("cron line", text, "a line that some day of the calendar matches")


def _midnight_of(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


_DAY_MINUTES = 1_440
_MINUTE_MS = 60_000


@frozen(kw_only=True)
class CronTicks:
    """A cron line's ticks in a time zone.

    Attributes:
        line: the days and wall times.
        zone: the wall clock's time zone.
        minutes: the minutes in a day that the line matches.
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
        """Return the latest ticks, at most ``most``, in rising order."""
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
        # Changes of the clock bring ticks closer together: a stagger as long as the usual gap would reorder them.
        return min((usual_ms, *map(self._smallest_gap_around_ms, days_of_change(self.zone))))

    def of_day(self, day: date) -> tuple[int, ...]:
        """Return a day's ticks, whether or not the line matches it: at least one, in rising order."""
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
        # In a repeated hour the first, in a gap right after it, as Debian's cron does: no day has a tick twice, or
        # none.
        return instants[0] if instants else after_gap_ms(wall, self.zone)

    def _rising(self, after_ms: int) -> Iterator[int]:
        """Yield the ticks later than an instant.

        Where a clock is put back over midnight, a day's ticks come after the next day's first ticks. A tick is
        therefore yielded only when the next day has no earlier one.
        """
        waiting: tuple[int, ...] = ()
        # From the day before: where clocks are put back over midnight, its ticks may still come.
        for day in self.line.days_from(self._day(after_ms) - _DAY):
            ticks_ms = self.of_day(day)
            ready = bisect_left(waiting, ticks_ms[0])
            yield from waiting[:ready]
            # Later and not equal: a schedule that found its own tick again would run without end.
            later_ms = ticks_ms[bisect_right(ticks_ms, after_ms) :]
            waiting = tuple(sorted({*waiting[ready:], *later_ms})) if ready < len(waiting) else later_ms

    def _smallest_gap_around_ms(self, day: date) -> int:
        ticks_ms = {tick_ms for near in (day - _DAY, day, day + _DAY) for tick_ms in self.of_day(near)}
        return min(later - earlier for earlier, later in pairwise(sorted(ticks_ms)))

    def _day(self, instant_ms: int) -> date:
        return wall_time(instant_ms, self.zone).date()
