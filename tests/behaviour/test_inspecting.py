"""``reference/behaviour.md`` 6 (`list`, `history`) and 7 (the log)."""

from datetime import timedelta
from typing import Any

import pytest
from machine import (
    Add,
    Break,
    End,
    Event,
    HasOutside,
    OnAlarm,
    Refuse,
    Refused,
    Say,
    Steps,
    Tell,
    Total,
    app,
    at,
    execute,
    machine,
    machine_with,
    on_event,
    steps,
)
from returns.result import Success
from world import World, on_each_store

from perdure import Retry, Task
from perdure.values.address import Address
from perdure.values.errors import InvalidArgument
from perdure.values.event import JobFailed, JobStarted, TaskScheduled
from perdure.values.transition import Put

other = Task("other", state=Total, event=Steps, initial=Total(), on_event=lambda _, __: Success(None))


def named(name: str) -> Task[Total, Event, Refused, HasOutside]:
    """Define the machine under another name."""
    return Task(name, state=Total, event=Event, initial=Total(), on_event=on_event, execute=execute)


async def ids(world: World, **query: Any) -> list[str]:
    return [entry.address.id for entry in await world.run(world.jobs.list(**query))]


# ---------------------------------------------------------------- list
@on_each_store
async def test_list_finds_by_job_status_prefix_and_due_time(world: World) -> None:
    """`list(…)` finds instances by job, status, id prefix and due time, paged."""
    jobs = await world.open(app(world.outside, machine, other))
    for number, after_ms in enumerate((10_000, 20_000, 30_000)):
        await world.run(jobs.handle(machine).send(f"m{number}", OnAlarm(after_ms)))
    await world.run(jobs.handle(machine).send("x_%", steps()))
    await world.run(jobs.handle(other).send("m9", steps()))
    await world.run(jobs.handle(machine).pause("m2"))

    async def of_machine(**query: Any) -> list[str]:
        return [entry.address.id for entry in await world.run(jobs.list(machine, **query))]

    assert await ids(world) == ["m0", "m1", "m2", "x_%", "m9"]
    assert await of_machine() == ["m0", "m1", "m2", "x_%"]
    assert await of_machine(status="scheduled") == ["m0", "m1"]
    assert await of_machine(status="paused") == ["m2"]
    assert await of_machine(id_prefix="m") == ["m0", "m1", "m2"]
    assert await of_machine(id_prefix="x_") == ["x_%"]
    assert await of_machine(id_prefix="x%") == []
    assert await of_machine(due_before=world.now + timedelta(seconds=20)) == ["m0"]
    assert await of_machine(status="scheduled", due_before=world.now + timedelta(seconds=21)) == ["m0", "m1"]


@on_each_store
async def test_list_pages_by_address(world: World) -> None:
    """…paged."""
    jobs = await world.open(app(world.outside))
    await world.all(*(jobs.handle(machine).send(f"{number:02}", steps()) for number in range(10)))
    found: list[str] = []
    after: Address | None = None
    while page := await world.run(jobs.list(machine, limit=4, after=after)):
        found += [entry.address.id for entry in page]
        assert len(page) <= 4
        after = page[-1].address
    assert found == [f"{number:02}" for number in range(10)]


@on_each_store
async def test_each_status_lists_the_instances_that_have_it(world: World) -> None:
    """An instance whose job is not served is `orphaned` and nothing else, on every page of every list."""
    everyone = [machine, *(named(name) for name in ("aaa", "other", "zzz"))]
    jobs = await world.open(app(world.outside, *everyone))
    for job in everyone:
        await world.all(*(jobs.handle(job).send(f"{number}", steps()) for number in range(3)))
        await world.run(jobs.handle(job).send("9", OnAlarm(10**9)))
    await world.close()
    jobs = await world.open(app(world.outside, machine, everyone[2]))
    every = await world.run(jobs.list())
    assert {entry.status for entry in every} == {"idle", "scheduled", "orphaned"}
    for status in ("idle", "scheduled", "orphaned", "parked"):
        found: list[Any] = []
        while page := await world.run(jobs.list(status=status, limit=2, after=found[-1].address if found else None)):
            assert len(page) <= 2
            found += page
        assert found == [entry for entry in every if entry.status == status]
        for job in everyone:
            own = await world.run(jobs.list(job, status=status))
            assert own.instances == tuple(entry for entry in found if entry.address.name == job.name)
    prefixed = await world.run(jobs.list(status="orphaned", id_prefix="9", due_before=world.now + timedelta(days=99)))
    assert [str(entry.address) for entry in prefixed] == ["task:aaa:9", "task:zzz:9"]


@on_each_store
async def test_a_listed_instance_equals_its_status(world: World) -> None:
    jobs = await world.open(app(world.outside))
    await world.run(jobs.handle(machine).send("a", OnAlarm(10_000)))
    (entry,) = await world.run(jobs.list())
    assert (entry.address, entry.status) == (at("a"), "scheduled")
    assert entry.report == await world.run(jobs.handle(machine).status("a"))


# ---------------------------------------------------------------- history
@on_each_store
async def test_history_returns_the_last_events_and_survives_the_purge(world: World) -> None:
    """`history(id)` returns the last events of an address; it survives the purge until retention."""
    jobs = await world.open(app(world.outside, history_retention="3600000 ms"))
    handle = jobs.handle(machine)
    await world.run(handle.send("a", OnAlarm(1_000)))
    await world.advance(s=1)
    await world.run(handle.terminate("a", "enough"))
    await world.run(handle.send("b", steps()))
    newest = await world.run(jobs.history(machine, "a"))
    assert [entry.event.type for entry in newest] == ["job.terminated", "job.executed", "task.scheduled", "job.started"]
    first = await world.run(jobs.history(machine, "a", limit=3))
    rest = await world.run(jobs.history(machine, "a", before=first[-1].sequence))
    assert (*first, *rest) == newest
    await world.advance(hours=2)
    assert await world.run(jobs.history(machine, "a")) == ()


@on_each_store
async def test_the_log_keeps_no_more_than_its_limit(world: World) -> None:
    """Retention by age and size."""
    jobs = await world.open(app(world.outside, history_events=5))
    for _ in range(5):
        await world.run(jobs.handle(machine).send("a", steps()))
        await world.run(jobs.handle(machine).terminate("a"))
    assert len(await world.run(jobs.history(machine, "a"))) == 10
    await world.advance(minutes=11)
    assert len(await world.run(jobs.history(machine, "a"))) == 5


@pytest.mark.parametrize("limits", [{"history_events": 0}, {"history_retention": "0 ms"}])
@on_each_store
async def test_without_history_nothing_is_written_to_the_log(world: World, limits: dict[str, Any]) -> None:
    """With no sink and no history nothing is written; failures are logged all the same."""
    job = machine_with(retry=Retry(max_attempts=1))
    jobs = (await world.open(app(world.outside, job, **limits))).handle(job)
    await world.run(jobs.send("a", OnAlarm(1_000, (Say("x"), Break("boom")))))
    await world.run(jobs.send("b", steps()))
    await world.attempt(jobs.send("b", steps(Break("bang"))))
    await world.advance(s=1)
    assert (await world.run(jobs.status("a"))).status == "parked"
    await world.run(jobs.resume("a"))
    await world.run(jobs.pause("b"))
    await world.run(jobs.terminate("b"))
    assert await world.inspect(lambda store: store.events(0, 9)) == ()
    assert all(not transition.events for transition in world.commits)
    assert [record.message for record in world.world.logs if record.level == "error"] == [
        "run failed",
        "instance parked",
        "instance parked",
    ]


# ---------------------------------------------------------------- events
@on_each_store
async def test_every_event_carries_the_facts(world: World) -> None:
    """Each a frozen class with event id (UUIDv7), time, kind, job, id, run count, attempt, duration and own fields
    (the real error with its traceback; failing runs are reported)."""
    job = machine_with(retry=Retry(max_attempts=1, on_exhausted="purge"))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    begun_ms = world.now_ms
    await world.run(jobs.send("a", OnAlarm(1_000, (Say("x"), Break("boom")))))
    await world.advance(s=1)
    events = await world.history(at("a"))
    assert [event.type for event in events] == [
        "job.started",
        "task.scheduled",
        "job.failed",
        "job.retry_exhausted",
        "job.terminated",
    ]
    assert [event.run_count for event in events] == [0, 0, 1, 1, 1]
    assert [event.at_ms for event in events] == [begun_ms] * 2 + [begun_ms + 1_000] * 3
    assert {event.address for event in events} == {"task:machine:a"}
    assert all(event.event_id[14] == "7" for event in events)
    ordered = [event.event_id for event in events]
    assert ordered == sorted(set(ordered))
    failed = events[2]
    assert (failed.hook, failed.attempt, failed.delivery, failed.retry_at_ms) == ("execute", 1, 1, None)
    assert (failed.error.form, failed.error.error_type, failed.error.message) == ("defect", "RuntimeError", "boom")
    assert "raise cause" in failed.error.traceback


@on_each_store
async def test_job_executed_comes_only_after_its_state_is_safe(world: World) -> None:
    """`job.executed` only after its state is safe: it is written with it."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (Add(), Say("x")))))
    await world.advance(s=1)
    (ended,) = [
        transition for transition in world.commits if any(event.type == "job.executed" for event in transition.events)
    ]
    assert isinstance(ended.write, Put)
    assert '"total":1' in ended.write.instance.state
    (executed,) = [event for event in ended.events if event.type == "job.executed"]
    assert (executed.cause, executed.attempt, executed.delivery, executed.duration_ms) == ("alarm", 1, 1, 0)  # type: ignore[union-attr]


@on_each_store
async def test_user_state_is_not_in_events(world: World) -> None:
    """User state is in events only if the definition says so."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(1_000, (Add(7_777_777), Tell("b"), End("bye")))))
    await world.advance(s=1)
    for id_ in "ab":
        for event in await world.history(at(id_)):
            assert "7777777" not in repr(event)


@on_each_store
async def test_nothing_happens_without_a_line_in_the_log(world: World) -> None:
    """The vocabulary, as far as tasks go: every one of these events is met."""
    job = machine_with(retry=Retry(max_attempts=1))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    await world.run(jobs.send("a", OnAlarm(1_000, (Say("x"),))))
    world.suspension("x")
    await world.advance(s=1)
    await world.crash()
    world.outside.held.clear()
    jobs = (await world.open(app(world.outside, job))).handle(job)
    world.outside.refusals["x"] = 1
    await world.run(jobs.pause("a"))
    await world.run(jobs.resume("a"))
    await world.run(jobs.trigger("a"))
    await world.run(jobs.resume("a"))
    await world.run(jobs.send("a", steps(Tell("b", (Refuse("no"),)))))
    await world.run(jobs.terminate("a"))
    assert set(await world.happened(at("a"))) == {
        "job.started",
        "task.scheduled",
        "job.recovered",
        "job.executed",
        "job.paused",
        "job.resumed",
        "job.failed",
        "job.retry_exhausted",
        "job.parked",
        "message.rejected",
        "job.terminated",
    }


@pytest.mark.parametrize("limit", [0, -5, 10**9])
@on_each_store
async def test_a_page_has_a_bound(world: World, limit: int) -> None:
    """A limit on every read: one that is out of bounds is refused, not corrected."""
    jobs = await world.open(app(world.outside))
    assert isinstance(await world.error_of(jobs.list(limit=limit)), InvalidArgument)
    assert isinstance(await world.error_of(jobs.history(machine, "a", limit=limit)), InvalidArgument)
    assert isinstance(await world.error_of(jobs.dead_letters(limit=limit)), InvalidArgument)


@on_each_store
async def test_an_event_returns_its_instants_as_a_caller_receives_them(world: World) -> None:
    """One form each: an event and an answer that name one instant return equal aware datetimes, by the same name."""
    job = machine_with(retry=Retry(max_attempts=2))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    sent = await world.run(jobs.send("a", OnAlarm(1_000, (Say("x"), Break("boom")))))
    begun = world.now
    await world.advance(s=1)
    due = (await world.run(jobs.status("a"))).next_run_at
    started, scheduled, failed = [entry.event for entry in reversed(await world.run(world.jobs.history(job, "a")))]
    assert isinstance(started, JobStarted)
    assert isinstance(scheduled, TaskScheduled)
    assert isinstance(failed, JobFailed)
    assert (started.at, scheduled.at, failed.at) == (begun, begun, begun + timedelta(seconds=1))
    assert scheduled.scheduled_at == sent.scheduled_at
    assert (failed.retry_at, failed.duration) == (due, timedelta())
