"""Laws of schedules: which tick comes next, which are run late, and which are counted as missed."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from perdure.values.schedule import (
    MAX_MISSED,
    CatchUpAll,
    Run,
    Skip,
    cron,
    due,
    every,
    first_tick,
    latest_due,
    offset_ms,
    settle,
)

CRON_LINES = ["*/7 * * * *", "0 9 * * 1-5", "30 2 * * *", "59 23 1,31 * *", "0 */6 * * *"]
ZONES = ["UTC", "America/New_York", "Australia/Lord_Howe"]
START_MS = 1_772_000_000_000  # February 2026

instants_ms = st.integers(START_MS, START_MS + 60 * 86_400_000)
delays_ms = st.integers(0, 200_000) | st.integers(0, 5 * 86_400_000)
catch_ups = st.sampled_from([{"catch_up": "once"}, {"catch_up": "skip"}]) | st.builds(
    lambda limit: {"catch_up": "all", "catch_up_limit": limit}, st.integers(1, 30)
)
intervals_ms = st.sampled_from([60_000, 100_000, 600_000, 86_400_000]) | st.integers(30_000, 10**8)
addresses = st.text(min_size=1, max_size=30).map("continuous:job:{}".format)


@st.composite
def grids(draw):
    interval_ms = draw(intervals_ms)
    stagger_ms = draw(st.integers(0, interval_ms - 1) | st.sampled_from([interval_ms // 2, interval_ms - 1]))
    return every(
        timedelta(milliseconds=interval_ms),
        align="start",
        **draw(catch_ups),
        stagger=timedelta(milliseconds=stagger_ms) if stagger_ms else None,
    )


crons = st.builds(
    lambda line, caught_up, **options: cron(line, **caught_up, **options),
    st.sampled_from(CRON_LINES),
    catch_ups,
    tz=st.sampled_from(ZONES),
    stagger=st.sampled_from([None, "1m", "239s"]),
)
schedules = grids() | crons


def ticks_between(schedule, anchor_ms, after_ms, until_ms):
    """List the ticks later than one instant and not later than another, one by one."""
    by_backlog = every_tick(schedule)
    found, tick_ms = [], after_ms
    while (tick_ms := next_tick(by_backlog, anchor_ms, tick_ms)) <= until_ms:
        found.append(tick_ms)
    return found


def every_tick(schedule):
    if hasattr(schedule, "tz"):
        return cron(schedule.line, tz=schedule.tz, catch_up="all", catch_up_limit=1)
    interval = timedelta(milliseconds=schedule.interval_ms)
    return every(interval, align="start", catch_up="all", catch_up_limit=1)


def next_tick(by_backlog, anchor_ms, after_ms):
    return settle(by_backlog, anchor_ms=anchor_ms, nominal_ms=after_ms, ended_ms=after_ms, offset_ms=0)


@st.composite
def firings(draw):
    """Draw a schedule whose alarm fires, maybe late: its stored tick may be none of the schedule's own."""
    schedule = draw(schedules)
    anchor_ms = draw(instants_ms)
    nominal_ms = draw(st.just(first_tick(schedule, anchor_ms)) | instants_ms)
    shift_ms = offset_ms(schedule, draw(addresses))
    interval_ms = getattr(schedule, "interval_ms", 420_000)
    late_ms = min(draw(delays_ms | st.integers(interval_ms // 2, interval_ms)), 400 * interval_ms)
    inputs = {"anchor_ms": anchor_ms, "nominal_ms": nominal_ms, "offset_ms": shift_ms}
    now_ms = nominal_ms + shift_ms + late_ms
    waiting = [nominal_ms, *ticks_between(schedule, anchor_ms, nominal_ms, now_ms - shift_ms)]
    next_ms = next_tick(every_tick(schedule), anchor_ms, max(waiting))
    return schedule, {**inputs, "now_ms": now_ms}, waiting, next_ms


@given(firings())
def test_late_runs_follow_catch_up(firing):
    schedule, inputs, waiting, next_ms = firing
    decision = due(schedule, **inputs)
    latest_ms, late_ms = waiting[-1], inputs["now_ms"] - inputs["offset_ms"] - waiting[-1]
    match schedule.catch_up:
        case "once":
            assert decision == Run(latest_ms, len(waiting) - 1)
        case "skip" if late_ms <= min(60_000, (next_ms - latest_ms) // 2):
            assert decision == Run(latest_ms, len(waiting) - 1)
        case "skip":
            assert decision == Skip(next_ms, len(waiting))
        case CatchUpAll(limit=limit):
            kept = waiting[-limit:]
            assert decision == Run(kept[0], len(waiting) - len(kept))


@given(firings())
def test_the_latest_tick_that_is_due_is_the_same_whatever_is_caught_up(firing):
    schedule, inputs, waiting, _ = firing
    assert latest_due(schedule, **inputs) == waiting[-1]


@given(schedules, instants_ms, st.integers(0, 10**6), addresses)
def test_an_alarm_that_fires_on_time_or_before_it_runs_its_own_tick(schedule, anchor_ms, early_ms, address):
    shift_ms = offset_ms(schedule, address)
    nominal_ms = first_tick(schedule, anchor_ms)
    now_ms = nominal_ms + shift_ms - early_ms
    decision = due(schedule, anchor_ms=anchor_ms, nominal_ms=nominal_ms, now_ms=now_ms, offset_ms=shift_ms)
    assert decision == Run(nominal_ms, 0)


@given(firings(), delays_ms)
def test_the_next_tick_is_the_first_that_is_left(firing, run_ms):
    schedule, inputs, _, _ = firing
    ended_ms = inputs["now_ms"] + min(run_ms, 400 * getattr(schedule, "interval_ms", 420_000))
    anchor_ms, nominal_ms, shift_ms = inputs["anchor_ms"], inputs["nominal_ms"], inputs["offset_ms"]
    next_ms = settle(schedule, anchor_ms=anchor_ms, nominal_ms=nominal_ms, ended_ms=ended_ms, offset_ms=shift_ms)
    passed = ticks_between(schedule, anchor_ms, nominal_ms, ended_ms - shift_ms)
    if isinstance(schedule.catch_up, CatchUpAll):
        assert next_ms == [*passed, next_ms][0]
        assert next_ms > nominal_ms
    else:
        assert next_ms + shift_ms > ended_ms
        assert next_ms == next_tick(every_tick(schedule), anchor_ms, max([nominal_ms, *passed]))


@given(schedules, instants_ms, addresses, st.lists(delays_ms, max_size=8))
def test_no_tick_is_run_twice_and_none_is_lost_uncounted(schedule, start_ms, address, delays):
    shift_ms = offset_ms(schedule, address)
    first_ms = nominal_ms = first_tick(schedule, start_ms)
    accounted, ran = 0, []
    for late_ms in delays:
        now_ms = nominal_ms + shift_ms + min(late_ms, 300 * getattr(schedule, "interval_ms", 420_000))
        now_ms = max([now_ms, *ran])
        inputs = {"anchor_ms": start_ms, "nominal_ms": nominal_ms, "offset_ms": shift_ms}
        match due(schedule, now_ms=now_ms, **inputs):
            case Run(tick_ms, missed):
                accounted += missed + 1
                ran.append(tick_ms)
                nominal_ms = settle(schedule, ended_ms=now_ms, **{**inputs, "nominal_ms": tick_ms})
            case Skip(nominal_ms, missed):
                accounted += missed
    assert ran == sorted(set(ran))
    assert [first_ms, *ticks_between(schedule, start_ms, first_ms, nominal_ms)].index(nominal_ms) == accounted


@given(intervals_ms, instants_ms, instants_ms, delays_ms)
def test_an_end_measured_interval_begins_when_the_run_ends(interval_ms, anchor_ms, nominal_ms, late_ms):
    schedule = every(timedelta(milliseconds=interval_ms))
    inputs = {"anchor_ms": anchor_ms, "nominal_ms": nominal_ms, "offset_ms": offset_ms(schedule, "continuous:job:1")}
    assert inputs["offset_ms"] == 0
    assert first_tick(schedule, anchor_ms) == anchor_ms + interval_ms
    assert due(schedule, now_ms=nominal_ms + late_ms, **inputs) == Run(nominal_ms, 0)
    assert latest_due(schedule, now_ms=nominal_ms + late_ms, **inputs) == nominal_ms
    assert settle(schedule, ended_ms=nominal_ms + late_ms, **inputs) == nominal_ms + late_ms + interval_ms


@given(schedules, instants_ms, addresses)
def test_an_alarm_never_reaches_the_next_tick(schedule, start_ms, address):
    tick_ms = first_tick(schedule, start_ms)
    shift_ms = offset_ms(schedule, address)
    assert 0 <= shift_ms <= max(0, schedule.stagger_ms - 1)
    assert tick_ms + shift_ms < next_tick(every_tick(schedule), start_ms, tick_ms)


@given(st.sampled_from(["* * * * *", "*/5 * * * *"]), st.sampled_from(ZONES), st.sampled_from(["once", "skip"]))
def test_missed_ticks_are_counted_up_to_a_bound(line, zone, catch_up):
    year_ms = 365 * 86_400_000
    schedule = cron(line, tz=zone, catch_up=catch_up)
    decision = due(schedule, anchor_ms=0, nominal_ms=START_MS, now_ms=START_MS + year_ms, offset_ms=0)
    assert decision.missed == MAX_MISSED
