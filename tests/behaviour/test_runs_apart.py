"""A flush runs beside its mailbox: what becomes of its end, and of events beside it, at the store and in a shutdown."""

import pytest
from attrs import frozen
from mailbag import Letter, add, at, flushes, mailbag, opened
from world import HasOutside, Refused, World, on_each_store, say

from perdure import App, Debounce, DebounceContext, Do, program
from perdure.client.local_gateway import engine_of
from perdure.values.errors import Conflict, EngineClosed, OutcomeUnknown, StoreUnavailable
from perdure.values.outcome import Completed


# ---------------------------------------------------------------- its end meets the store
@pytest.mark.parametrize("conflicts", [1, 5])
@on_each_store
async def test_the_end_of_a_flush_is_written_over_concurrent_writes(world: World, conflicts: int) -> None:
    """A conflict re-runs the decision, at most 5 times; after an effect nothing re-runs here."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.suspension("deliver")
    flush = world.start(jobs.flush("a"))
    await world.settle()
    await add(world, jobs, "y")
    world.fail("commit", Conflict("debounce:mailbag:a"), times=conflicts)
    world.release("deliver")
    await world.settle()
    assert flush.result().unwrap().outcome == Completed()
    await world.advance(s=5)
    assert flushes(world) == ["x (1, manual) run 1.1.1", "y (1, flush_after) run 2.1.1"]


@on_each_store
async def test_an_engine_whose_flush_cannot_be_written_stops_and_says_whose(world: World) -> None:
    """Another writer changes the instance repeatedly: nothing is overwritten, the engine stops with the reason."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.suspension("deliver")
    flush = world.start(jobs.flush("a"))
    await world.settle()
    world.fail("commit", Conflict("debounce:mailbag:a"), times=6)
    world.release("deliver")
    await world.settle()
    error = flush.result().failure()
    assert isinstance(error, OutcomeUnknown)
    assert "another writer changed debounce:mailbag:a" in str(error)
    assert engine_of(world.jobs).stopped.done()


@on_each_store
async def test_a_flush_whose_instance_cannot_be_read_at_its_end_is_delivered_again(world: World) -> None:
    """An uncommitted flush is repeated and marked; it was no crash, and counts as none."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.suspension("deliver")
    flush = world.start(jobs.flush("a"))
    await world.settle()
    engine_of(world.jobs).cache.close()  # otherwise the engine knows the row
    world.fail("load", StoreUnavailable("load", "the disk is away"))
    world.release("deliver")
    await world.settle()
    assert isinstance(flush.result().failure(), OutcomeUnknown)
    await world.advance(minutes=1)
    assert flushes(world) == ["x (1, manual) run 1.1.1", "x (1, manual) run 1.1.2"]
    recovered = [event for event in await world.history(jobs.definition.address("a")) if event.type == "job.recovered"]
    assert [event.recoveries for event in recovered] == [0]
    assert await world.row(jobs.definition.address("a")) is None


# ---------------------------------------------------------------- the shutdown
@pytest.mark.parametrize(("conflicts", "recoveries"), [(1, 0), (5, 0), (6, 1)])
@on_each_store
async def test_a_claim_is_released_over_concurrent_writes(world: World, conflicts: int, recoveries: int) -> None:
    """Graceful shutdown never counts; a claim that could not be given back in 6 tries is found as after a crash."""
    jobs = await opened(world, shutdown_timeout="1000 ms")
    await add(world, jobs, "x")
    world.suspension("deliver")
    await world.advance(s=5)
    world.fail("commit", Conflict("debounce:mailbag:a"), times=conflicts)
    await world.close()
    world.outside.held.clear()
    jobs = await opened(world)
    recovered = [event for event in await world.history(jobs.definition.address("a")) if event.type == "job.recovered"]
    assert [event.recoveries for event in recovered] == [recoveries]
    assert flushes(world) == ["x (1, flush_after) run 1.1.1", "x (1, flush_after) run 1.1.2"]


@on_each_store
async def test_a_claim_that_cannot_be_read_holds_no_shutdown_up(world: World) -> None:
    """The next start finds it as after a crash."""
    jobs = await opened(world, shutdown_timeout="1000 ms")
    await add(world, jobs, "x")
    world.suspension("deliver")
    flush = world.start(jobs.flush("a"))
    await world.settle()
    world.fail("load", StoreUnavailable("load", "the disk is away"))
    await world.close()
    assert isinstance(flush.result().failure(), EngineClosed)
    world.outside.held.clear()
    await opened(world)
    assert flushes(world) == ["x (1, manual) run 1.1.1", "x (1, manual) run 1.1.2"]


@on_each_store
async def test_an_event_whose_turn_is_overtaken_by_the_shutdown_reaches_nothing(world: World) -> None:
    """It was being read when the engine closed: nothing is claimed, and nothing is said any more."""
    jobs = await opened(world, shutdown_timeout="1000 ms")
    world.slow("load", ms=500)
    adding = world.start(jobs.add("a", Letter("ring")))
    await world.settle()
    await world.close()
    assert isinstance(adding.result().failure(), EngineClosed)
    jobs = await opened(world)
    assert world.outside.heard == []
    assert await world.row(jobs.definition.address("a")) is None


# ---------------------------------------------------------------- events beside it
@on_each_store
async def test_an_event_with_effects_waits_for_no_place_that_a_flush_has(world: World) -> None:
    """`add` never waits for user code of a flush: not for its own one, and not for one of another instance."""
    jobs = await opened(world, mailbag(runs=1))
    await world.run(jobs.add("b", Letter("x")))
    world.suspension("deliver")
    await world.run(jobs.flush("b", wait_for="start"))
    assert (await add(world, jobs, "ring")).will_flush_at == at(5)
    assert world.outside.heard[-2:] == ["ring, delivery 1", "rung"]


@frozen
class Count:
    events: int = 0


@program
def count_and_say(ctx: DebounceContext[Count], letter: Letter) -> Do[None, Refused, HasOutside]:
    yield from ctx.update_state(lambda count: Count(count.events + 1))
    yield from say(letter.text)


@on_each_store
async def test_a_handler_begins_once_however_it_continues(world: World) -> None:
    """Changes before its first effect are drafted once."""
    counter = Debounce(
        "counter",
        event=Letter,
        state=Count,
        initial=Count(),
        flush_after="1 hour",
        on_event=count_and_say,
        execute=lambda _: say("flushed"),
    )
    jobs = (await world.open(App(world.outside).with_jobs(counter))).handle(counter)
    await add(world, jobs, "x", "y")
    assert world.outside.heard == ["x", "y"]
    assert await world.run(jobs.get_state("a")) == Count(2)
