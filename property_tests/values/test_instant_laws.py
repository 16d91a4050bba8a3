"""Laws of instants: milliseconds and datetimes are the same points in time."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from perdure.values.times import due_ms, from_ms, to_ms

instants = st.datetimes(timezones=st.timezones())


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_milliseconds_survive_the_round_trip(milliseconds):
    assert to_ms(from_ms(milliseconds), what="at") == milliseconds


@given(instants.filter(lambda instant: 2 < instant.year < 9998))
def test_a_datetime_loses_less_than_a_millisecond_and_nothing_else(instant):
    back = from_ms(to_ms(instant, what="at"))
    assert timedelta(0) <= instant.astimezone(UTC) - back < timedelta(milliseconds=1)


@given(instants.filter(lambda instant: 2 < instant.year < 9998))
def test_a_due_instant_is_less_than_a_millisecond_later_and_never_earlier(instant):
    due = from_ms(due_ms(instant, what="at"))
    assert timedelta(0) <= due - instant.astimezone(UTC) < timedelta(milliseconds=1)


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_the_order_of_time_is_kept(first, second):
    earlier, later = sorted((first, second))
    assert to_ms(earlier, what="at") <= to_ms(later, what="at")


def test_the_first_and_last_instants_of_the_calendar_are_in_range():
    assert from_ms(to_ms(datetime.max.replace(tzinfo=UTC), what="at")).year == 9999
    assert from_ms(due_ms(datetime.max.replace(tzinfo=UTC), what="at")).year == 9999
    assert from_ms(to_ms(datetime.min.replace(tzinfo=UTC), what="at")).year == 1
