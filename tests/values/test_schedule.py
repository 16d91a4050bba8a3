"""Examples of intervals and grids, of late alarms, and of the options that are refused."""

import pytest

from perdure.values.errors import DefinitionError
from perdure.values.schedule import CatchUpAll, Run, Skip, cron, due, every, first_tick, offset_ms, settle

MINUTE_MS = 60_000
GRID = every("10m", align="start")


def fire(schedule, *, nominal=10, now, offset=0):
    """Fire the alarm of a tick; all times in minutes after the instance started."""
    times = {"nominal_ms": nominal * MINUTE_MS, "now_ms": int(now * MINUTE_MS), "offset_ms": offset * MINUTE_MS}
    return due(schedule, anchor_ms=0, **times)


def end(schedule, *, nominal=10, ended, offset=0):
    """End the run of a tick; all times in minutes after the instance started."""
    times = {"nominal_ms": nominal * MINUTE_MS, "ended_ms": int(ended * MINUTE_MS), "offset_ms": offset * MINUTE_MS}
    return settle(schedule, anchor_ms=0, **times) / MINUTE_MS


def run(nominal, missed):
    return Run(nominal * MINUTE_MS, missed)


def test_an_interval_is_measured_from_the_end_of_a_run():
    schedule = every("1 minute")
    assert first_tick(schedule, 0) == MINUTE_MS
    assert settle(schedule, anchor_ms=0, nominal_ms=0, ended_ms=10_000, offset_ms=0) == 70_000


@pytest.mark.parametrize(("ended", "next_tick"), [(8, 20), (10, 20), (19.9, 20), (20, 30), (45, 50)])
def test_a_grid_does_not_move_however_long_a_run_takes(ended, next_tick):
    assert end(GRID, ended=ended) == next_tick


def test_a_grid_returns_the_tick_whose_shifted_alarm_is_still_to_come():
    assert end(GRID, nominal=10, ended=22, offset=5) == 20
    assert end(GRID, nominal=10, ended=25, offset=5) == 30


def test_once_runs_the_latest_missed_tick():
    assert fire(GRID, now=10) == run(10, 0)
    assert fire(GRID, now=19.9) == run(10, 0)
    assert fire(GRID, now=47) == run(40, 3)
    assert fire(GRID, now=22, offset=5) == run(10, 0)


def test_skip_runs_no_tick_that_is_late_by_more_than_its_grace():
    schedule = every("10m", align="start", catch_up="skip")
    assert fire(schedule, now=11) == run(10, 0)
    assert fire(schedule, now=11.01) == Skip(20 * MINUTE_MS, 1)
    assert fire(schedule, now=47) == Skip(50 * MINUTE_MS, 4)
    assert fire(schedule, now=16, offset=5) == run(10, 0)


def test_skip_runs_a_tick_that_is_on_time_though_older_ones_were_missed():
    assert fire(every("10m", align="start", catch_up="skip"), now=40.5) == run(40, 3)


def test_the_grace_of_a_dense_schedule_is_half_its_gap():
    schedule = cron("* * * * *", catch_up="skip")
    assert fire(schedule, now=10.5) == run(10, 0)
    assert fire(schedule, now=10.51) == Skip(11 * MINUTE_MS, 1)


def test_all_runs_the_oldest_tick_and_drops_ticks_over_the_limit():
    schedule = every("10m", align="start", catch_up="all", catch_up_limit=3)
    assert fire(schedule, now=35) == run(10, 0)
    assert fire(schedule, now=47) == run(20, 1)
    assert end(schedule, nominal=20, ended=47) == 30


def test_a_stored_tick_remains_when_the_schedule_has_changed():
    assert fire(GRID, nominal=13, now=13.5) == run(13, 0)
    assert fire(GRID, nominal=13, now=25) == run(20, 1)
    assert end(GRID, nominal=13, ended=13.5) == 20


def test_the_offset_of_an_address_is_the_same_for_ever():
    schedule = every("1h", align="start", stagger="5 minutes")
    assert offset_ms(schedule, "continuous:token-refresher:user-123") == 137_155
    assert offset_ms(schedule, "continuous:token-refresher:ü") == 110_363
    assert offset_ms(GRID, "continuous:token-refresher:user-123") == 0


def test_offsets_fill_the_spread_evenly():
    schedule = every("1h", align="start", stagger="10 ms")
    offsets = [offset_ms(schedule, f"continuous:job:{number}") for number in range(1_000)]
    assert all(70 <= offsets.count(place) <= 130 for place in range(10))


@pytest.mark.parametrize("interval", ["0s", 30, "soon"])
def test_refuses_an_interval_that_is_not_a_duration(interval):
    with pytest.raises(DefinitionError, match="interval of a schedule"):
        every(interval)


def test_refuses_an_unknown_way_to_measure():
    with pytest.raises(DefinitionError, match="'completion' or 'start'; got 'grid'"):
        every("1m", align="grid")


@pytest.mark.parametrize("options", [{"stagger": "1s"}, {"catch_up": "skip"}, {"catch_up": "all"}])
def test_refuses_grid_options_without_a_grid_and_says_how_to_get_one(options):
    with pytest.raises(DefinitionError, match="add align='start'"):
        every("1m", **options)
    assert every("1m", align="start", **options)


@pytest.mark.parametrize("stagger", ["60s", "2m"])
def test_refuses_a_spread_as_long_as_the_interval(stagger):
    with pytest.raises(DefinitionError, match="less than the smallest time between two ticks, 1m"):
        every("1m", align="start", stagger=stagger)


@pytest.mark.parametrize("catch_up", ["every", "never", None, 3, ["once"], CatchUpAll, CatchUpAll(limit=3)])
def test_refuses_an_unknown_way_to_catch_up(catch_up):
    for make in (
        lambda: every("1m", align="start", catch_up=catch_up),
        lambda: cron("0 9 * * *", catch_up=catch_up),
    ):
        with pytest.raises(DefinitionError, match=r"'once', 'skip' or 'all'"):
            make()


@pytest.mark.parametrize("limit", [0, -1, 1_001, 2.0, True, "3"])
def test_refuses_a_limit_out_of_range(limit):
    with pytest.raises(DefinitionError, match="catch_up_limit of a schedule: expected a whole number from 1 to 1000"):
        cron("0 9 * * *", catch_up="all", catch_up_limit=limit)


def test_refuses_a_limit_for_another_way_to_catch_up():
    with pytest.raises(DefinitionError, match="no limit unless catch_up"):
        every("1m", align="start", catch_up="once", catch_up_limit=3)


def test_keeps_a_hundred_missed_ticks_by_default():
    assert cron("0 9 * * *", catch_up="all").catch_up == CatchUpAll(limit=100)


def test_the_text_of_an_interval_says_where_its_alarms_lie():
    assert str(every("90 minutes")) == "every 1h30m from completion"
    assert str(every("1h", align="start", stagger="5m", catch_up="skip")) == "every 1h from start, staggered by 5m"
