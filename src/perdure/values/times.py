"""Durations and instants: what users write, as integer milliseconds.

A duration is a ``timedelta`` or text such as ``"1h30m"``. An instant is an aware ``datetime``. Inside the library
both are integer milliseconds, instants since 1970 UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeAlias

from perdure.values.errors import DefinitionError

Duration: TypeAlias = timedelta | str
"""A duration: a ``timedelta``, or text such as ``"30 minutes"``, ``"5s"``, ``"1h30m"``, ``"500 ms"``."""

MAX_DURATION_MS = 36_525 * 86_400_000
"""The longest duration: 100 years."""

_MILLISECOND = timedelta(milliseconds=1)

_UNITS = (
    ("w", "weeks?", 604_800_000),
    ("d", "days?", 86_400_000),
    ("h", "hours?", 3_600_000),
    ("m", "minutes?", 60_000),
    ("s", "seconds?", 1_000),
    ("ms", "milliseconds?", 1),
)

# Possessive quantifiers (*+): the text may come from a configuration file and must be parsed in one pass.
_PARTS = " *+".join(rf"(?:([0-9]{{1,15}}+) *+(?:{short}|{long}))?" for short, long, _ in _UNITS)
_GRAMMAR = re.compile(rf"(?! ){_PARTS}(?<! )")

_EXPECTED = (
    "a timedelta, or text such as '30 minutes', '5s', '1h30m' or '500 ms': whole numbers, each with its unit "
    "(w, d, h, m, s, ms, or week to millisecond in full), the largest unit first, in lower case"
)


def duration_ms(value: Duration, *, what: str, minimum_ms: int = 1) -> int:
    """Parse a duration into integer milliseconds.

    The text is one or more whole numbers, each followed by its unit, the largest unit first and none twice. Units are
    ``w``, ``d``, ``h``, ``m``, ``s``, ``ms`` or their full names, in the singular or the plural. Spaces are allowed
    between them. Fractions are not: write ``"1h30m"``, not ``"1.5h"``. A bare number is refused, since it has no unit.
    A ``timedelta`` with microseconds is rounded up: no wait is shorter than you asked.

    Args:
        value: the duration.
        what: the purpose, for the error message, such as ``"flush_after of 'webhook-batcher'"``.
        minimum_ms: the shortest duration allowed. 0 allows no wait.

    Returns:
        Whole milliseconds, from ``minimum_ms`` to 100 years.

    Raises:
        DefinitionError: the value is not a duration in this range.

    >>> duration_ms("1h30m", what="interval")
    5400000
    """
    milliseconds = _read(value, what)
    # Bounded, so that an instant that is computed from it stays in the range of a datetime.
    if not minimum_ms <= milliseconds <= MAX_DURATION_MS:
        raise DefinitionError(what, value, f"a duration from {format_duration(minimum_ms)} to 100 years (36525d)")
    return milliseconds


def format_duration(milliseconds: int) -> str:
    """Format a duration so that ``duration_ms`` can parse it: days to milliseconds, zeros left out.

    Args:
        milliseconds: 0 or more.

    Raises:
        DefinitionError: ``milliseconds`` is negative.

    >>> format_duration(5_400_000)
    '1h30m'
    """
    if milliseconds < 0:
        raise DefinitionError("duration in milliseconds", milliseconds, "0 or more")
    parts: list[str] = []
    rest = milliseconds
    for unit, _, size in _UNITS[1:]:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0ms"


def _read(value: object, what: str) -> int:
    match value:
        case timedelta():
            return -(-value // _MILLISECOND)  # up, also in a limit: the same length means the same everywhere
        case str():
            milliseconds = _of_text(value)
            if milliseconds is None:
                raise DefinitionError(what, value, _EXPECTED)
            return milliseconds
        case _:
            raise DefinitionError(what, value, f"{_EXPECTED}; a bare number has no unit")


@lru_cache
def _of_text(text: str) -> int | None:
    found = _GRAMMAR.fullmatch(text)
    if found is None or found.lastindex is None:
        return None
    return sum(int(number or 0) * size for number, (_, _, size) in zip(found.groups(), _UNITS, strict=True))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_FIRST_MS = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND


def to_ms(instant: datetime, *, what: str = "instant") -> int:
    """Convert an aware ``datetime`` to integer milliseconds since 1970-01-01 UTC. Smaller units are truncated.

    Args:
        instant: a ``datetime`` in any time zone.
        what: the purpose, for the error message.

    Raises:
        DefinitionError: it is not a ``datetime``, or has no time zone.
    """
    offset = _offset(instant, what)
    # Subtract the offset by hand: near the years 1 and 9999 the instant in UTC is outside the range of a datetime.
    return (instant.replace(tzinfo=UTC) - _EPOCH - offset) // _MILLISECOND


def due_ms(instant: datetime, *, what: str) -> int:
    """Convert the aware ``datetime`` at which something is due to milliseconds. Smaller units are rounded up.

    Nothing is due before its instant. An instant in the last millisecond of year 9999 is rounded down.

    Args:
        instant: a ``datetime`` in any time zone.
        what: the purpose, for the error message.

    Raises:
        DefinitionError: it is not a ``datetime``, or has no time zone.
    """
    floor_ms = to_ms(instant, what=what)
    # Up: truncated, an alarm could fire before the instant that its caller set.
    return min(floor_ms + bool(instant.microsecond % 1000), _LAST_MS)


def from_ms(milliseconds: int) -> datetime:
    """Convert integer milliseconds to an aware UTC ``datetime``. ``to_ms`` converts it back exactly.

    Raises:
        DefinitionError: the instant lies outside the years 1 to 9999.
    """
    if not _FIRST_MS <= milliseconds <= _LAST_MS:
        raise DefinitionError("instant in milliseconds", milliseconds, "an instant of the years 1 to 9999")
    # In integers: `fromtimestamp` computes with floats, and would not return the same millisecond.
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _offset(instant: object, what: str) -> timedelta:
    expected = "an aware datetime, such as datetime(2026, 3, 8, 9, tzinfo=UTC)"
    if not isinstance(instant, datetime):
        raise DefinitionError(what, instant, expected)
    offset = instant.utcoffset()
    if offset is None:
        raise DefinitionError(what, instant, f"{expected}: this one has no zone")
    return offset
