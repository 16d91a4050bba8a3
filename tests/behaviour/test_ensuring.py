"""Instances that an app declares: created at a start if they are absent, never changed when they exist."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import World, on_each_store

from perdure import (
    App,
    Continuous,
    ContinuousContext,
    Debounce,
    Do,
    Limits,
    Program,
    Task,
    TaskContext,
    every,
    fail,
    program,
    succeed,
)
from perdure.jobs.ensured import MAX_ENSURED
from perdure.programs import sleep
from perdure.testing import Fail, WorkerDied
from perdure.testing import World as PlainWorld
from perdure.values.errors import DefinitionError, EnsureFailed, InvalidInput, StoreUnavailable


def beat(ctx: ContinuousContext[int]) -> Program[None]:
    return ctx.update_state(lambda beats: beats + 1)


@program
def long_beat(ctx: ContinuousContext[int]) -> Do[None]:
    yield from sleep("30 minutes")


@program
def handle(ctx: TaskContext[int], event: int) -> Do[None, str]:
    if event < 0:
        yield from fail("negative")
    yield from ctx.set_state(event)


heartbeat = Continuous("heartbeat", state=int, schedule=every("1 minute"), execute=beat)
slow = Continuous("slow", state=int, schedule=every("1 hour"), execute=long_beat, run_timeout="1 hour", runs=1)
task = Task("task", state=int, event=int, initial=0, on_event=handle)
batch = Debounce("batch", event=int, flush_after="1 hour", execute=lambda ctx: succeed(None))
app: App[None] = App(None).with_jobs(heartbeat, slow, task, batch)


def beating(state: int = 0, id_: str = "main") -> App[None]:
    return app.ensuring(heartbeat, id_, lambda job: job.start(state))


# ---------------------------------------------------------------- a start
@on_each_store
async def test_a_declared_instance_exists_when_requests_are_accepted(world: World) -> None:
    declared = beating().ensuring(task, "t", lambda job: job.send(5)).ensuring(batch, "b", lambda job: job.add(1))
    jobs = await world.open(declared)
    assert await world.run(jobs.handle(task).get_state("t")) == 5
    assert (await world.run(jobs.handle(batch).status("b"))).event_count == 1
    await world.settle()
    assert await world.run(jobs.handle(heartbeat).get_state("main")) == 1


@on_each_store
async def test_an_existing_instance_remains_as_it_is(world: World) -> None:
    """However old, paused, and whatever the declaration says now: its state belongs to the instance."""
    jobs = await world.open(beating().ensuring(task, "t", lambda job: job.send(5)))
    await world.settle()
    await world.run(jobs.handle(heartbeat).pause("main"))
    before = [await world.row(job.address(id_)) for job, id_ in ((heartbeat, "main"), (task, "t"))]
    await world.close()
    await world.open(beating(100).ensuring(task, "t", lambda job: job.send(6)))
    assert [await world.row(job.address(id_)) for job, id_ in ((heartbeat, "main"), (task, "t"))] == before


@on_each_store
async def test_an_instance_outlives_its_declaration(world: World) -> None:
    await world.open(beating())
    await world.close()
    jobs = await world.open(app)
    (listed,) = await world.run(jobs.list(heartbeat))
    assert (listed.address.id, listed.status) == ("main", "scheduled")


@pytest.mark.parametrize("how", ["terminated", "by itself"])
@on_each_store
async def test_a_terminated_instance_returns_at_the_next_start(world: World, how: str) -> None:
    def end(ctx: ContinuousContext[int]) -> Program[None]:
        return ctx.terminate("enough")

    job = Continuous("ends", state=int, schedule=every("1 minute"), execute=end, start_immediately=False)
    declared = App(None).with_jobs(job).ensuring(job, "main", lambda each: each.start(7))
    jobs = await world.open(declared)
    if how == "terminated":
        await world.run(jobs.handle(job).terminate("main"))
    else:
        await world.advance(minutes=1)
    assert await world.run(jobs.handle(job).get_state("main")) is None
    await world.close()
    jobs = await world.open(declared)
    assert await world.run(jobs.handle(job).get_state("main")) == 7


@given(crash_points=st.integers(0, 40), seed=st.integers(0, 1 << 16))
def test_a_start_that_dies_is_completed_by_the_next(crash_points: int, seed: int) -> None:
    """Each event is handled once, wherever the process dies."""
    counter = Task(
        "counter", state=int, event=int, initial=0, on_event=lambda ctx, event: ctx.update_state(event.__add__)
    )
    declared: App[None] = App(None).with_jobs(counter)
    for number in range(3):
        declared = declared.ensuring(counter, f"{number}", lambda each: each.send(1))
    world = PlainWorld(declared, seed=seed, interleaving="operations", at_end="leave")
    world.crash_after(crash_points)
    try:
        world.open()
    except WorkerDied:
        world.open()
    world.cancel_crash()
    world.restart()
    states = [world.run(world.handle(counter).get_state(f"{number}")) for number in range(3)]
    world.leave()
    assert states == [1, 1, 1]


# ---------------------------------------------------------------- waiting
@on_each_store
async def test_a_start_waits_for_no_run(world: World) -> None:
    before = world.now_ms
    jobs = await world.open(app.ensuring(slow, "a", lambda job: job.start(0)))
    assert world.now_ms == before
    assert (await world.run(jobs.handle(slow).status("a"))).status == "running"


@on_each_store
async def test_a_start_does_not_wait_long_for_a_slot(world: World) -> None:
    """Two instances of a job that runs one at a time: the second is created when the first run has ended."""
    declared = app.ensuring(slow, "a", lambda job: job.start(0)).ensuring(slow, "b", lambda job: job.start(0))
    before = world.now_ms
    jobs = await world.open(declared)
    assert world.now_ms - before == 10_000
    assert "declared instances are created later" in [record.message for record in world.world.logs]
    assert len(await world.run(jobs.list(slow))) == 1
    await world.advance(minutes=31)
    assert len(await world.run(jobs.list(slow))) == 2


@program
def slowly(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from sleep("1 second")


@pytest.mark.parametrize(("count", "seconds"), [(32, 1), (33, 2)])
@on_each_store
async def test_a_start_creates_some_at_a_time(world: World, count: int, seconds: int) -> None:
    creating = Task("creating", state=int, event=int, initial=0, on_event=slowly)
    declared: App[None] = App(None).with_jobs(creating)
    for number in range(count):
        declared = declared.ensuring(creating, f"{number}", lambda job: job.send(1))
    before = world.now_ms
    await world.open(declared)
    assert world.now_ms - before == seconds * 1_000


@on_each_store
async def test_a_queue_of_one_is_enough(world: World) -> None:
    small: App[None] = App(None, limits=Limits(max_pending=1, mailbox_size=1)).with_jobs(task)
    for number in range(70):
        small = small.ensuring(task, f"{number}", lambda job: job.send(1))
    jobs = await world.open(small)
    assert len(await world.run(jobs.list(task))) == 70


# ---------------------------------------------------------------- failing
@on_each_store
async def test_a_failing_declaration_stops_the_start_and_says_which(world: World) -> None:
    with pytest.raises(EnsureFailed) as failed:
        await world.open(beating().ensuring(task, "t", lambda job: job.send(-1)))
    assert (failed.value.address, failed.value.action) == ("task:task:t", "send")
    assert repr(failed.value.error) == "Rejected(error='negative')"
    assert "the app declares task:task:t, and its 'send' failed: the job rejected the request" in str(failed.value)


@on_each_store
async def test_after_a_crash_a_failing_declaration_still_stops_the_start(world: World) -> None:
    """Events are then claimed before they are handled: the claim alone creates nothing."""
    await world.open(app)
    await world.crash()
    with pytest.raises(EnsureFailed):
        await world.open(app.ensuring(task, "t", lambda job: job.send(-1)))


def test_a_failing_store_stops_the_start() -> None:
    world = PlainWorld(beating(), at_end="leave")
    world.inject(Fail("store.commit", StoreUnavailable("commit", "the disk is full"), times=9))
    with pytest.raises(EnsureFailed) as failed:
        world.open()
    assert isinstance(failed.value.error, StoreUnavailable)
    world.leave()


def test_a_state_that_is_too_large_stops_the_start() -> None:
    text = Continuous("text", state=str, schedule=every("1 hour"), execute=lambda ctx: succeed(None))
    small: App[None] = App(None, limits=Limits(state_bytes=10)).with_jobs(text)
    world = PlainWorld(small.ensuring(text, "a", lambda job: job.start("x" * 20)), at_end="leave")
    with pytest.raises(EnsureFailed) as failed:
        world.open()
    assert isinstance(failed.value.error, InvalidInput)
    world.leave()


# ---------------------------------------------------------------- declarations
other = Task("task", state=int, event=int, initial=0, on_event=handle)


@pytest.mark.parametrize(
    ("job", "id_", "request_", "says"),
    [
        (other, "a", lambda each: each.send(1), "a definition that it serves: with_jobs(...) first"),
        (task, "", lambda each: each.send(1), "id of ensuring of task:task: expected text of 1 to 512 characters"),
        (task, "a", "alarm", "expected a function that sends one request"),
        (task, "a", lambda _: None, "expected a function that sends one request"),
        (task, "a", lambda each: (each.send(1), each.send(2)), "expected a function that sends one request"),
        (task, "a", lambda each: each.send("text"), "expected a valid event of task:task"),
        (task, "a", lambda each: each.trigger(), "a request that creates an absent instance: send; got 'trigger'"),
        (heartbeat, "a", lambda each: each.terminate(), "a request that creates an absent instance: start"),
        (batch, "a", lambda each: each.flush(), "a request that creates an absent instance: add"),
    ],
)
def test_a_declaration_that_creates_nothing_is_refused(job: Any, id_: str, request_: Any, says: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        app.ensuring(job, id_, request_)
    assert says in str(refused.value)


def test_an_instance_is_declared_once() -> None:
    with pytest.raises(DefinitionError, match="continuous:heartbeat:main twice"):
        beating().ensuring(heartbeat, "main", lambda job: job.start(1))


def test_declarations_are_limited() -> None:
    many = app
    for number in range(MAX_ENSURED):
        many = many.ensuring(task, f"{number}", lambda job: job.send(1))
    with pytest.raises(DefinitionError, match="at most 1,000 instances"):
        many.ensuring(task, "one more", lambda job: job.send(1))


def test_other_services_keep_the_declarations() -> None:
    """A world replaces the services of an app, and a pasted reproduction declares the same instances."""
    with PlainWorld(beating(3), None) as world:
        assert world.run(world.handle(heartbeat).get_state("main")) == 4
        assert ".ensuring(heartbeat, 'main', lambda job: job.start(3))" in world.trace_text()


def test_a_world_with_other_services_declares_the_same_instances() -> None:
    with PlainWorld(beating(), object()) as world:
        assert world.instance(heartbeat, "main") is not None
