"""The daylight-saving laws, against a reference that walks a zone's clock minute by minute."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from perdure.values.cron_ticks import CronLine
from perdure.values.errors import DefinitionError
from perdure.values.schedule import cron

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

# A zone and a day around which its clocks move, or do not.
PLACES = [
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),  # by half an hour
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Antarctica/Troll", date(2026, 3, 29)),  # by two hours
    ("Antarctica/Troll", date(2026, 10, 25)),
    ("America/Sao_Paulo", date(2018, 11, 4)),  # the day has no midnight
    ("America/Sao_Paulo", date(2019, 2, 17)),  # back from midnight to 23:00
    ("America/Havana", date(2026, 3, 8)),
    ("America/Havana", date(2026, 11, 1)),  # back to midnight
    ("America/St_Johns", date(2006, 4, 2)),
    ("America/St_Johns", date(2006, 10, 29)),  # back over midnight, from 00:01 to 23:01
    ("Africa/Casablanca", date(2026, 2, 15)),  # winter time during Ramadan
    ("Africa/Casablanca", date(2026, 3, 22)),
    ("Asia/Kathmandu", date(1986, 1, 1)),  # to an offset of 5:45
    ("Asia/Kathmandu", date(2026, 3, 8)),  # a control
    ("Pacific/Apia", date(2011, 12, 30)),  # a day that never was
    ("UTC", date(2026, 3, 8)),
]


@lru_cache
def clock(zone, day):
    """Return each minute from two days before to three days after, as milliseconds, with the local time."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - 2 * DAY
    trace = [start + number * MINUTE for number in range(5 * 24 * 60)]
    tz = ZoneInfo(zone)
    return [(int(moment.timestamp()) * 1_000, moment.astimezone(tz).replace(tzinfo=None)) for moment in trace]


def swallowed(earlier, later):
    """Return the wall times between two neighbouring minutes that the clocks never show."""
    return [earlier + number * MINUTE for number in range(1, (later - earlier) // MINUTE)]


def expected_ticks(line, zone, day):
    """Apply the laws as they are written."""
    minutes = clock(zone, day)
    named = [wall for _, wall in minutes if line.names(wall)]
    ticks_ms, seen = set(), set()
    for (_, before), (instant_ms, wall) in pairwise(minutes):
        if line.names(wall) and (line.follows_real_time or wall not in seen):
            ticks_ms.add(instant_ms)
        seen.add(wall)
        lost = [gone for gone in swallowed(before, wall) if line.names(gone)]
        if line.follows_real_time:
            lost = [gone for gone in lost if not any(shown.date() == gone.date() for shown in named)]
        if lost:
            ticks_ms.add(instant_ms)
    return sorted(ticks_ms)


class Line:
    """A cron line whose meaning the reference knows without parsing it."""

    def __init__(self, minute, hour, day, weekday):
        (self.minute, self.minutes), (self.hour, self.hours) = minute, hour
        (self.day, self.days), (self.weekday, self.weekdays) = day, weekday
        self.text = f"{self.minute} {self.hour} {self.day} * {self.weekday}"
        self.follows_real_time = self.minute.startswith("*") or self.hour.startswith("*")

    def __repr__(self):
        return self.text

    def names(self, wall):
        by_date, by_weekday = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        starred = self.day.startswith("*") or self.weekday.startswith("*")
        named_day = by_date and by_weekday if starred else by_date or by_weekday
        return named_day and wall.minute in self.minutes and wall.hour in self.hours


def fields(first, last, usual):
    numbers = st.integers(first, last) | st.sampled_from(usual)
    chosen = st.sets(numbers, min_size=1, max_size=4).map(sorted)
    lists = chosen.map(lambda values: (",".join(map(str, values)), set(values)))
    ranges = (
        st.tuples(numbers, numbers)
        .map(sorted)
        .map(lambda ends: ("{}-{}".format(*ends), set(range(ends[0], ends[1] + 1))))
    )
    steps = st.integers(1, last).map(lambda step: (f"*/{step}", set(range(first, last + 1, step))))
    stars = st.just(("*", set(range(first, last + 1))))
    return lists | ranges | steps | stars


some_days = fields(1, 31, [1, 2, 28, 29, 30, 31]) | st.just(("*", set(range(1, 32))))
some_weekdays = st.just(("*", set(range(7)))) | fields(0, 6, [0, 1])
lines = st.builds(
    Line, fields(0, 59, [0, 1, 15, 30, 45, 59]), fields(0, 23, [0, 1, 2, 3, 23]), some_days, some_weekdays
)
daily_lines = st.builds(
    Line,
    fields(0, 59, [0, 1, 15, 30, 45, 59]),
    fields(0, 23, [0, 1, 2, 3, 23]),
    st.just(("*", set(range(1, 32)))),
    st.just(("*", set(range(7)))),
)
places = st.sampled_from(PLACES)


def window(zone, day):
    """Return the three days in the middle, where the reference sees far enough both ways."""
    minutes = clock(zone, day)
    return minutes[24 * 60][0], minutes[-24 * 60][0]


def instants(line, place):
    """Draw instants of the window: any, and those of ticks, where the bounds are."""
    start_ms, end_ms = window(*place)
    ticks_ms = [tick_ms for tick_ms in expected_ticks(line, *place) if start_ms <= tick_ms <= end_ms]
    return st.integers(start_ms, end_ms) | st.sampled_from(ticks_ms or [start_ms])


@given(lines, places)
def test_the_ticks_are_those_of_the_laws(line, place):
    start_ms, end_ms = window(*place)
    wanted = [tick_ms for tick_ms in expected_ticks(line, *place) if start_ms < tick_ms <= end_ms]
    assert list(cron(line.text, tz=place[0]).ticks.last(start_ms, end_ms, most=10_000)) == wanted


@given(lines, places, st.data())
def test_the_next_ticks_are_the_first_in_the_future_at_every_query(line, place, data):
    _, end_ms = window(*place)
    ticks = cron(line.text, tz=place[0]).ticks
    at_ms = data.draw(instants(line, place))
    wanted = [tick_ms for tick_ms in expected_ticks(line, *place) if at_ms < tick_ms <= end_ms][:20]
    for tick_ms in wanted:
        at_ms = ticks.after(at_ms)
        assert at_ms == tick_ms
    assert len(wanted) == 20 or ticks.after(at_ms) > end_ms


@given(lines, places, st.integers(1, 20), st.data())
def test_missed_ticks_are_counted_and_found_backwards(line, place, most, data):
    after_ms, until_ms = sorted(data.draw(st.tuples(*[instants(line, place)] * 2)))
    between = [tick_ms for tick_ms in expected_ticks(line, *place) if after_ms < tick_ms <= until_ms]
    ticks = cron(line.text, tz=place[0]).ticks
    assert ticks.count(after_ms, until_ms, most=10_000) == len(between)
    assert ticks.count(after_ms, until_ms, most=most) == min(most, len(between))
    assert ticks.last(after_ms, until_ms, most=most) == tuple(between[-most:])


@given(lines, st.sampled_from(PLACES[:8] + PLACES[10:12] + PLACES[14:16]))
def test_no_two_ticks_are_nearer_than_the_smallest_gap(line, place):
    gap_ms = cron(line.text, tz=place[0]).ticks.smallest_gap_ms()
    assert 60_000 <= gap_ms <= 86_400_000
    assert all(later - earlier >= gap_ms for earlier, later in pairwise(expected_ticks(line, *place)))


@given(daily_lines, st.sampled_from([*(place for place in PLACES if place[1].year >= 2020), PLACES[-1]]))
def test_the_smallest_gap_is_no_smaller_than_two_ticks_of_some_day_are_near(line, place):
    gap_ms = cron(line.text, tz=place[0]).ticks.smallest_gap_ms()
    of_a_day = sorted(60 * hour + minute for hour in line.hours for minute in line.minutes)
    usual_ms = 60_000 * min(later - earlier for earlier, later in pairwise([*of_a_day, of_a_day[0] + 1_440]))
    assert gap_ms <= usual_ms
    assert all(gap_ms <= later - earlier for earlier, later in pairwise(expected_ticks(line, *place)))
    assert gap_ms == usual_ms or place[0] != "UTC"


@given(st.text(max_size=30) | st.text("*/,-0123456789L# MONJANW?", max_size=20).map("{} * * * *".format))
def test_any_text_is_a_line_that_comes_or_is_refused(text):
    try:
        line = CronLine.read(text)
    except DefinitionError as refused:
        outcome = refused.got
    else:
        outcome = text if line.minutes() and next(line.days_from(date(2026, 1, 1))) else line
    assert outcome == text
