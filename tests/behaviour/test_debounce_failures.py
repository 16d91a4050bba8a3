"""Batches when a flush fails for good, is paused or dies: section 3 of the behaviour contract."""

from mailbag import Letter, Pile, add, flushes, mailbag, opened
from world import Refused, World, on_each_store

from perdure import Backoff, Retry
from perdure.values.answer import Cleared, PauseResult
from perdure.values.errors import InstanceParked
from perdure.values.outcome import Failed, Flushed, Parked, Paused


# ---------------------------------------------------------------- failed for good
async def parked(world: World, **options):
    jobs = await opened(world, mailbag(**options))
    await add(world, jobs, "x", "y")
    world.outside.refusals["deliver"] = 2
    await world.advance(s=26)
    return jobs


@on_each_store
async def test_a_flush_that_fails_for_good_is_parked_with_its_batch(world: World) -> None:
    """A flush that fails for good is parked with its batch; later events wait in the next batch."""
    jobs = await parked(world)
    status = await world.run(jobs.status("a"))
    assert (status.status, status.parked, status.event_count) == ("parked", "retries_exhausted", 2)
    assert await world.run(jobs.get_state("a")) == Pile(("x", "y"))
    added = await add(world, jobs, "z")
    assert (added.created, added.event_count, added.will_flush_at) == (True, 1, None)
    await world.advance(s=60)
    assert len(flushes(world)) == 2
    assert (await world.run(jobs.flush("a"))).outcome == Parked("retries_exhausted")
    assert (await world.run(jobs.status("a"))).will_flush_at is None
    names = await world.happened(jobs.definition.address("a"))
    assert names[2:6] == ["job.failed", "job.failed", "job.retry_exhausted", "job.parked"]


@on_each_store
async def test_resume_flushes_the_parked_batch_and_then_the_next(world: World) -> None:
    """`resume(id)` re-arms a parked instance: the same run, marked."""
    jobs = await parked(world)
    await add(world, jobs, "z")
    assert await world.run(jobs.resume("a")) == PauseResult(changed=True, status="retrying")
    await world.advance(s=5)
    assert flushes(world)[2:] == ["x,y (2, flush_after) run 1.3.1", "z (1, flush_after) run 2.1.1"]
    assert await world.row(jobs.definition.address("a")) is None


@on_each_store
async def test_a_resumed_batch_has_all_its_attempts_again(world: World) -> None:
    """`resume(id)` re-arms a parked instance: `max_duration` too is counted from the failure that comes first then."""
    jobs = await parked(world, retry=Retry(2, Backoff.constant("20 s"), jitter=False, max_duration="1 minute"))
    await world.advance(hours=1)
    world.outside.refusals["deliver"] = 1
    await world.run(jobs.resume("a"))
    assert (await world.run(jobs.status("a"))).status == "retrying"
    await world.advance(s=20)
    assert await world.row(jobs.definition.address("a")) is None


@on_each_store
async def test_clear_discards_a_parked_batch(world: World) -> None:
    """`clear(id)`: discards the batch without running; says how many."""
    jobs = await parked(world)
    await add(world, jobs, "z")
    assert await world.run(jobs.clear("a")) == Cleared(cleared=True, discarded=3)
    assert (await world.run(jobs.status("a"))).status == "not_found"


@on_each_store
async def test_without_a_retry_a_flush_that_fails_is_parked_at_once(world: World) -> None:
    """`"park"` (default of debounce and task)."""
    jobs = await opened(world, mailbag(retry=None))
    await add(world, jobs, "x")
    world.outside.refusals["deliver"] = 1
    assert (await world.run(jobs.flush("a"))).outcome == Failed(Refused("deliver"))
    assert (await world.run(jobs.status("a"))).status == "parked"


PURGE = Retry(2, Backoff.constant("20 s"), jitter=False, on_exhausted="purge")


@on_each_store
async def test_purge_on_exhaustion_drops_the_failed_batch_and_the_instance_when_none_is_left(world: World) -> None:
    """Exhausted: `"purge"`; the instance is purged when none is left. Every termination emits `job.terminated`."""
    jobs = await parked(world, retry=PURGE)
    assert await world.row(jobs.definition.address("a")) is None
    assert (await world.happened(jobs.definition.address("a")))[-1] == "job.terminated"


@on_each_store
async def test_purge_on_exhaustion_drops_only_the_failed_batch(world: World) -> None:
    """No acknowledged event lost: the next batch is not the one that failed."""
    jobs = await opened(world, mailbag(retry=PURGE))
    await add(world, jobs, "x", "y")
    world.outside.refusals["deliver"] = 2
    await world.advance(s=24)
    await add(world, jobs, "z")
    await world.advance(s=5)
    assert flushes(world) == [
        "x,y (2, flush_after) run 1.1.1",
        "x,y (2, flush_after) run 1.2.1",
        "z (1, flush_after) run 2.1.1",
    ]
    assert "job.terminated" not in await world.happened(jobs.definition.address("a"))


@on_each_store
async def test_a_policy_that_breaks_is_a_failure_like_any_other(world: World) -> None:
    """An undeclared exception in any hook is a failure like any other: recorded with its traceback, retried."""

    def broken(error: Refused) -> bool:
        raise RuntimeError(error.why)

    jobs = await opened(world, mailbag(retry=Retry(2, Backoff.constant("20 s"), jitter=False, retry_if=broken)))
    await add(world, jobs, "x")
    world.outside.refusals["deliver"] = 1
    await world.advance(s=5)
    status = await world.run(jobs.status("a"))
    assert (status.status, status.last_error.error_type) == ("retrying", "RuntimeError")
    assert "broken" in status.last_error.traceback
    await world.advance(s=20)
    assert await world.row(jobs.definition.address("a")) is None


# ---------------------------------------------------------------- pausing
@on_each_store
async def test_nothing_flushes_while_the_instance_is_paused_and_events_are_taken(world: World) -> None:
    """`pause(id)` holds alarms and retries; hooks still handle events, nothing flushes; `flush` answers `Paused`."""
    jobs = await opened(world, mailbag(max_events=3))
    await add(world, jobs, "x")
    await world.run(jobs.pause("a"))
    assert (await add(world, jobs, "y", "z")).will_flush_at is None
    assert await world.run(jobs.flush("a")) == Flushed(flushed=False, reason=None, outcome=Paused())
    await world.advance(s=60)
    assert flushes(world) == []
    await world.run(jobs.resume("a"))
    assert flushes(world) == ["x,y,z (3, max_events) run 1.1.1"]


@on_each_store
async def test_a_pause_during_a_flush_holds_its_retry_and_the_next_batch(world: World) -> None:
    """`pause(id)` holds alarms and retries."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.suspension("deliver")
    world.outside.refusals["deliver"] = 1
    await world.advance(s=5)
    await add(world, jobs, "y")
    await world.run(jobs.pause("a"))
    world.release("deliver")
    await world.advance(s=60)
    assert len(flushes(world)) == 1
    await world.run(jobs.resume("a"))
    assert flushes(world)[1:] == ["x (1, flush_after) run 1.2.1", "y (1, flush_after) run 2.1.1"]


# ---------------------------------------------------------------- crashes
@on_each_store
async def test_an_uncommitted_flush_is_repeated_and_marked(world: World) -> None:
    """A committed flush is never repeated; an uncommitted one is repeated and marked."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.suspension("deliver")
    await world.advance(s=5)
    await add(world, jobs, "y")
    await world.crash()
    del world.outside.held["deliver"]
    jobs = await opened(world)
    assert flushes(world) == ["x (1, flush_after) run 1.1.1", "x (1, flush_after) run 1.1.2"]
    await world.advance(s=5)
    assert flushes(world)[2:] == ["y (1, flush_after) run 2.1.1"]
    assert await world.row(jobs.definition.address("a")) is None


@on_each_store
async def test_an_event_with_effects_is_claimed_beside_the_flush_and_both_survive(world: World) -> None:
    """A claim of an event stands beside the claim of a flush: after a crash both are delivered again, once each."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.suspension("deliver")
    await world.advance(s=5)
    world.suspension("rung")
    world.start(jobs.add("a", Letter("ring"), idempotency_key="k"))
    await world.settle()
    row = await world.row(jobs.definition.address("a"))
    assert row.claim is not None
    assert row.event_claim is not None
    assert await world.run(jobs.get_state("a")) == Pile(("x",))
    await world.crash()
    world.outside.held.clear()
    jobs = await opened(world)
    await world.settle()
    assert [word for word in world.outside.heard if word.startswith("ring")] == ["ring, delivery 1", "ring, delivery 2"]
    again = await world.run(jobs.add("a", Letter("ring"), idempotency_key="k"))
    assert again.event_count == 1
    await world.advance(s=5)
    assert flushes(world) == [
        "x (1, flush_after) run 1.1.1",
        "x (1, flush_after) run 1.1.2",
        "ring (1, flush_after) run 2.1.1",
    ]


@on_each_store
async def test_events_that_come_while_a_recovered_event_is_handled_wait_for_it(world: World) -> None:
    """Turns of one instance are serialised, those of a recovered event as well."""
    jobs = await opened(world)
    world.suspension("rung")
    world.start(jobs.add("a", Letter("ring")))
    await world.settle()
    assert await world.run(jobs.get_state("a")) is None  # nothing is committed of it yet
    await world.crash()
    world.outside.held["rung"] = []
    jobs = await opened(world)
    later = world.start(jobs.add("a", Letter("y")))
    await world.settle()
    assert not later.done()
    world.release("rung")
    await world.settle()
    assert later.result().unwrap().event_count == 2
    await world.advance(s=5)
    assert flushes(world) == ["ring,y (2, flush_after) run 1.1.1"]


@on_each_store
async def test_a_flush_that_is_parked_for_its_crashes_holds_back_no_event(world: World) -> None:
    """A run that kills the process again is parked, `recovery_exhausted`; later events wait in the next batch."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.suspension("deliver")
    await world.advance(s=5)
    world.suspension("rung")
    world.start(jobs.add("a", Letter("ring"), idempotency_key="k"))
    for _ in range(2):
        await world.settle()
        await world.crash()
        jobs = await opened(world)
    world.outside.held.clear()
    await world.crash()
    jobs = await opened(world)
    status = await world.run(jobs.status("a"))
    assert (status.status, status.parked, status.event_count) == ("parked", "recovery_exhausted", 1)
    assert (await world.row(jobs.definition.address("a"))).event_claim is None
    assert (await world.run(jobs.add("a", Letter("ring"), idempotency_key="k"))).event_count == 1
    assert (await add(world, jobs, "y")).event_count == 2
    await world.run(jobs.resume("a"))
    await world.advance(s=5)
    assert flushes(world)[-2:] == ["x (1, flush_after) run 1.1.4", "ring,y (2, flush_after) run 2.1.1"]


@on_each_store
async def test_an_event_that_is_parked_for_its_crashes_holds_back_those_that_come_after_it(world: World) -> None:
    """Parked means kept, visible, silent and resumable: no later event goes before one that was not taken yet."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.suspension("rung")
    world.start(jobs.add("a", Letter("ring")))
    for _ in range(3):
        await world.settle()
        await world.crash()
        jobs = await opened(world)
    status = await world.run(jobs.status("a"))
    assert (status.status, status.parked, status.event_count) == ("parked", "recovery_exhausted", 1)
    error = await world.error_of(jobs.add("a", Letter("y")))
    assert isinstance(error, InstanceParked)
    assert (error.address, error.reason) == ("debounce:mailbag:a", "recovery_exhausted")
    world.outside.held.clear()
    await world.run(jobs.resume("a"))
    assert (await add(world, jobs, "y")).event_count == 3
    await world.advance(s=5)
    assert flushes(world) == ["x,ring,y (3, flush_after) run 1.1.1"]


# ---------------------------------------------------------------- messages to itself
@on_each_store
async def test_a_message_of_a_flush_to_its_own_instance_begins_the_next_batch(world: World) -> None:
    """An instance may tell itself: a later turn; within one store a message is applied exactly once."""
    jobs = await opened(world)
    await add(world, jobs, "echo")
    await world.advance(s=10)
    assert flushes(world) == ["echo (1, flush_after) run 1.1.1", "echoed (1, flush_after) run 1.1.1"]


@on_each_store
async def test_a_message_of_an_event_to_its_own_instance_outlives_the_batch(world: World) -> None:
    """Within one store a message is applied exactly once, also when the batch is gone before it arrives."""
    jobs = await opened(world)
    added, cleared = await world.all(jobs.add("a", Letter("remind")), jobs.clear("a"))
    assert added.unwrap().event_count == 1
    await world.advance(s=10)
    by_discarded = {
        0: ["remind,later (2, flush_after) run 1.1.1"],  # the clear came first
        1: ["later (1, flush_after) run 1.1.1"],  # the message came too late for it
        2: [],
    }
    assert flushes(world) == by_discarded[cleared.unwrap().discarded]
