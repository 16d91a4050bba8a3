"""When a continuous job runs: section 2 of the behaviour contract, through the engine."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import frozen
from world import START, HasOutside, ProcessDied, Refused, World, on_each_store, say

from perdure import App, Backoff, Continuous, ContinuousContext, Do, Retry, cron, every, program
from perdure.kinds.continuous.context import TICKS
from perdure.programs import sleep
from perdure.values.times import from_ms, to_ms


@frozen
class Plain:
    slow: str = "0 s"


def since_start(instant: datetime | None) -> str:
    return "-" if instant is None else f"{(instant - START).total_seconds():g}"


@program
def note(ctx: ContinuousContext[Plain]) -> Do[None, Refused, HasOutside]:
    """Say when the run came, as which tick, and how many were missed."""
    plain = yield from ctx.state
    now = yield from ctx.now
    yield from say(f"at {since_start(now)} as {since_start(ctx.tick)} missed {ctx.missed}")
    if plain.slow != "0 s":
        yield from sleep(plain.slow)
    yield from say("work")


def job(schedule, *, retry=None, start_immediately=True):
    return Continuous(
        "job", state=Plain, schedule=schedule, execute=note, retry=retry, start_immediately=start_immediately
    )


async def opened(world: World, definition):
    return (await world.open(App(world.outside).with_jobs(definition))).handle(definition)


def runs(world: World) -> list[str]:
    return [word for word in world.outside.heard if word != "work"]


def times(world: World) -> list[str]:
    return [word.split()[1] for word in runs(world)]


# ---------------------------------------------------------------- intervals
@on_each_store
async def test_an_interval_begins_at_the_end_of_the_run(world: World) -> None:
    """`every("30 minutes")`: next run = end of this run + interval (1 min interval, 10 s run → next at +70 s)."""
    jobs = await opened(world, job(every("1 minute")))
    await world.run(jobs.start("a", Plain(slow="10 s")))
    await world.advance(s=150)
    assert runs(world) == ["at 0 as - missed 0", "at 70 as 70 missed 0", "at 140 as 140 missed 0"]


@on_each_store
async def test_a_grid_ticks_on_start_and_whole_intervals(world: World) -> None:
    """`every(…, align="start")`: ticks on start + k·interval."""
    await world.advance(s=7)
    jobs = await opened(world, job(every("1 minute", align="start")))
    await world.run(jobs.start("a", Plain(slow="10 s")))
    await world.advance(s=130)
    assert runs(world) == ["at 7 as - missed 0", "at 67 as 67 missed 0", "at 127 as 127 missed 0"]


@on_each_store
async def test_a_run_that_takes_longer_than_its_grid_runs_the_next_tick_after_it(world: World) -> None:
    """Ticks on start + k·interval: a tick that a run overlaps is missed, and the grid does not move."""
    jobs = await opened(world, job(every("1 minute", align="start")))
    await world.run(jobs.start("a", Plain(slow="90 s")))
    await world.advance(s=200)
    assert times(world) == ["0", "120", "240"]


# ---------------------------------------------------------------- cron
@on_each_store
async def test_cron_means_utc_unless_a_zone_is_passed(world: World) -> None:
    """`cron("0 9 * * 1-5", tz=…)`: five fields, UTC unless a zone is given."""
    jobs = await opened(world, job(cron("0 9 * * 1-5"), start_immediately=False))
    await world.run(jobs.start("a", Plain()))
    thursday, monday = datetime(2026, 1, 1, 9, tzinfo=UTC), datetime(2026, 1, 5, 9, tzinfo=UTC)
    assert (await world.run(jobs.status("a"))).next_run_at == thursday
    world.shift_wall_clock(86_400_000)  # to Friday
    await world.advance(hours=9)
    assert (await world.run(jobs.status("a"))).next_run_at == monday


@on_each_store
async def test_cron_reads_the_clock_of_its_zone(world: World) -> None:
    """`cron("0 9 * * 1-5", tz=…)`."""
    jobs = await opened(world, job(cron("0 9 * * 1-5", tz="Asia/Tokyo"), start_immediately=False))
    await world.run(jobs.start("a", Plain()))
    assert START.hour == 0  # nine o'clock in Tokyo: the tick of that very moment is over
    assert (await world.run(jobs.status("a"))).next_run_at == datetime(2026, 1, 2, tzinfo=UTC)


# The days before New York changes its clocks.
SPRING, AUTUMN = datetime(2026, 3, 7, 12, tzinfo=UTC), datetime(2026, 10, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "day_before", "ticks"),
    [
        # a time that does not exist runs once, at the first instant after the gap
        ("30 2 * * *", SPRING, ["2026-03-08T07:00", "2026-03-09T06:30"]),
        # a wall-clock time that comes twice runs once (its first)
        ("30 1 * * *", AUTUMN, ["2026-11-01T05:30", "2026-11-02T06:30"]),
        # a line whose minute or hour field starts with `*` runs at every real interval, in the repeated hour too
        ("*/30 1 * * *", AUTUMN, ["2026-11-01T05:00", "2026-11-01T05:30", "2026-11-01T06:00", "2026-11-01T06:30"]),
    ],
)
@on_each_store
async def test_the_daylight_saving_laws_hold_through_the_engine(
    world: World, line: str, day_before: datetime, ticks: list[str]
) -> None:
    """Its daylight-saving laws are written down and are properties (`property_tests/values`); the engine keeps them."""
    world.shift_wall_clock(to_ms(day_before, what="test") - world.now_ms)
    jobs = await opened(world, job(cron(line, tz="America/New_York"), start_immediately=False))
    await world.run(jobs.start("a", Plain()))
    found = []
    for _ in ticks:
        due = (await world.run(jobs.status("a"))).next_run_at
        found.append(due.isoformat()[:16])
        world.shift_wall_clock(to_ms(due, what="test") - world.now_ms)
        await world.advance(minutes=1)
    assert found == ticks
    assert len(runs(world)) == len(ticks)


@on_each_store
async def test_the_next_tick_is_in_the_future(world: World) -> None:
    """No day is skipped; the next tick is always in the future."""
    jobs = await opened(world, job(cron("* * * * *")))
    await world.run(jobs.start("a", Plain(slow="150 s")))
    status = await world.run(jobs.status("a"))
    assert status.next_run_at == START + timedelta(minutes=3)


# ---------------------------------------------------------------- ticks that were missed
async def missing(world: World, schedule, *, down_s: int):
    """A job whose first run is over at 0 s, and that no engine serves from then on."""
    definition = job(schedule)
    jobs = await opened(world, definition)
    await world.run(jobs.start("a", Plain()))
    world.outside.heard.clear()
    await world.crash()
    await world.advance(s=down_s)
    return await opened(world, definition)


@pytest.mark.parametrize("schedule", [every("1 minute", align="start"), cron("* * * * *")])
@on_each_store
async def test_missed_ticks_are_run_once_by_default(world: World, schedule) -> None:
    """Ticks missed while nothing ran (grid and cron): `catch_up="once"` (default)."""
    await missing(world, schedule, down_s=310)
    assert runs(world) == ["at 310 as 300 missed 4"]
    await world.advance(s=60)
    assert runs(world)[1:] == ["at 360 as 360 missed 0"]


@pytest.mark.parametrize("schedule", [every, cron])
@on_each_store
async def test_missed_ticks_are_not_run_when_they_are_skipped(world: World, schedule) -> None:
    """`"skip"`: none is run; the counter tells."""
    skipping = (
        every("1 minute", align="start", catch_up="skip") if schedule is every else cron("* * * * *", catch_up="skip")
    )
    await missing(world, skipping, down_s=335)
    assert runs(world) == []
    await world.advance(s=60)
    assert runs(world) == ["at 360 as 360 missed 5"]
    await world.advance(s=30)
    assert runs(world)[1:] == ["at 420 as 420 missed 0"]


@pytest.mark.parametrize("schedule", [every, cron])
@on_each_store
async def test_all_missed_ticks_are_run_one_by_one_up_to_a_limit(world: World, schedule) -> None:
    """`"all"` with a limit, one run per tick, the oldest dropped and counted in `ctx.missed`."""
    all_of_three = (
        every("1 minute", align="start", catch_up="all", catch_up_limit=3)
        if schedule is every
        else cron("* * * * *", catch_up="all", catch_up_limit=3)
    )
    await missing(world, all_of_three, down_s=310)
    assert runs(world) == ["at 310 as 180 missed 2", "at 310 as 240 missed 0", "at 310 as 300 missed 0"]
    await world.advance(s=50)
    assert runs(world)[3:] == ["at 360 as 360 missed 0"]


@on_each_store
async def test_a_failing_run_receives_the_missed_ticks_again(world: World) -> None:
    """The oldest dropped and counted in `ctx.missed`: over retries too, and no longer than for that run."""
    definition = job(every("1 minute", align="start"), retry=Retry(2, Backoff.constant("1 s"), jitter=False))
    jobs = await opened(world, definition)
    await world.run(jobs.start("a", Plain()))
    await world.crash()
    await world.advance(s=190)
    world.outside.heard.clear()
    world.outside.refusals["work"] = 1
    jobs = await opened(world, definition)
    await world.advance(s=51)
    assert runs(world) == ["at 190 as 180 missed 2", "at 191 as 180 missed 2", "at 240 as 240 missed 0"]


# ---------------------------------------------------------------- the last run
@on_each_store
async def test_the_status_says_when_and_how_the_last_run_ended(world: World) -> None:
    """A run ends when it succeeds or is not retried any more: not at its begin, and not at a failed attempt."""
    definition = job(every("1 minute"), retry=Retry(2, Backoff.constant("1 s"), jitter=False), start_immediately=False)
    jobs = await opened(world, definition)

    async def last() -> tuple[str, str | None]:
        status = await world.run(jobs.status("a"))
        return since_start(status.last_run_at), status.last_run

    await world.run(jobs.start("a", Plain(slow="10 s")))
    assert await last() == ("-", None)
    await world.advance(s=65)
    assert (await world.run(jobs.status("a"))).status == "running"
    assert await last() == ("-", None)
    await world.advance(s=5)
    assert await last() == ("70", "succeeded")
    world.outside.refusals["work"] = 2
    await world.advance(s=70)
    assert (await world.run(jobs.status("a"))).status == "retrying"
    assert await last() == ("70", "succeeded")
    await world.advance(s=11)
    assert await last() == ("151", "failed")
    await world.run(jobs.pause("a"))
    await world.crash()
    jobs = await opened(world, definition)
    assert await last() == ("151", "failed")
    await world.run(jobs.resume("a"))
    await world.run(jobs.trigger("a", new_run=True))
    assert await last() == ("161", "succeeded")


@on_each_store
async def test_the_end_of_a_triggered_run_between_two_ticks_is_the_last_one(world: World) -> None:
    """It moves no tick of a fixed interval, and is noted all the same."""
    jobs = await opened(world, job(every("1 minute", align="start")))
    await world.run(jobs.start("a", Plain()))
    await world.advance(s=10)
    before = await world.run(jobs.status("a"))
    await world.run(jobs.trigger("a"))
    after = await world.run(jobs.status("a"))
    assert (since_start(before.last_run_at), since_start(after.last_run_at)) == ("0", "10")
    assert after.next_run_at == before.next_run_at


@on_each_store
async def test_a_row_of_an_earlier_version_has_no_last_run_until_its_next_end(world: World) -> None:
    """Its data has no member for it, as that of an instance before its first end."""
    definition = job(every("1 minute"), start_immediately=False)
    jobs = await opened(world, definition)
    await world.run(jobs.start("a", Plain()))
    data = (await world.row(definition.address("a"))).data
    assert data.endswith('"failed":null}')
    assert TICKS.decode(data.encode()).last is None
    await world.advance(s=60)
    assert (await world.run(jobs.status("a"))).last_run == "succeeded"


# ---------------------------------------------------------------- spread
@on_each_store
async def test_a_spread_shifts_by_the_address_alone_and_adds_up_to_nothing(world: World) -> None:
    """`stagger="5 minutes"`: instances are shifted by an offset that depends on the address alone, never beyond the
    smallest gap; the nominal tick is stored, the shift does not accumulate."""
    definition = job(every("10 minutes", align="start", stagger="5 minutes"))
    jobs = await opened(world, definition)
    offsets = set()
    for name in "abcd":
        await world.run(jobs.start(name, Plain()))
        row = await world.row(definition.address(name))
        offsets.add(row.alarm_ms - TICKS.decode(row.data.encode()).next_ms)
    assert len(offsets) == 4
    assert all(0 <= offset < 300_000 for offset in offsets)
    await world.advance(minutes=35)
    for name in "abcd":
        row = await world.row(definition.address(name))
        assert from_ms(TICKS.decode(row.data.encode()).next_ms) == START + timedelta(minutes=40)
        assert row.alarm_ms - TICKS.decode(row.data.encode()).next_ms in offsets
    assert len(runs(world)) == 4 * 4


@on_each_store
async def test_a_spread_is_the_same_in_every_life(world: World) -> None:
    """An offset that depends on the address alone."""
    definition = job(every("10 minutes", align="start", stagger="5 minutes"))
    alarms = []
    for _ in range(2):
        jobs = await opened(world, definition)
        await world.run(jobs.start("a", Plain()))
        alarms.append((await world.row(definition.address("a"))).alarm_ms - world.now_ms)
        await world.run(jobs.terminate("a"))
        await world.advance(minutes=7)
        await world.crash()
    assert alarms[0] == alarms[1]


# ---------------------------------------------------------------- a deploy that changes the schedule
@pytest.mark.parametrize(
    "deployed",
    [
        every("10 s"),
        every("10 s", align="start"),
        every("10 minutes", align="start", stagger="9 minutes", catch_up="skip"),
        cron("0 9 * * *", catch_up="all", catch_up_limit=2),
    ],
)
@on_each_store
async def test_a_stored_alarm_remains_until_it_fires_when_a_deploy_changes_the_schedule(world: World, deployed) -> None:
    """A stored alarm stands until it fires when a deploy changes the schedule."""
    jobs = await opened(world, job(every("1 minute", align="start")))
    await world.run(jobs.start("a", Plain()))
    await world.close()
    jobs = await opened(world, job(deployed))
    await world.run(jobs.pause("a"))
    await world.run(jobs.resume("a"))
    await world.advance(s=59)
    assert times(world) == ["0"]
    await world.advance(s=1)
    assert times(world) == ["0", "60"]
    due = (await world.run(jobs.status("a"))).next_run_at
    assert due > world.now


# ---------------------------------------------------------------- pausing
CATCH_UPS = ["once", "skip", "all"]


@pytest.mark.parametrize("catch_up", CATCH_UPS)
@on_each_store
async def test_resume_runs_once_if_overdue_and_skips_the_ticks_inside_the_pause(world: World, catch_up) -> None:
    """`resume(id)` restores the alarm (once, if overdue; ticks inside a pause are skipped)."""
    jobs = await opened(world, job(every("1 minute", align="start", catch_up=catch_up)))
    await world.run(jobs.start("a", Plain()))
    await world.advance(s=10)
    await world.run(jobs.pause("a"))
    await world.advance(s=335)
    assert times(world) == ["0"]
    await world.run(jobs.resume("a"))
    assert times(world) == ["0", "345"]
    await world.advance(s=80)
    assert times(world) == ["0", "345", "360", "420"]


@pytest.mark.parametrize("catch_up", CATCH_UPS)
@on_each_store
async def test_resume_before_the_tick_leaves_the_alarm(world: World, catch_up) -> None:
    """`resume(id)` restores the alarm."""
    jobs = await opened(world, job(every("1 minute", align="start", catch_up=catch_up)))
    await world.run(jobs.start("a", Plain()))
    await world.run(jobs.pause("a"))
    await world.advance(s=30)
    await world.run(jobs.resume("a"))
    await world.advance(s=31)
    assert times(world) == ["0", "60"]


@pytest.mark.parametrize("catch_up", CATCH_UPS)
@on_each_store
async def test_a_retry_that_a_pause_held_is_the_one_run_that_is_overdue(world: World, catch_up) -> None:
    """`resume(id)`: once, if overdue; ticks inside a pause are skipped, whichever run was waiting for its retry."""
    schedule = every("1 minute", align="start", catch_up=catch_up)
    jobs = await opened(world, job(schedule, retry=Retry(3, Backoff.constant("5 s"), jitter=False)))
    world.outside.refusals["work"] = 1
    await world.run(jobs.start("a", Plain()))
    await world.run(jobs.pause("a"))
    await world.advance(s=305)
    await world.run(jobs.resume("a"))
    await world.advance(s=56)
    assert times(world) == ["0", "305", "360"]
    world.outside.refusals["work"] = 1
    await world.advance(s=60)  # fails at 420
    await world.run(jobs.pause("a"))
    await world.advance(s=304)
    await world.run(jobs.resume("a"))
    await world.advance(s=60)
    assert times(world)[3:] == ["420", "725", "780"]


@on_each_store
async def test_resume_of_an_interval_runs_once(world: World) -> None:
    """`resume(id)` restores the alarm (once, if overdue)."""
    jobs = await opened(world, job(every("1 minute")))
    await world.run(jobs.start("a", Plain()))
    await world.run(jobs.pause("a"))
    await world.advance(s=335)
    await world.run(jobs.resume("a"))
    await world.advance(s=59)
    assert times(world) == ["0", "335"]
    await world.advance(s=1)
    assert times(world) == ["0", "335", "395"]


@on_each_store
async def test_a_resumption_is_owed_its_run_also_after_a_crash(world: World) -> None:
    """`resume(id)`: once, if overdue, however late the process comes to it."""
    definition = job(every("1 minute", align="start", catch_up="skip"))
    jobs = await opened(world, definition)
    await world.run(jobs.start("a", Plain()))
    await world.run(jobs.pause("a"))
    await world.advance(s=335)
    boundary = world.process.boundary
    boundary.die_at = len(boundary.crash_points) + 1  # the commit of the resumption is written, and nothing after it
    with pytest.raises(ProcessDied):
        await world.run(jobs.resume("a"))
    await world.crash()
    await world.advance(s=100)
    jobs = await opened(world, definition)
    assert times(world) == ["0", "435"]
