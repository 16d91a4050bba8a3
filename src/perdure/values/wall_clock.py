"""A time zone's wall clock: the instants that show a wall time, and its daylight-saving changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from perdure.values.errors import DefinitionError
from perdure.values.instant import from_ms, to_ms

_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_FIRST_MONDAY = date(2019, 12, 30)
_WEEKS = 522  # to the end of 2029: the rules of a zone repeat every year


def zone(name: object) -> tzinfo:
    """Return the time zone of an IANA name.

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
    """Return the wall time of a zone at an instant, without the zone."""
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
    """Return the instant at which a day begins; the clocks must not change on it."""
    return to_ms(_midnight(day, zone), what="midnight")


@lru_cache(maxsize=64)
def days_of_change(zone: tzinfo) -> tuple[date, ...]:
    """List the days of 2020 to 2029 on which a zone's clocks are put forward or back, as far as its data lists them."""
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
