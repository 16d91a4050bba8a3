"""Batches while one is flushed, or waits for its retry: section 3 of the behaviour contract."""

import pytest
from mailbag import Pile, add, at, flushes, mailbag, opened, run_ids
from world import ProcessDied, World, on_each_store

from perdure.values.answer import Cleared, Terminated
from perdure.values.outcome import Completed, Flushed, Retrying, Running, SelfTerminated
from perdure.values.status import Defect


# ---------------------------------------------------------------- while a flush runs
@on_each_store
async def test_events_that_come_during_a_flush_go_into_the_next_batch(world: World) -> None:
    """The flush's claim moves the batch aside, frozen; `add`s meanwhile commit at once to the next batch with its own
    timer; the next batch flushes after the first is settled."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.suspension("deliver")
    await world.advance(s=5)
    await world.advance(s=1)
    added = await add(world, jobs, "y")
    assert (added.created, added.event_count, added.will_flush_at) == (True, 1, at(11))
    status = await world.run(jobs.status("a"))
    assert (status.status, status.event_count, status.started_at) == ("running", 1, at(6))
    assert status.will_flush_at == at(11)
    assert await world.run(jobs.get_state("a")) == Pile(("y",))
    await world.advance(s=20)  # its own timer is over, and the first batch is not settled
    assert flushes(world) == ["x (1, flush_after) run 1.1.1"]
    world.release("deliver")
    await world.settle()
    assert flushes(world) == ["x (1, flush_after) run 1.1.1", "y (1, flush_after) run 2.1.1"]
    assert await world.row(jobs.definition.address("a")) is None


@on_each_store
async def test_an_instance_counts_its_events_over_all_its_batches(world: World) -> None:
    """The count of a batch starts again with the next one; the row of the instance counts all accepted events."""
    jobs = await opened(world)
    await add(world, jobs, "x", "y")
    world.suspension("deliver")
    await world.advance(s=5)
    assert (await add(world, jobs, "z")).event_count == 1
    row = await world.row(jobs.definition.address("a"))
    assert row.event_count == 3


@on_each_store
async def test_messages_of_a_flush_are_sent_also_when_the_next_batch_collects_already(world: World) -> None:
    """Messages leave with the commit of the run, whatever else the instance holds by then."""
    jobs = await opened(world)
    await add(world, jobs, "echo")
    world.suspension("deliver")
    await world.advance(s=5)
    await add(world, jobs, "y")
    world.release("deliver")
    await world.settle()
    assert await world.run(jobs.get_state("a")) == Pile(("y", "echoed"))


@on_each_store
async def test_the_next_batch_waits_for_its_own_timer(world: World) -> None:
    """The next batch with its own timer flushes after the first is settled; the instance stands while one is left."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.suspension("deliver")
    await world.advance(s=5)
    await add(world, jobs, "y")
    world.release("deliver")
    await world.settle()
    status = await world.run(jobs.status("a"))
    assert (status.status, status.will_flush_at, status.next_run_at) == ("scheduled", at(10), at(10))
    await world.advance(s=5)
    assert flushes(world)[1:] == ["y (1, flush_after) run 2.1.1"]


@on_each_store
async def test_a_full_next_batch_flushes_as_soon_as_the_first_is_settled(world: World) -> None:
    """The next batch flushes after the first is settled, with its own reason."""
    jobs = await opened(world, mailbag(max_events=2))
    await add(world, jobs, "x")
    world.suspension("deliver")
    await world.advance(s=5)
    await add(world, jobs, "y", "z", "w")
    assert len(flushes(world)) == 1
    world.release("deliver")
    await world.settle()
    assert flushes(world)[1:] == ["y,z,w (3, max_events) run 2.1.1"]


@on_each_store
async def test_flush_during_a_flush_waits_for_it_and_flushes_the_next_batch(world: World) -> None:
    """`flush(id)`: runs now, reason `manual`; a flush in progress is waited for first."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.suspension("deliver")
    first = world.start(jobs.flush("a"))
    await world.settle()
    await add(world, jobs, "y")
    second = world.start(jobs.flush("a"))
    await world.settle()
    third = world.start(jobs.flush("a"))
    await world.settle()
    assert not second.done()
    world.release("deliver")
    await world.settle()
    assert first.result().unwrap().outcome == second.result().unwrap().outcome == Completed()
    assert third.result().unwrap() == Flushed(flushed=False, reason="empty", outcome=None)
    assert flushes(world) == ["x (1, manual) run 1.1.1", "y (1, manual) run 2.1.1"]


@on_each_store
async def test_flush_need_not_wait_for_the_run(world: World) -> None:
    """`wait=False` answers after the claim."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.suspension("deliver")
    assert (await world.run(jobs.flush("a", wait_for="start"))).outcome == Running()
    world.release("deliver")
    await world.settle()
    assert await world.row(jobs.definition.address("a")) is None


@on_each_store
async def test_clear_leaves_the_batch_that_is_being_flushed(world: World) -> None:
    """`clear(id)`: discards the batch without running; says how many."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.suspension("deliver")
    await world.advance(s=5)
    assert await world.run(jobs.clear("a")) == Cleared(cleared=False, discarded=0)
    await add(world, jobs, "y", "z")
    assert await world.run(jobs.clear("a")) == Cleared(cleared=True, discarded=2)
    world.release("deliver")
    await world.advance(s=20)
    assert flushes(world) == ["x (1, flush_after) run 1.1.1"]
    assert await world.happened(jobs.definition.address("a")) == [
        "job.started",
        "debounce.started",
        "debounce.started",
        "job.executed",
        "debounce.flushed",
    ]


@on_each_store
async def test_a_flush_ends_at_its_time_limit_also_when_events_came_meanwhile(world: World) -> None:
    """Every definition has `run_timeout`: then the program is cancelled and the run fails as `EffectTimeout`."""
    jobs = await opened(world, mailbag(run_timeout="10 s"))
    await add(world, jobs, "x")
    world.suspension("deliver")
    flush = world.start(jobs.flush("a"))
    await world.advance(s=2)
    await add(world, jobs, "y", "ring")
    await world.advance(s=8)
    outcome = flush.result().unwrap().outcome
    assert isinstance(outcome, Retrying)
    assert isinstance(outcome.error, Defect)
    assert outcome.error.error_type == "RunTimeout"
    assert (outcome.at, (await world.run(jobs.status("a"))).event_count) == (at(30), 2)


# ---------------------------------------------------------------- ending during a flush
@on_each_store
async def test_terminate_during_a_flush_waits_for_it(world: World) -> None:
    """During a run `terminate` goes to the head of the queue."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.suspension("deliver")
    await world.advance(s=5)
    ended = world.start(jobs.terminate("a", "why"))
    await world.settle()
    await add(world, jobs, "y")
    assert not ended.done()
    world.release("deliver")
    await world.advance(s=20)
    assert ended.result().unwrap() == Terminated(terminated=True, reason="why")
    assert flushes(world) == ["x (1, flush_after) run 1.1.1"]
    assert len(run_ids(world)) == 1


@on_each_store
async def test_interrupt_cancels_the_flush_also_when_events_came_meanwhile(world: World) -> None:
    """`interrupt=True` cancels the run first."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.suspension("deliver")
    flush = world.start(jobs.flush("a"))
    await world.settle()
    await add(world, jobs, "y")
    assert (await world.run(jobs.terminate("a", "why", interrupt=True))).terminated
    assert flush.result().unwrap().outcome == SelfTerminated("interrupted")
    assert await world.row(jobs.definition.address("a")) is None
    world.release("deliver")
    await world.advance(s=20)
    assert run_ids(world) == []
    assert (await add(world, jobs, "z")).event_count == 1


@on_each_store
async def test_a_shutdown_releases_the_flush_also_when_events_arrived_meanwhile(world: World) -> None:
    """Graceful shutdown never counts."""
    jobs = await opened(world, shutdown_timeout="1000 ms")
    await add(world, jobs, "x")
    world.suspension("deliver")
    await world.advance(s=5)
    await add(world, jobs, "y")
    await world.close()
    del world.outside.held["deliver"]
    jobs = await opened(world)
    assert flushes(world) == ["x (1, flush_after) run 1.1.1", "x (1, flush_after) run 1.1.2"]
    recovered = [event for event in await world.history(jobs.definition.address("a")) if event.type == "job.recovered"]
    assert [event.recoveries for event in recovered] == [0]


# ---------------------------------------------------------------- while a retry waits
@on_each_store
async def test_events_that_come_while_a_retry_waits_go_into_the_next_batch(world: World) -> None:
    """Also while a retry of the first waits; the next batch flushes after the first is settled. A retry keeps batch,
    reason and `run_id`."""
    jobs = await opened(world)
    await add(world, jobs, "x", "y")
    world.outside.refusals["deliver"] = 1
    await world.advance(s=5)
    status = await world.run(jobs.status("a"))
    assert (status.status, status.attempt, status.next_run_at) == ("retrying", 2, at(25))
    assert await world.run(jobs.get_state("a")) == Pile(("x", "y"))
    added = await add(world, jobs, "z")
    assert (added.created, added.event_count, added.will_flush_at) == (True, 1, at(10))
    assert (await world.run(jobs.status("a"))).next_run_at == at(25)
    await world.advance(s=19)
    assert len(flushes(world)) == 1
    await world.advance(s=1)
    assert flushes(world) == [
        "x,y (2, flush_after) run 1.1.1",
        "x,y (2, flush_after) run 1.2.1",
        "z (1, flush_after) run 2.1.1",
    ]
    failed, executed = [
        event for event in await world.history(jobs.definition.address("a")) if event.type.startswith("job.")
    ][1:3]
    assert failed.run_id == executed.run_id
    assert run_ids(world)[0] == f"run_id {failed.run_id}"


@on_each_store
async def test_flush_brings_a_waiting_retry_forward(world: World) -> None:
    """`flush(id)`: runs now, reason `manual` (brings a waiting retry forward). A retry keeps its reason."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.outside.refusals["deliver"] = 1
    await world.advance(s=5)
    await add(world, jobs, "y")
    assert await world.run(jobs.flush("a")) == Flushed(flushed=True, reason=None, outcome=Completed())
    assert flushes(world) == ["x (1, flush_after) run 1.1.1", "x (1, flush_after) run 1.2.1"]
    await world.advance(s=5)
    assert flushes(world)[2:] == ["y (1, flush_after) run 2.1.1"]


@on_each_store
async def test_a_retry_that_is_brought_forward_is_not_made_twice(world: World) -> None:
    """Brings a waiting retry forward: its old alarm, which comes during the run, is silent."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.outside.refusals["deliver"] = 1
    await world.advance(s=5)
    world.suspension("deliver")
    flush = world.start(jobs.flush("a"))
    await world.advance(s=60)
    world.release("deliver")
    await world.advance(s=60)
    assert flush.result().unwrap().outcome == Completed()
    assert len(flushes(world)) == 2


@pytest.mark.parametrize("step", range(8))
@on_each_store
async def test_a_keyed_flush_of_a_retry_can_be_repeated_after_a_crash(world: World, step: int) -> None:
    """Repeat the request once with its key: a repeat changes nothing and gets the first answer."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.outside.refusals["deliver"] = 1
    await world.advance(s=5)
    boundary = world.process.boundary
    boundary.die_at = len(boundary.crash_points) + 3 + step
    with pytest.raises(ProcessDied):
        await world.run(jobs.flush("a", idempotency_key="k"))
    await world.crash()
    jobs = await opened(world)
    repeated = await world.run(jobs.flush("a", idempotency_key="k"))
    assert repeated.outcome in (Completed(), Running())
    assert await world.row(jobs.definition.address("a")) is None


@on_each_store
async def test_clear_discards_a_batch_that_waits_for_its_retry(world: World) -> None:
    """`clear(id)`: discards the batch without running; says how many."""
    jobs = await opened(world)
    await add(world, jobs, "x", "y")
    world.outside.refusals["deliver"] = 1
    await world.advance(s=5)
    await add(world, jobs, "z")
    assert await world.run(jobs.clear("a")) == Cleared(cleared=True, discarded=3)
    await world.advance(s=60)
    assert len(flushes(world)) == 1
