"""``docs/how-to/change-schedules-at-run-time.md``: schedules as data fire each instant once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from returns.result import Success

from perdure import (
    App,
    Decision,
    Do,
    Limits,
    Schedules,
    Secret,
    Task,
    Workflow,
    WorkflowContext,
    cron,
    every,
    program,
    succeed,
    tell,
)
from perdure.jobs.suspension import check_readable
from perdure.kinds.schedules import Backfilled, ScheduledMessage, SchedulePut, ScheduleTiming
from perdure.kinds.schedules.entry import ScheduleData
from perdure.kinds.schedules.handler import MAX_FIRED_RANGES, TimingInstants, data_of, has_fired, with_fired
from perdure.rehearsal import FutureQuestion, InstanceTimeline, future_of
from perdure.testing import JobMachine, WorkerDied, World
from perdure.testing.cluster import Cluster
from perdure.values.errors import DefinitionError, InvalidArgument, InvalidInput, UnknownAction
from perdure.values.schedule import CatchUp
from perdure.values.times import from_ms

START = datetime(2026, 1, 1, tzinfo=UTC)


@attrs.frozen
class Make:
    topic: str
    day: datetime | None = None


def note(made: tuple[Make, ...], event: Make) -> Success[Decision[tuple[Make, ...]]]:
    return Success(Decision((*made, event)))


reports = Task("reports", state=tuple[Make, ...], event=Make, initial=(), decide=note)


@program
def count(ctx: WorkflowContext[str]) -> Do[str]:
    return (yield from ctx.state)


counts = Workflow("counts", state=str, run=count)
table = Schedules("table", targets=(reports, counts))
app = App(None).with_jobs(reports, counts, table)


def limited(**limits: Any) -> App[None]:
    return App(None, limits=Limits(**limits)).with_jobs(reports, counts, table)


def made(world: World, id_: str = "eu", job: Task[tuple[Make, ...], Any] = reports) -> tuple[Make, ...]:
    return world.run(world.handle(job).get_state(id_)) or ()


def days(world: World, id_: str = "eu") -> list[datetime | None]:
    return [each.day for each in made(world, id_)]


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2026, 1, day, hour, minute, tzinfo=UTC)


NIGHTLY = cron("0 3 * * *")
MESSAGE = tell(reports, "eu").send(Make("all"))


# ---------------------------------------------------------------- put, change, pause, delete
@pytest.mark.parametrize("store", ["memory://", "sqlite"])
def test_each_instant_sends_one_message(tmp_path: Path, store: str) -> None:
    with World(app, store=tmp_path / "jobs.db" if store == "sqlite" else store) as world:
        handle = world.handle(table)
        done = world.run(handle.put("nightly", NIGHTLY, MESSAGE, tick_field="day"))
        assert done == SchedulePut(created=True, status="scheduled", next_at=at(1, 3))
        world.advance("2 days")
        world.restart()
        world.advance("1 day")
        assert days(world) == [at(1, 3), at(2, 3), at(3, 3)]
        [fired, *_] = [event for event in world.history(table, "nightly") if event.type == "job.noted"]
        assert fired.name == "schedule.fired"
        assert '"2026-01-03T03:00:00Z"' in fired.data
        assert world.run(handle.get_state("nightly")) == ScheduledMessage.of(NIGHTLY, MESSAGE, tick_field="day")
        assert world.run(handle.terminate("nightly")).terminated
        world.advance("3 days")
        assert len(days(world)) == 3


def test_staggered_schedules_fire_apart_from_each_other_with_the_instant_of_all() -> None:
    hourly = every("1 hour", align="start", stagger="30 minutes")
    with World(app) as world:
        handle = world.handle(table)
        ids = [f"s{number}" for number in range(8)]
        puts = [world.run(handle.put(id_, hourly, tell(reports, id_).send(Make("")), tick_field="day")) for id_ in ids]
        alarms = [each.next_at for each in puts if each.next_at is not None]
        assert len(set(alarms)) > 1
        assert all(at(1, 1) <= each < at(1, 1, 30) for each in alarms)
        for id_, alarm in zip(ids, alarms, strict=True):
            assert world.run(handle.status(id_)).next_run_at == alarm
        for moment in sorted(set(alarms)):
            world.advance(moment - world.now)
            assert [days(world, id_) == [at(1, 1)] for id_ in ids] == [alarm <= moment for alarm in alarms]


def test_a_change_of_the_message_keeps_the_instants() -> None:
    with World(app) as world:
        handle = world.handle(table)
        every_hour = every("1 hour", align="start", catch_up="all")
        world.run(handle.put("s", every_hour, MESSAGE, tick_field="day"))
        world.advance("90 minutes")
        changed = world.run(handle.put("s", every_hour, tell(reports, "us").send(Make("us")), tick_field="day"))
        assert changed == SchedulePut(created=False, status="scheduled", next_at=at(1, 2))
        world.advance("1 hour")
        assert (days(world), days(world, "us")) == ([at(1, 1)], [at(1, 2)])


def test_another_schedule_begins_at_the_change() -> None:
    with World(app) as world:
        handle = world.handle(table)
        world.run(handle.put("s", every("1 hour", align="start"), MESSAGE, tick_field="day"))
        world.advance("90 minutes")
        world.run(handle.put("s", every("20 minutes", align="start"), MESSAGE, tick_field="day"))
        world.advance("41 minutes")
        assert days(world) == [at(1, 1), at(1, 1, 50), at(1, 2, 10)]


def test_an_instant_that_was_due_fires_with_the_change() -> None:
    with World(app) as world:
        handle = world.handle(table)
        world.run(handle.put("s", every("1 hour", align="start"), MESSAGE, tick_field="day"))
        world.shift_wall_clock(timedelta(minutes=90))  # no alarm notices that before its next look at the clock
        world.run(handle.put("s", NIGHTLY, tell(reports, "us").send(Make("us")), tick_field="day"))
        world.advance("2 hours")
        assert (days(world), days(world, "us")) == ([at(1, 1)], [at(1, 3)])


@pytest.mark.parametrize("kept_back", ["hold", "pause"])
def test_a_change_fires_nothing_while_the_job_is_held_or_the_schedule_paused(kept_back: str) -> None:
    with World(app) as world:
        handle = world.handle(table)
        world.run(handle.put("s", every("1 hour", align="start"), MESSAGE, tick_field="day"))
        world.run(handle.hold() if kept_back == "hold" else handle.pause("s"))
        world.advance("90 minutes")
        world.run(handle.put("s", NIGHTLY, MESSAGE, tick_field="day"))
        world.settle()
        assert days(world) == []
        world.run(handle.release() if kept_back == "hold" else handle.resume("s"))
        world.advance("2 hours")
        assert days(world) == [at(1, 3)]


def test_a_paused_schedule_stays_paused_and_owes_one_firing() -> None:
    with World(app) as world:
        handle = world.handle(table)
        world.run(handle.put("s", every("1 hour", align="start", catch_up="skip"), MESSAGE, tick_field="day"))
        world.run(handle.pause("s"))
        put = world.run(handle.put("s", every("1 hour", align="start", catch_up="skip"), MESSAGE, tick_field="day"))
        assert put == SchedulePut(created=False, status="paused", next_at=None)
        world.advance("150 minutes")
        assert days(world) == []
        world.run(handle.resume("s"))
        world.advance("1 hour")
        assert days(world) == [at(1, 2), at(1, 3)]


MISSED: dict[CatchUp, list[datetime]] = {
    "once": [at(1, 1), at(1, 4), at(1, 5)],
    "skip": [at(1, 1), at(1, 5)],
    "all": [at(1, hour) for hour in range(1, 6)],
}


@pytest.mark.parametrize("catch_up", MISSED)
def test_missed_instants_follow_the_catch_up(catch_up: CatchUp) -> None:
    with World(app) as world:
        hourly = cron("0 * * * *", catch_up=catch_up)
        world.run(world.handle(table).put("s", hourly, MESSAGE, tick_field="day"))
        world.advance("70 minutes")
        world.crash()
        world.advance("3 hours")
        world.open(app)
        world.advance("1 hour")
        assert days(world) == MISSED[catch_up]


def test_missed_instants_beyond_a_commit_fire_in_the_next_ones() -> None:
    with World(limited(messages_per_turn=3)) as world:
        hourly = cron("0 * * * *", catch_up="all", catch_up_limit=10)
        world.run(world.handle(table).put("s", hourly, MESSAGE, tick_field="day"))
        world.crash()
        world.advance("13 hours")
        world.open()
        world.settle()
        assert days(world) == [at(1, hour) for hour in range(4, 14)]


def test_each_firing_may_start_an_instance_of_its_own() -> None:
    with World(app) as world:
        put = world.handle(table).put("s", NIGHTLY, tell(counts, "eu-{tick}").start("all"))
        world.run(put)
        world.advance("2 days")
        ids = sorted(one.address.id for one in world.instances() if one.address.kind == "workflow")
        assert ids == ["eu-2026-01-01T03:00:00Z", "eu-2026-01-02T03:00:00Z"]


def test_a_workflow_can_put_and_delete_a_schedule() -> None:
    @program
    def plan(ctx: WorkflowContext[str]) -> Do[str]:
        topic = yield from ctx.state
        if topic == "stop":
            yield from tell(table, "s").terminate("not needed")
        else:
            yield from tell(table, "s").put(NIGHTLY, tell(reports, "eu").send(Make(topic)), tick_field="day")
        return topic

    planner = Workflow("planner", state=str, run=plan)
    with World(app.with_jobs(planner)) as world:
        world.run(world.handle(planner).start("a", "daily"))
        world.advance("1 day")
        world.run(world.handle(planner).start("b", "stop"))
        world.advance("1 day")
        assert made(world) == (Make("daily", at(1, 3)),)


# ---------------------------------------------------------------- refused puts
@attrs.frozen
class Login:
    password: Annotated[str, Secret]


logins = Task("logins", state=int, event=Login, initial=0, decide=lambda n, _: Success(Decision(n + 1)))
guarded = Schedules("guarded", targets=(reports, counts, logins))


def form(**changes: Any) -> ScheduledMessage:
    return attrs.evolve(ScheduledMessage.of(NIGHTLY, MESSAGE), **changes)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (form(target="task:others:x"), "expected an instance of task:logins, task:reports, workflow:counts"),
        (form(target="reports"), "target"),
        (form(input={"topic": 3}), "topic"),
        (form(input=None), "needs its input as JSON"),
        (form(input="text", tick_field="day"), "tick_field"),
        (form(tick_field="when"), "when"),
        (form(tick_field="topic"), None),
        (form(action="trigger", input=None), None),
        (form(target="task:reports:" + "x" * 493 + "{tick}"), "1 to 512 characters"),
        (form(target="task:logins:x", input={"password": "p"}), "no secrets"),
        (form(schedule=ScheduleTiming()), "exactly one of cron and every"),
        (form(schedule=ScheduleTiming(cron="0 3 * * *", every="1 h")), "exactly one of cron and every"),
        (form(schedule=ScheduleTiming(every="1 h", tz="Europe/Berlin")), "UTC"),
        (form(schedule=ScheduleTiming(cron="0 3 * *")), "cron"),
        (form(schedule=ScheduleTiming(every="1 h", stagger="1 h")), "stagger"),
    ],
)
def test_a_put_is_checked_with_its_target(message: ScheduledMessage, said: str | None) -> None:
    with World(App(None).with_jobs(reports, counts, logins, guarded)) as world:
        handle = world.handle(guarded)
        if said is None:
            assert world.run(handle.put_message("s", message)).created
            return
        problem = world.error_of(handle.put_message("s", message))
        assert isinstance(problem, InvalidInput)
        assert said in str(problem)
        assert world.instance(guarded, "s") is None


def test_wrong_arguments_have_typed_errors() -> None:
    with World(app) as world:
        handle = world.handle(table)
        assert isinstance(world.error_of(handle.put("s", every("1 hour"), MESSAGE)), InvalidArgument)
        wrong: Any = "0 3 * * *"
        assert isinstance(world.error_of(handle.put("s", wrong, MESSAGE)), InvalidArgument)
        assert isinstance(world.error_of(handle.put("s", NIGHTLY, succeed(None))), InvalidArgument)
        bad: Any = Make(3)  # type: ignore[arg-type] # the mistake under test
        assert isinstance(world.error_of(handle.put("s", NIGHTLY, tell(reports, "eu").send(bad))), InvalidInput)
        assert isinstance(world.error_of(handle.put_message("s", form(action="fly"))), UnknownAction)
    with World(limited(state_bytes=100)) as world:
        assert isinstance(world.error_of(world.handle(table).put("s", NIGHTLY, MESSAGE)), InvalidInput)
    empty: Any = ()
    with pytest.raises(DefinitionError, match="at least one definition"):
        Schedules("none", targets=empty)
    with pytest.raises(DefinitionError, match="a definition"):
        Schedules("none", targets=("reports",))  # type: ignore[arg-type] # the mistake under test


# ---------------------------------------------------------------- backfill
def test_a_backfill_fires_each_instant_that_has_not_fired() -> None:
    with World(app) as world:
        handle = world.handle(table)
        world.run(handle.put("s", NIGHTLY, MESSAGE, tick_field="day"))
        world.advance("2 days")
        world.run(handle.pause("s"))
        world.advance("2 days")
        # Those of the pause are still to come: the latest fires when it ends.
        done = world.run(handle.backfill("s", start=START, end=world.now))
        assert done == Backfilled(fired=0, skipped=4, status="paused")
        world.run(handle.resume("s"))
        world.settle()
        assert days(world) == [at(1, 3), at(2, 3), at(4, 3)]
        assert world.run(handle.backfill("s", start=START, end=world.now)).fired == 1
        world.settle()
        assert sorted(map(str, days(world))) == [str(at(day, 3)) for day in (1, 2, 3, 4)]
        assert world.run(handle.backfill("s", start=START, end=world.now)).fired == 0
        before = datetime(2025, 12, 30, tzinfo=UTC)
        assert world.run(handle.backfill("s", start=before, end=START)).fired == 2
        again = world.run(handle.backfill("s", start=at(1, 3), end=at(2, 3), again=True))
        assert again == Backfilled(fired=1, skipped=0, status="scheduled")
        world.settle()
        assert days(world).count(at(1, 3)) == 2
        [name, *_] = [event.name for event in world.history(table, "s") if event.type == "job.noted"]
        assert name == "schedule.backfilled"


def test_a_backfill_is_bounded_and_keyed() -> None:
    with World(limited(messages_per_turn=24)) as world:
        handle = world.handle(table)
        world.run(handle.put("s", cron("0 * * * *"), MESSAGE, tick_field="day"))
        assert world.run(handle.backfill("none", start=START, end=START)) == Backfilled()
        start = START - timedelta(days=1)
        too_many = world.error_of(handle.backfill("s", start=start - timedelta(hours=1), end=START))
        assert isinstance(too_many, InvalidInput)
        assert "at most 24 instants" in str(too_many)
        future = world.error_of(handle.backfill("s", start=start, end=START + timedelta(seconds=1)))
        assert isinstance(future, InvalidInput)
        first = world.run(handle.backfill("s", start=start, end=START, again=True, idempotency_key="k"))
        assert first == Backfilled(fired=24, skipped=0, status="scheduled")
        assert world.run(handle.backfill("s", start=start, end=START, again=True, idempotency_key="k")) == first
        world.settle()
        assert days(world) == [start + timedelta(hours=hour) for hour in range(24)]
        naive: Any = datetime(2026, 1, 1)  # noqa: DTZ001 - the mistake under test
        assert isinstance(world.error_of(handle.backfill("s", start=naive, end=naive)), InvalidInput)


def test_a_backfill_of_neighbouring_instants_is_one_range() -> None:
    with World(app) as world:
        handle = world.handle(table)
        world.run(handle.put("s", cron("*/5 * * * *", tz="Europe/Berlin"), MESSAGE))
        start = START - timedelta(minutes=5 * 200)
        done = world.run(handle.backfill("s", start=start, end=START))
        assert done.fired == 200
        row = world.instance(table, "s")
        assert row is not None
        assert len(data_of(row).fired) == 1
        assert world.run(handle.backfill("s", start=start, end=START)).skipped == 200


HOURLY = TimingInstants(ScheduleTiming(every="1h"), 0)
EACH_MINUTE = TimingInstants(ScheduleTiming(every="1m"), 0)
HOUR_MS = 3_600_000


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 3)), max_size=60))
@example([(hour, 0) for hour in range(0, 99, 2)])
@example([(hour, 0) for hour in (*range(10, 99, 2), 0)])  # an old range comes after newer ones were dropped
@example([(5, 1), (3, 0), (4, 2), (5, 0)])
def test_the_instants_that_fired_are_a_few_ranges(runs: list[tuple[int, int]]) -> None:
    data = ScheduleData(anchor_ms=0, next_ms=10**9)
    fired: set[int] = set()
    for first, more in runs:
        data = with_fired(data, HOURLY, first * HOUR_MS, (first + more) * HOUR_MS)
        fired |= set(range(first, first + more + 1))
    assert len(data.fired) <= MAX_FIRED_RANGES
    known = -1 if data.forgotten_ms is None else data.forgotten_ms // HOUR_MS
    for hour in range(104):
        expected = hour <= known or hour in fired
        assert has_fired(data, hour * HOUR_MS, HOURLY) == expected
        assert has_fired(data, hour * HOUR_MS, EACH_MINUTE) == expected
        assert known >= hour or not has_fired(data, hour * HOUR_MS + 60_000, EACH_MINUTE)


def test_neighbouring_instants_are_one_range() -> None:
    data = ScheduleData(anchor_ms=0, next_ms=10**9)
    for hour in (2, 1, 3, 5, 4):
        data = with_fired(data, HOURLY, hour * HOUR_MS, hour * HOUR_MS)
    assert [(each.first_ms, each.last_ms) for each in data.fired] == [(HOUR_MS, 5 * HOUR_MS)]


# ---------------------------------------------------------------- laws
@settings(max_examples=25)
@given(
    st.lists(st.sampled_from(["put", "faster", "pause", "resume", "wait", "backfill"]), max_size=8),
    st.integers(1, 90),
    st.sampled_from(["memory://", "sqlite"]),
)
@example(["put", "wait", "wait", "faster", "wait"], 14, "memory://")
@example(["put", "wait", "pause", "wait", "resume", "backfill"], 20, "sqlite")
def test_a_crash_anywhere_fires_no_instant_twice(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[str], die_at: int, store: str
) -> None:
    place: Any = tmp_path_factory.mktemp("schedules") / "jobs.db" if store == "sqlite" else store
    with World(app, store=place) as world:
        world.crash_after(die_at)
        try:
            operate(world, drawn)
            world.crash()
        except WorkerDied:
            pass
        world.open(app)
        operate(world, drawn)
        world.advance("2 hours")
        fired = days(world)
        assert len(set(fired)) == len(fired)


def operate(world: World, drawn: list[str]) -> None:
    handle = world.handle(table)
    timings = {"put": cron("0 * * * *", catch_up="all"), "faster": cron("*/20 * * * *", catch_up="all")}
    for step in drawn:
        match step:
            case "put" | "faster":
                world.run(handle.put("s", timings[step], MESSAGE, tick_field="day"))
            case "pause":
                world.run(handle.pause("s"))
            case "resume":
                world.run(handle.resume("s"))
            case "backfill":
                world.run(handle.backfill("s", start=START, end=world.now))
            case _:
                world.advance("50 minutes")


@settings(max_examples=10)
@given(st.integers(0, 1_000), st.sampled_from(["none", "first", "second", "freeze"]))
@example(1, "first")
@example(2, "freeze")
def test_engines_of_a_shared_store_fire_each_instant_once(seed: int, fault: str) -> None:
    with Cluster(app, seed=seed, lease="4 s") as cluster:
        engines = {"first": cluster.open(), "second": cluster.open()}
        often = every("1 s", align="start", catch_up="all")
        cluster.run_on(engines["first"], lambda client: client.handle(table).put("s", often, MESSAGE, tick_field="day"))
        cluster.advance("3 s")
        if fault in engines:
            engines[fault].crash()
        elif fault == "freeze":
            engines["first"].freeze("7 s")
        cluster.advance("12 s")
        left = engines["first" if fault == "second" else "second"]
        found = cluster.run_on(left, lambda client: client.handle(reports).get_state("eu")) or ()
        fired = [each.day for each in found if each.day is not None]
        assert len(fired) >= 8
        assert fired == [fired[0] + timedelta(seconds=second) for second in range(len(fired))]


PUTS = st.sampled_from(
    [
        ScheduledMessage.of(cron("*/5 * * * *", catch_up="all"), MESSAGE, tick_field="day"),
        ScheduledMessage.of(cron("*/5 * * * *", catch_up="skip"), MESSAGE, tick_field="day"),
        ScheduledMessage.of(every("7 minutes", align="start"), tell(reports, "{tick}").send(Make("each"))),
    ]
)
TestSchedules = JobMachine(job=table, beside=(reports,), services=lambda: None, inputs={"put": PUTS}).TestCase
TestSchedules.settings = settings(max_examples=6, stateful_step_count=12, deadline=None)
TestOwnSamples = JobMachine(job=table, beside=(reports,), services=lambda: None).TestCase
TestOwnSamples.settings = settings(max_examples=3, stateful_step_count=8, deadline=None)


# ---------------------------------------------------------------- deploys
@attrs.frozen
class NewMake:
    topic: str
    format: str
    day: datetime | None = None


def note_new(made: tuple[Make, ...], event: NewMake) -> Success[Decision[tuple[Make, ...]]]:
    return Success(Decision((*made, Make(f"{event.topic} as {event.format}", event.day))))


new_reports = Task("reports", state=tuple[Make, ...], event=NewMake, initial=(), decide=note_new)
new_table = Schedules("table", targets=(new_reports, counts))
new_app = App(None).with_jobs(new_reports, counts, new_table)


def test_a_message_that_a_deploy_cannot_read_waits_for_code_that_can() -> None:
    with World(app) as world:
        world.run(world.handle(table).put("s", NIGHTLY, MESSAGE, tick_field="day"))
        world.restart(new_app)
        world.advance("2 days")
        status = world.run(world.handle(new_table).status("s"))
        assert status.left is not None
        assert "format" in status.left.message
        row = world.instance(new_table, "s")
        assert row is not None
        with pytest.raises(InvalidInput, match="format"):  # so that `perdure check` says it before the deploy
            check_readable(new_table, row)
        world.restart(app)
        world.settle()
        assert days(world) == [at(2, 3)]  # the latest that was missed
        world.restart(new_app)
        world.advance("1 day")
        pdf = tell(new_reports, "eu").send(NewMake("all", "pdf"))
        world.run(world.handle(new_table).put("s", cron("0 4 * * *"), pdf, tick_field="day"))
        put = world.run(world.handle(new_table).put("s", NIGHTLY, pdf, tick_field="day"))
        assert put.status == "scheduled"
        world.advance("1 day")
        assert made(world, job=new_reports)[-1] == Make("all as pdf", at(4, 3))


def test_engines_with_both_versions_fire_all_that_they_can_read() -> None:
    with Cluster(app, seed=3, lease="4 s") as cluster:
        old, new = cluster.open(), cluster.open(app=new_app)
        often = every("1 s", align="start", catch_up="all")
        pdf = tell(new_reports, "eu").send(NewMake("new", "pdf"))
        cluster.run_on(old, lambda client: client.handle(table).put("a", often, MESSAGE, tick_field="day"))
        cluster.run_on(new, lambda client: client.handle(new_table).put("b", often, pdf, tick_field="day"))
        cluster.advance("10 s")
        found = cluster.run_on(old, lambda client: client.handle(reports).get_state("eu")) or ()
        for topic in ("all", "new as pdf"):
            fired = [each.day for each in found if each.topic == topic]
            assert len(fired) >= 7
            assert len(set(fired)) == len(fired)


# ---------------------------------------------------------------- tools
def test_tools_show_the_next_firings() -> None:
    with World(app) as world:
        world.run(world.handle(table).put("s", NIGHTLY, MESSAGE))
        row = world.instance(table, "s")
        assert row is not None
        fields = {field.label: field.value for field in table.display_fields_of(row)}
        assert fields["schedule"] == "cron 0 3 * * * in UTC"
        assert fields["sends"] == "send to task:reports:eu"
        assert (fields["next firing"], fields["firing 5"]) == (at(1, 3), at(5, 3))
        labels = {field.label: field.value for field in table.display_fields()}
        assert labels["sends to"] == "task:reports, workflow:counts"


def test_the_future_shows_the_next_firings(tmp_path: Path) -> None:
    with World(app, store=tmp_path / "jobs.db") as world:
        world.run(world.handle(table).put("s", NIGHTLY, MESSAGE))

        async def ask() -> InstanceTimeline:
            return await future_of(world.jobs, table, "s", FutureQuestion(lasting="3 days"))

        timeline = world.run(ask())
        sent = [each for each in timeline.entries if each.what == "message"]
        assert [from_ms(each.at_ms) for each in sent] == [at(1, 3), at(2, 3), at(3, 3)]
        assert {each.text for each in sent} == {'send to task:reports:eu  {"topic":"all","day":null}'}


def test_tools_put_a_schedule_by_name() -> None:
    with World(app) as world:
        named = world.jobs.handle_by_name("schedule", "table")
        text = (
            '{"schedule": {"cron": "0 3 * * *", "tz": "Europe/Berlin"}, "target": "task:reports:eu", '
            '"action": "send", "input": {"topic": "all"}, "tick_field": "day"}'
        )
        answer = world.run(named.call("put", "s", text))
        assert answer == {
            "type": "SchedulePut",
            "created": True,
            "status": "scheduled",
            "next_at": "2026-01-01T02:00:00+00:00",
        }
        world.advance("1 day")
        span = '{"start": "2025-12-30T00:00:00Z", "end": "2026-01-01T00:00:00Z"}'
        assert world.run(named.call("backfill", "s", span))["fired"] == 2
        world.settle()
        assert len(days(world)) == 3
