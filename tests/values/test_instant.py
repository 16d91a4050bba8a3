"""Instants at the boundary: aware datetimes outside, milliseconds inside."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from perdure.values.errors import DefinitionError
from perdure.values.times import from_ms, to_ms


def test_counts_from_1970_in_utc():
    assert to_ms(datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), what="at") == 0
    assert from_ms(1_500) == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert from_ms(0).tzinfo is UTC


def test_distinguishes_the_two_passes_of_a_repeated_hour():
    first = datetime(2026, 11, 1, 1, 30, tzinfo=ZoneInfo("America/New_York"))
    assert to_ms(first.replace(fold=1), what="at") - to_ms(first, what="at") == 3_600_000


@pytest.mark.parametrize("extreme", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
@pytest.mark.parametrize("hours", [-14, 14])
def test_reads_instants_that_have_no_datetime_in_utc(extreme, hours):
    ahead = to_ms(extreme.replace(tzinfo=timezone(timedelta(hours=hours))), what="at")
    assert to_ms(extreme, what="at") - ahead == hours * 3_600_000


def test_refuses_a_datetime_without_a_zone():
    with pytest.raises(DefinitionError, match=r"at: expected an aware datetime.*has no zone"):
        to_ms(datetime(2026, 3, 8, 9), what="at")  # noqa: DTZ001 - the mistake that is refused


@pytest.mark.parametrize("value", [0, "2026-03-08T09:00:00Z", datetime(2026, 3, 8, tzinfo=UTC).date(), None])
def test_refuses_other_values_than_datetimes(value):
    with pytest.raises(DefinitionError, match="an aware datetime"):
        to_ms(value, what="at")


@pytest.mark.parametrize("milliseconds", [-(10**15), 10**15])
def test_refuses_milliseconds_outside_the_calendar(milliseconds):
    with pytest.raises(DefinitionError, match="years 1 to 9999"):
        from_ms(milliseconds)
