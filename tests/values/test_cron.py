"""Examples of cron lines, of their refusals, and of each place where a zone's clock moves."""

from datetime import UTC, date, datetime
from itertools import islice

import pytest

from perdure.values.cron_ticks import CronLine
from perdure.values.errors import DefinitionError
from perdure.values.schedule import cron
from perdure.values.times import from_ms, to_ms


def ticks(line, *, tz, after, number):
    """Return the next ticks after an instant, in UTC, to the minute."""
    schedule, at_ms, found = cron(line, tz=tz), to_ms(datetime.fromisoformat(after), what="after"), []
    for _ in range(number):
        at_ms = schedule.ticks.after(at_ms)
        found.append(f"{from_ms(at_ms):%m-%d %H:%M}")
    return found


def test_takes_utc_unless_a_zone_is_passed():
    assert str(cron("0 9 * * 1-5")) == "cron 0 9 * * 1-5 in UTC"
    assert cron("0 9 * * *").ticks.after(0) == 9 * 3_600_000


def test_a_tick_is_strictly_later_than_the_instant_of_the_query():
    schedule = cron("0 9 * * *")
    nine_ms = 9 * 3_600_000
    assert schedule.ticks.after(nine_ms - 1) == nine_ms
    assert schedule.ticks.after(nine_ms) == nine_ms + 86_400_000


def test_day_of_month_or_day_of_week_matches_unless_one_starts_with_a_star():
    either = ticks("0 0 13 * 5", tz="UTC", after="2026-02-01T00:00Z", number=4)
    assert either == ["02-06 00:00", "02-13 00:00", "02-20 00:00", "02-27 00:00"]
    both = ticks("0 0 */12 * 5", tz="UTC", after="2026-02-01T00:00Z", number=2)
    assert both == ["02-13 00:00", "03-13 00:00"]


def test_finds_the_rarest_days():
    leap_monday = cron("0 0 */28 2 1#5").ticks.after(to_ms(datetime(2072, 3, 1, tzinfo=UTC), what="after"))
    assert f"{from_ms(leap_monday):%Y-%m-%d %A}" == "2112-02-29 Monday"


@pytest.mark.parametrize(
    ("line", "tz", "after", "expected"),
    [
        # A time that does not exist runs once, at the first instant after the gap (07:00 UTC in New York).
        ("30 2 * * *", "America/New_York", "2026-03-07T12:00Z", ["03-08 07:00", "03-09 06:30"]),
        ("0,30 2 * * *", "America/New_York", "2026-03-07T12:00Z", ["03-08 07:00", "03-09 06:00"]),
        ("0 2,3 * * *", "America/New_York", "2026-03-07T12:00Z", ["03-08 07:00", "03-09 06:00"]),
        # A time that comes twice runs once, and during the second time, the next one lies in the future.
        ("30 1 * * *", "America/New_York", "2026-11-01T05:00Z", ["11-01 05:30", "11-02 06:30"]),
        ("30 1 * * *", "America/New_York", "2026-11-01T06:10Z", ["11-02 06:30"]),
        # A line that follows real time runs in both passes of the repeated hour, and skips missing local times.
        ("30 * * * *", "America/New_York", "2026-11-01T04:30Z", ["11-01 05:30", "11-01 06:30", "11-01 07:30"]),
        ("30 * * * *", "America/New_York", "2026-03-08T05:30Z", ["03-08 06:30", "03-08 07:30"]),
        # But no day goes without a run.
        ("*/30 2 * * *", "America/New_York", "2026-03-07T12:00Z", ["03-08 07:00", "03-09 06:00"]),
        # The clock moves by half an hour: each hour keeps its minutes.
        ("0 */2 * * *", "Australia/Lord_Howe", "2026-04-04T13:00Z", ["04-04 15:30", "04-04 17:30"]),
        ("30 * * * *", "Australia/Lord_Howe", "2026-10-03T14:00Z", ["10-03 15:00", "10-03 15:30", "10-03 16:30"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T15:05Z", ["04-05 15:15"]),
        # A day without a midnight, and a midnight that sends the clock back into the day before.
        ("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00Z", ["11-04 03:00", "11-05 02:00"]),
        ("*/30 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00Z", ["11-04 03:00", "11-05 02:00"]),
        ("30 23 * * *", "America/Sao_Paulo", "2019-02-16T12:00Z", ["02-17 01:30", "02-18 02:30"]),
        ("*/30 0,23 * * *", "America/St_Johns", "2006-10-29T01:45Z", ["10-29 02:00", "10-29 02:30", "10-29 03:00"]),
        # A day that never was: its run comes at the first instant after it.
        ("0 9 * * *", "Pacific/Apia", "2011-12-29T20:00Z", ["12-30 10:00", "12-30 19:00"]),
    ],
)
def test_keeps_the_daylight_saving_laws(line, tz, after, expected):
    assert ticks(line, tz=tz, after=after, number=len(expected)) == expected


def test_finds_the_latest_ticks_where_two_days_interleave():
    # At 00:01, 02:31 UTC, the clocks went back to 23:01 of the day before.
    schedule = cron("*/30 0,23 * * *", tz="America/St_Johns")
    half_past_ms = [
        to_ms(datetime(2006, 10, 29, 2, tzinfo=UTC), what="tick") + number * 1_800_000 for number in range(3)
    ]
    for number, tick_ms in enumerate(half_past_ms, start=1):
        asked = {"after_ms": half_past_ms[0] - 1, "until_ms": tick_ms + 1_200_000}
        assert schedule.ticks.last(**asked, most=1) == (tick_ms,)
        assert schedule.ticks.last(**asked, most=9) == tuple(half_past_ms[:number])


def test_goes_through_the_days_of_a_line_both_ways_from_a_day_that_it_names():
    mondays = CronLine.read("0 0 * * 1")
    assert list(islice(mondays.days_from(date(2026, 3, 2)), 2)) == [date(2026, 3, 2), date(2026, 3, 9)]
    assert list(islice(mondays.days_back_from(date(2026, 3, 2)), 2)) == [date(2026, 3, 2), date(2026, 2, 23)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "these are 0 fields"),
        ("* * * *", "these are 4 fields"),
        ("0 * * * * *", "these are 6 fields"),
        ("@daily", "these are 1 fields"),
        ("60 * * * *", "its minute is not valid"),
        ("0 24 * * *", "its hour is not valid"),
        ("0 0 32 * *", "its day-of-month is not valid"),
        ("0 0 * 13 *", "its month is not valid"),
        ("0 0 * * 8", "its day-of-week is not valid"),
        ("0 5-1 * * *", "its hour is not valid"),
        ("*/0 * * * *", "its minute is not valid"),
        ("0 0 30 2 *", "its day-of-month is not valid"),
        ("0 0 */31 2 1#5", "a line that some day of the calendar matches"),
        ("0 " * 200, "at most 200 characters"),
        (None, "five fields"),
        (b"0 9 * * *", "five fields"),
    ],
)
def test_refuses_a_line_with_the_reason(line, problem):
    with pytest.raises(DefinitionError, match=problem) as refused:
        cron(line)
    assert (refused.value.what, refused.value.got) == ("cron line", line)


@pytest.mark.parametrize("tz", ["Europe/Bonn", "", "../etc", "/etc/localtime", "America", "\0", "\ud800", None, 2, UTC])
def test_refuses_an_unknown_zone_and_names_the_package_to_install(tz):
    with pytest.raises(DefinitionError, match="IANA name of a time zone") as refused:
        cron("0 9 * * *", tz=tz)
    assert (refused.value.what, refused.value.got) == ("zone of a schedule", tz)
    assert not isinstance(tz, str) or "pip install tzdata" in str(refused.value)


@pytest.mark.parametrize(
    ("line", "tz", "gap"),
    [
        ("* * * * *", "UTC", "1m"),
        ("0,50 * * * *", "UTC", "10m"),
        ("0 9 * * 1", "UTC", "1d"),
        ("30 2,3 * * *", "UTC", "1h"),
        ("30 2,3 * * *", "America/New_York", "30m"),
        ("0 9 * * *", "America/New_York", "23h"),
        ("45 * * * *", "Australia/Lord_Howe", "30m"),
    ],
)
def test_refuses_a_spread_that_reaches_the_next_tick_on_any_day(line, tz, gap):
    with pytest.raises(DefinitionError, match=f"less than the smallest time between two ticks, {gap}; got '{gap}'"):
        cron(line, tz=tz, stagger=gap)
    assert cron(line, tz=tz, stagger="59s").stagger_ms == 59_000


def test_schedules_of_the_same_meaning_are_equal_and_have_the_same_text():
    assert cron("0 9 * * 1", stagger="5 minutes") == cron("0 9 * * 1", stagger="300s")
    assert str(cron("0  9 * * mon", stagger="5m")) == str(cron("0 9 * * MON", stagger="5m", catch_up="skip"))
    texts = {str(cron(line, tz=tz)) for line in ("0 9 * * *", "0 8 * * *") for tz in ("UTC", "Europe/Berlin")}
    assert len(texts) == 4
