"""Checkpoints: commits in the middle of a run, with rows of a journal, beside the requests of its instance."""

import asyncio

import pytest
from steps_kind import LongSteps, Steps, opened, rows
from world import Outside, ProcessDied, World, on_each_store

from perdure import App, Retry
from perdure.client.local_gateway import engine_of
from perdure.stores.contract import Store, overlay
from perdure.stores.memory import memory_store
from perdure.values.answer import Sent
from perdure.values.errors import Conflict, DefinitionError, OutcomeUnknown, StoreUnavailable
from perdure.values.transition import Purge, Put

WORDS = ["a", "b", "c", "d", "e", "f", "g"]


@on_each_store
async def test_each_step_is_one_commit(world: World) -> None:
    """A claim, a checkpoint for each step, and the end; a replay reads the journal in pages."""
    steps = await opened(world)
    before = len(world.commits)
    await world.run(steps.start("a", WORDS))
    assert len(world.commits) - before == 1 + len(WORDS) + 1
    assert [len(one.journal.bodies) for one in world.commits if one.journal] == [1] * len(WORDS)
    assert await rows(world, steps) == tuple(WORDS)
    assert world.outside.heard == WORDS


@on_each_store
async def test_steps_that_end_together_travel_together(world: World) -> None:
    """Parallel branches wait for their turn: the second commit takes the progress of all."""
    steps = await opened(world, Steps(at_once=5))
    world.slow("commit", ms=100, after=1)
    await world.run(steps.start("a", WORDS[:5]))
    assert [len(one.journal.bodies) for one in world.commits if one.journal] == [1, 4]
    assert set(await rows(world, steps)) == set(WORDS[:5])


@on_each_store
async def test_a_crash_repeats_only_the_step_that_no_checkpoint_has(world: World) -> None:
    steps = await opened(world)
    world.suspension("d")
    world.start(steps.start("a", WORDS))
    await world.settle()
    await world.crash()
    world.outside.held.clear()
    steps = await opened(world)
    assert world.outside.heard == [*WORDS[:4], *WORDS[3:]]
    assert await rows(world, steps) == tuple(WORDS)


@on_each_store
async def test_a_checkpoint_is_progress_so_that_the_deaths_before_it_are_forgotten(world: World) -> None:
    """A process that dies once in each step parks nothing; one that dies three times in a step does."""
    steps = await opened(world)
    for word in WORDS:
        world.suspension(word)
    world.start(steps.start("a", WORDS))
    await world.settle()
    for word in WORDS:
        await world.crash()
        world.outside.held.clear()
        for later in WORDS[WORDS.index(word) + 1 :]:
            world.suspension(later)
        steps = await opened(world)
    assert await rows(world, steps) == tuple(WORDS)
    world.outside.held.clear()
    world.suspension("x")
    world.start(steps.start("b", ["x"]))
    await world.settle()
    for _ in range(3):
        await world.crash()
        world.suspension("x")
        steps = await opened(world)
    row = await world.row(steps.definition.address("b"))
    assert row is not None
    assert row.suspension == "recovery_exhausted"


@on_each_store
async def test_requests_are_answered_between_checkpoints(world: World) -> None:
    """A checkpoint is committed over the present row: it keeps the word that a request added during the run."""
    steps = await opened(world)
    world.suspension("a")
    world.start(steps.start("a", ["a", "b"]))
    await world.settle()
    await world.run(steps.add("a", "c"))
    world.release("a")
    await world.settle()
    assert world.outside.heard == ["a", "b", "c"]
    assert await rows(world, steps) == ("a", "b", "c")


@on_each_store
async def test_a_checkpoint_waits_for_the_event_that_is_being_handled(world: World) -> None:
    """Both would write the row: the end of the event is committed over the row that its claim wrote."""
    steps = await opened(world)
    world.suspension("a")
    world.start(steps.start("a", ["a", "b"]))
    await world.settle()
    world.suspension("x")
    heard = world.start(steps.hear("a", "x"))
    await world.settle()
    world.release("a")
    await world.settle()
    assert world.outside.heard == ["a", "x"]
    world.release("x")
    await world.settle()
    assert heard.result().unwrap() == Sent(created=False, status="running", scheduled_at=None)
    assert world.outside.heard == ["a", "x", "b"]
    assert await rows(world, steps) == ("a", "b")


@pytest.mark.parametrize("conflicts", [1, 20])
@on_each_store
async def test_a_checkpoint_that_meets_a_conflict_is_decided_again(world: World, conflicts: int) -> None:
    steps = await opened(world)
    world.suspension("a")
    run = world.start(steps.start("a", ["a", "b"]))
    await world.settle()
    world.fail("commit", Conflict("steps:words:a"), times=conflicts)
    world.release("a")
    await world.settle()
    assert run.result().unwrap().outcome is not None
    assert await rows(world, steps) == ("a", "b")
    assert world.outside.heard == ["a", "b"]


@on_each_store
async def test_a_run_whose_checkpoint_is_not_stored_ends_and_is_delivered_again(world: World) -> None:
    """The program does not continue: nothing is built on a step that may be lost. No crash is counted."""
    steps = await opened(world)
    world.suspension("b")
    run = world.start(steps.start("a", ["a", "b", "c"]))
    await world.settle()
    world.fail("commit", StoreUnavailable("commit", "the disk is full"))
    world.release("b")
    await world.settle()
    assert isinstance(run.result().failure(), OutcomeUnknown)
    assert world.outside.heard == ["a", "b"]
    assert not engine_of(world.jobs).stopped.done()
    await world.advance(minutes=1)
    assert world.outside.heard == ["a", "b", "b", "c"]
    assert await rows(world, steps) == ("a", "b", "c")


@on_each_store
async def test_a_checkpoint_of_unknown_outcome_is_read_back(world: World) -> None:
    """It was stored: the run that is delivered again finds the row, and does not repeat the step."""
    steps = await opened(world)
    world.suspension("b")
    run = world.start(steps.start("a", ["a", "b", "c"]))
    await world.settle()
    world.fail("commit", OutcomeUnknown("the disk went away"), applied=True)
    world.release("b")
    await world.settle()
    assert isinstance(run.result().failure(), OutcomeUnknown)
    await world.advance(minutes=1)
    assert world.outside.heard == ["a", "b", "c"]
    assert await rows(world, steps) == ("a", "b", "c")


@on_each_store
async def test_a_journal_that_cannot_be_read_ends_the_run_for_now(world: World) -> None:
    steps = await opened(world)
    world.fail("journal.read", StoreUnavailable("read a journal", "the disk is away"))
    run = world.start(steps.start("a", ["a"]))
    await world.settle()
    assert isinstance(run.result().failure(), OutcomeUnknown)
    assert world.outside.heard == []
    await world.advance(minutes=1)
    assert await rows(world, steps) == ("a",)


@on_each_store
async def test_a_run_whose_instance_is_terminated_ends_at_its_next_checkpoint_at_the_latest(world: World) -> None:
    steps = await opened(world)
    world.suspension("b")
    run = world.start(steps.start("a", ["a", "b", "c"]))
    await world.settle()
    await world.run(steps.terminate("a", interrupt=True))
    world.release("b")
    await world.settle()
    assert run.result().unwrap().outcome.reason == "interrupted"
    assert world.outside.heard == ["a", "b"]
    assert await world.row(steps.definition.address("a")) is None


@on_each_store
async def test_a_purge_takes_the_journal_along(world: World) -> None:
    steps = await opened(world, Steps(keep="nothing"))
    await world.run(steps.start("a", ["a", "b"]))
    purged = [one for one in world.commits if isinstance(one.write, Purge)]
    assert len(purged) == 1
    incarnation = next(one.write.instance.incarnation for one in world.commits if isinstance(one.write, Put))
    address = steps.definition.address("a")
    for number in range(incarnation + 3):
        assert await world.inspect(lambda store, n=number: store.journal.read(address, n, 0, 10)) == ()


@on_each_store
async def test_a_graceful_shutdown_releases_the_run_between_two_steps(world: World) -> None:
    steps = await opened(world, shutdown_timeout="1000 ms")
    world.suspension("c")
    world.start(steps.start("a", WORDS))
    await world.settle()
    await world.close()
    world.outside.held.clear()
    steps = await opened(world)
    assert world.outside.heard == [*WORDS[:3], *WORDS[2:]]
    recovered = [event for event in await world.history(steps.definition.address("a")) if event.type == "job.recovered"]
    assert [event.recoveries for event in recovered] == [0]


@pytest.mark.parametrize(("definition", "ends"), [(Steps(), "failed"), (LongSteps(), "completed")])
@on_each_store
async def test_the_time_limit_is_that_of_the_run_or_of_a_step(world: World, definition: Steps, ends: str) -> None:
    """Steps of ten minutes: the limit of 15 minutes is that of the run, or begins again at each checkpoint."""
    steps = await opened(world, definition)
    for word in "abc":
        world.suspension(word)
    run = world.start(steps.start("a", ["a", "b", "c"]))
    for word in "abc":
        await world.advance(minutes=10)
        world.release(word)
    await world.settle()
    assert run.result().unwrap().outcome.form == ends
    assert await rows(world, steps) == (("a", "b", "c") if ends == "completed" else ("a",))


@on_each_store
async def test_a_step_that_exceeds_the_limit_is_cancelled_that_long_after_the_checkpoint(world: World) -> None:
    steps = await opened(world, LongSteps())
    world.suspension("a")
    world.suspension("b")
    run = world.start(steps.start("a", ["a", "b"]))
    await world.advance(minutes=14)
    world.release("a")
    await world.advance(minutes=15, ms=-1)
    assert not run.done()
    await world.advance(ms=1)
    assert run.result().unwrap().outcome.error.error_type == "RunTimeout"


@on_each_store
async def test_a_checkpoint_of_a_broken_kind_is_a_defect_of_the_run(world: World) -> None:
    """Its claim must stay; no other checkpoint is taken for stored after it."""
    steps = await opened(world, Steps(changes=lambda _: {"claim": None}, at_once=3))
    outcome = (await world.run(steps.start("a", ["a", "b", "c"]))).outcome
    assert outcome.form == "failed"
    assert outcome.error.error_type == "NotACheckpoint"
    assert await rows(world, steps) == ()


@on_each_store
async def test_a_retry_reads_the_rows_of_the_failed_attempt(world: World) -> None:
    steps = await opened(world, Steps(retry=Retry(max_attempts=3)))
    world.outside.refusals["b"] = 1
    await world.attempt(steps.start("a", ["a", "b", "c"]))
    await world.advance(hours=1)
    assert world.outside.heard == ["a", "b", "b", "c"]
    assert await rows(world, steps) == ("a", "b", "c")


@pytest.mark.parametrize("die_at", range(1, 14))
@on_each_store
async def test_wherever_the_process_dies_each_word_is_said_once_or_marked_by_its_crash(
    world: World, die_at: int
) -> None:
    """A sweep over the crossings of three steps: nothing is stuck, only the step under way is repeated."""
    try:
        steps = await opened(world, die_at=die_at)
        world.start(steps.start("a", ["a", "b", "c"]))
        await world.settle()
    except ProcessDied:
        pass
    if not world.world.is_open:
        await world.crash()
        steps = await opened(world)
        await world.settle()
    row = await world.row(Steps().address("a"))
    if row is None:
        assert world.outside.heard == []
        return
    assert sorted(set(await rows(world, steps))) == ["a", "b", "c"]
    assert len(await rows(world, steps)) == 3
    assert len(world.outside.heard) <= 4


def test_a_store_that_keeps_no_journals_serves_no_job_that_has_them() -> None:
    """Its rows would be lost without a word."""
    outside = Outside()
    app = App(outside).with_jobs(Steps())
    with pytest.raises(DefinitionError, match=r"store of steps:words: .* got 'memory://'"):
        asyncio.run(_entered(app, overlay(memory_store(), journal=None)))


async def _entered(app: App[Outside], store: Store) -> None:
    async with app.open(store):
        pass
