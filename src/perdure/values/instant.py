"""Instants: aware ``datetime`` values for users, integer milliseconds since 1970 UTC inside the library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from perdure.values.errors import DefinitionError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LAST_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_FIRST_MS = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND


def to_ms(instant: datetime, *, what: str = "instant") -> int:
    """Convert an aware ``datetime`` to integer milliseconds since 1970-01-01 UTC; smaller units are truncated.

    Args:
        instant: a ``datetime`` of any time zone.
        what: the purpose, for the error message.

    Raises:
        DefinitionError: it is not a ``datetime``, or has no time zone.
    """
    offset = _offset(instant, what)
    # Subtract the offset by hand: near the years 1 and 9999 the instant in UTC is outside the range of a datetime.
    return (instant.replace(tzinfo=UTC) - _EPOCH - offset) // _MILLISECOND


def due_ms(instant: datetime, *, what: str) -> int:
    """Convert the aware ``datetime`` at which something is due to milliseconds; smaller units are rounded up.

    Nothing is due before its instant. That of the last millisecond of year 9999 is rounded down.

    Args:
        instant: a ``datetime`` of any time zone.
        what: the purpose, for the error message.

    Raises:
        DefinitionError: it is not a ``datetime``, or has no time zone.
    """
    floor_ms = to_ms(instant, what=what)
    return min(floor_ms + bool(instant.microsecond % 1000), _LAST_MS)


def from_ms(milliseconds: int) -> datetime:
    """Convert integer milliseconds to an aware UTC ``datetime``; ``to_ms`` converts it back exactly.

    Raises:
        DefinitionError: the instant lies outside the years 1 to 9999.
    """
    if not _FIRST_MS <= milliseconds <= _LAST_MS:
        raise DefinitionError("instant in milliseconds", milliseconds, "an instant of the years 1 to 9999")
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _offset(instant: object, what: str) -> timedelta:
    expected = "an aware datetime, such as datetime(2026, 3, 8, 9, tzinfo=UTC)"
    if not isinstance(instant, datetime):
        raise DefinitionError(what, instant, expected)
    offset = instant.utcoffset()
    if offset is None:
        raise DefinitionError(what, instant, f"{expected}: this one has no zone")
    return offset
