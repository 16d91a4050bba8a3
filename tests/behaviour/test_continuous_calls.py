"""The calls of a continuous job, row by row, and the meaning of a run: section 2 of the behaviour contract."""

from datetime import timedelta

import pytest
from attrs import frozen
from world import HasOutside, Refused, World, on_each_store, say

from perdure import App, Backoff, Continuous, ContinuousContext, Do, Retry, Task, every, program, tell
from perdure.programs import sleep
from perdure.values.answer import Terminated
from perdure.values.errors import IdempotencyConflict, InvalidInput
from perdure.values.outcome import Completed, Failed, Paused, Retrying, Started, Triggered


@frozen
class Tally:
    runs: int = 0


@program
def count(ctx: ContinuousContext[Tally]) -> Do[None, Refused, HasOutside]:
    tally = yield from ctx.state
    yield from say(f"run {ctx.run_count}, attempt {ctx.attempt}, delivery {ctx.delivery}")
    yield from say("work")
    yield from ctx.set_state(Tally(tally.runs + 1))


@program
def count_slowly(ctx: ContinuousContext[Tally]) -> Do[None]:
    tally = yield from ctx.state
    yield from sleep("10 s")
    yield from ctx.set_state(Tally(tally.runs + 1))


twice = Retry(2, Backoff.constant("20 s"), jitter=False)
ticking = Continuous("ticking", state=Tally, schedule=every("1 minute"), execute=count)
retried = Continuous("retried", state=Tally, schedule=every("1 minute"), execute=count, retry=twice)
slow = Continuous("slow", state=Tally, schedule=every("1 minute"), execute=count_slowly)
grid = Continuous("grid", state=Tally, schedule=every("1 minute", align="start"), execute=count, retry=twice)
waiting = Continuous("waiting", state=Tally, schedule=every("1 minute"), execute=count, start_immediately=False)


async def opened(world: World):
    jobs = await world.open(App(world.outside).with_jobs(ticking, retried, slow, grid, waiting))
    return [jobs.handle(job) for job in (ticking, retried, slow, grid, waiting)]


def runs(world: World) -> list[str]:
    return [word for word in world.outside.heard if word.startswith("run")]


# ---------------------------------------------------------------- start
@on_each_store
async def test_start_creates_an_absent_instance_and_runs_now(world: World) -> None:
    """`start(id, state)`, absent: creates; runs now unless `start_immediately=False`; `created=True`."""
    ticking, *_ = await opened(world)
    started = await world.run(ticking.start("a", Tally(5)))
    assert started == Started(created=True, status="scheduled", outcome=Completed())
    assert await world.run(ticking.get_state("a")) == Tally(6)
    assert runs(world) == ["run 1, attempt 1, delivery 1"]


@pytest.mark.parametrize(("key", "kept"), [(None, None), ("k", '{"runs":5}')])
@on_each_store
async def test_a_claim_keeps_the_input_of_a_start_for_its_key_alone(
    world: World, key: str | None, kept: str | None
) -> None:
    """The same key with another payload is `IdempotencyConflict`, also while the run it began is under way."""
    _, _, slow, *_ = await opened(world)
    world.start(slow.start("a", Tally(5), idempotency_key=key))
    await world.settle()
    row = await world.row(slow.definition.address("a"))
    assert row is not None
    assert row.claim is not None
    assert (row.claim.payload, row.claim.action, row.claim.claimed_ms) == (kept, "start", world.now_ms)
    if key is not None:
        assert isinstance(await world.error_of(slow.start("a", Tally(6), idempotency_key=key)), IdempotencyConflict)


@on_each_store
async def test_start_waits_for_the_first_tick_if_requested(world: World) -> None:
    """`start(id, state)`, absent: creates; runs now unless `start_immediately=False`."""
    *_, waiting = await opened(world)
    assert await world.run(waiting.start("a", Tally())) == Started(created=True, status="scheduled", outcome=None)
    status = await world.run(waiting.status("a"))
    assert (status.run_count, status.next_run_at) == (0, world.now + timedelta(minutes=1))
    await world.advance(s=59)
    assert runs(world) == []
    await world.advance(s=1)
    assert runs(world) == ["run 1, attempt 1, delivery 1"]


@on_each_store
async def test_start_does_not_change_an_existing_instance(world: World) -> None:
    """`start(id, state)`, exists: `created=False`, status as stored, input ignored, nothing runs."""
    ticking, *_ = await opened(world)
    await world.run(ticking.start("a", Tally(5)))
    before = await world.row(ticking.definition.address("a"))
    again = await world.run(ticking.start("a", Tally(100)))
    assert again == Started(created=False, status="scheduled", outcome=None)
    assert await world.row(ticking.definition.address("a")) == before
    assert len(runs(world)) == 1


@on_each_store
async def test_a_failing_first_run_answers_failed_and_the_instance_remains(world: World) -> None:
    """A failing first run makes `start` answer `Failed` or `Retrying`; the instance and its schedule stand."""
    ticking, *_ = await opened(world)
    world.outside.refusals["work"] = 1
    started = await world.run(ticking.start("a", Tally()))
    assert started == Started(created=True, status="scheduled", outcome=Failed(Refused("work")))
    assert await world.run(ticking.get_state("a")) == Tally(0)
    await world.advance(s=60)
    assert await world.run(ticking.get_state("a")) == Tally(1)


@on_each_store
async def test_a_failing_first_run_answers_retrying_and_the_instance_remains(world: World) -> None:
    """A failing first run makes `start` answer `Failed` or `Retrying`; the instance and its schedule stand."""
    _, retried, *_ = await opened(world)
    world.outside.refusals["work"] = 1
    started = await world.run(retried.start("a", Tally()))
    due = world.now + timedelta(seconds=20)
    assert started == Started(created=True, status="retrying", outcome=Retrying(Refused("work"), due))
    await world.advance(s=20)
    status = await world.run(retried.status("a"))
    assert (status.status, status.run_count, status.next_run_at) == ("scheduled", 1, world.now + timedelta(minutes=1))


@on_each_store
async def test_a_state_that_is_none_leaves_no_trace(world: World) -> None:
    ticking, *_ = await opened(world)
    assert isinstance(await world.error_of(ticking.start("a", "five")), InvalidInput)
    assert (await world.run(ticking.status("a"))).status == "not_found"
    assert await world.happened(ticking.definition.address("a")) == []


# ---------------------------------------------------------------- trigger
@on_each_store
async def test_trigger_finds_nothing_where_nothing_is(world: World) -> None:
    """`trigger(id)`, absent: `triggered=False`."""
    ticking, *_ = await opened(world)
    assert await world.run(ticking.trigger("a")) == Triggered(triggered=False, status=None, outcome=None)
    assert (await world.run(ticking.status("a"))).status == "not_found"


@on_each_store
async def test_trigger_runs_now_as_a_new_run(world: World) -> None:
    """`trigger(id)`, exists: runs now as a new run: `run_count`+1."""
    ticking, *_ = await opened(world)
    await world.run(ticking.start("a", Tally()))
    await world.advance(s=10)
    assert await world.run(ticking.trigger("a")) == Triggered(triggered=True, status="scheduled", outcome=Completed())
    assert runs(world) == ["run 1, attempt 1, delivery 1", "run 2, attempt 1, delivery 1"]


@on_each_store
async def test_a_trigger_of_a_new_run_drops_an_open_retry(world: World) -> None:
    """With `new_run` an open retry is abandoned (`job.failed`, `superseded`), `run_count`+1."""
    _, retried, *_ = await opened(world)
    world.outside.refusals["work"] = 1
    await world.run(retried.start("a", Tally()))
    await world.advance(s=5)
    assert (await world.run(retried.trigger("a", new_run=True))).outcome == Completed()
    _, failed, abandoned, executed = await world.history(retried.definition.address("a"))
    assert (abandoned.type, abandoned.hook, abandoned.run_id) == ("job.failed", "superseded", failed.run_id)
    assert (abandoned.run_count, executed.run_count) == (1, 2)
    await world.advance(s=30)
    assert runs(world) == ["run 1, attempt 1, delivery 1", "run 2, attempt 1, delivery 1"]


@on_each_store
async def test_each_trigger_of_a_run_that_failed_for_good_repeats_it_with_all_attempts(world: World) -> None:
    """A trigger after a fix repeats the run under its number; the attempts before the trigger do not count."""
    _, retried, *_ = await opened(world)
    world.outside.refusals["work"] = 6
    await world.run(retried.start("a", Tally()))
    await world.advance(s=20)
    for _ in range(2):
        assert (await world.run(retried.status("a"))).last_error is not None
        assert isinstance((await world.run(retried.trigger("a"))).outcome, Retrying)
        await world.advance(s=20)
    assert (await world.run(retried.trigger("a"))).outcome == Completed()
    assert runs(world) == [f"run 1, attempt {number}, delivery 1" for number in range(1, 8)]


@pytest.mark.parametrize("new_run", [True, False])
@on_each_store
async def test_a_trigger_by_a_message_has_its_options(world: World, *, new_run: bool) -> None:
    relay = Task(
        "relay", state=int, event=str, initial=0, on_event=lambda _, at: tell(retried, at).trigger(new_run=new_run)
    )
    jobs = await world.open(App(world.outside).with_jobs(relay, retried))
    world.outside.refusals["work"] = 1
    await world.run(jobs.handle(retried).start("a", Tally()))
    await world.run(jobs.handle(relay).send("r", "a"))
    await world.settle()
    assert runs(world)[1:] == ["run 2, attempt 1, delivery 1" if new_run else "run 1, attempt 2, delivery 1"]


@on_each_store
async def test_trigger_moves_a_schedule_that_is_measured_from_the_end(world: World) -> None:
    """An end-measured schedule restarts from its end."""
    _, _, slow, *_ = await opened(world)
    await world.run(slow.start("a", Tally()))  # ends at 10 s: the tick is at 70 s
    await world.advance(s=20)
    await world.run(slow.trigger("a"))  # from 30 s to 40 s
    assert (await world.run(slow.status("a"))).next_run_at == world.now + timedelta(minutes=1)
    await world.advance(s=69)
    assert await world.run(slow.get_state("a")) == Tally(2)
    await world.advance(s=1)
    assert await world.run(slow.get_state("a")) == Tally(3)


@on_each_store
async def test_trigger_does_not_move_a_grid(world: World) -> None:
    """`trigger(id)`: a grid does not move."""
    _, _, _, grid, _ = await opened(world)
    start = world.now
    await world.run(grid.start("a", Tally()))
    await world.advance(s=20)
    await world.run(grid.trigger("a"))
    assert (await world.run(grid.status("a"))).next_run_at == start + timedelta(minutes=1)
    await world.advance(s=40)
    assert len(runs(world)) == 3


@on_each_store
async def test_trigger_that_drops_the_retry_of_a_tick_continues_with_the_next_tick(world: World) -> None:
    """An open retry is abandoned; a grid does not move."""
    _, _, _, grid, _ = await opened(world)
    start = world.now
    await world.run(grid.start("a", Tally()))
    world.outside.refusals["work"] = 1
    await world.advance(s=65)
    assert (await world.run(grid.status("a"))).status == "retrying"
    await world.run(grid.trigger("a"))
    assert (await world.run(grid.status("a"))).next_run_at == start + timedelta(minutes=2)


@on_each_store
async def test_a_failing_trigger_keeps_the_pending_tick_of_a_grid(world: World) -> None:
    """A failing run never silences the schedule; a grid does not move."""
    _, _, _, grid, _ = await opened(world)
    start = world.now
    await world.run(grid.start("a", Tally()))
    world.outside.refusals["work"] = 2
    await world.advance(s=5)
    assert isinstance((await world.run(grid.trigger("a"))).outcome, Retrying)
    await world.advance(s=20)
    assert (await world.run(grid.status("a"))).next_run_at == start + timedelta(minutes=1)


@on_each_store
async def test_trigger_runs_nothing_while_the_instance_is_paused(world: World) -> None:
    ticking, *_ = await opened(world)
    await world.run(ticking.start("a", Tally()))
    await world.run(ticking.pause("a"))
    assert await world.run(ticking.trigger("a")) == Triggered(triggered=False, status="paused", outcome=Paused())
    assert len(runs(world)) == 1


@on_each_store
async def test_a_keyed_trigger_runs_once(world: World) -> None:
    """A repeat within the window changes nothing and gets the first answer, of a call without input as well."""
    ticking, *_ = await opened(world)
    await world.run(ticking.start("a", Tally()))
    answers = [await world.run(ticking.trigger("a", idempotency_key="k")) for _ in range(2)]
    assert answers[0] == answers[1] == Triggered(triggered=True, status="scheduled", outcome=Completed())
    assert len(runs(world)) == 2


# ---------------------------------------------------------------- terminate, status, get_state
@on_each_store
async def test_terminate_finds_nothing_where_nothing_is(world: World) -> None:
    """`terminate(id, reason)`, absent: `terminated=False`, reason `not_found`."""
    ticking, *_ = await opened(world)
    assert await world.run(ticking.terminate("a", "why")) == Terminated(terminated=False, reason="not_found")


@on_each_store
async def test_terminate_purges_and_the_schedule_is_over(world: World) -> None:
    """`terminate(id, reason)`, exists: purges; `terminated=True`."""
    ticking, *_ = await opened(world)
    await world.run(ticking.start("a", Tally()))
    assert await world.run(ticking.terminate("a", "why")) == Terminated(terminated=True, reason="why")
    assert await world.row(ticking.definition.address("a")) is None
    await world.advance(minutes=5)
    assert len(runs(world)) == 1


@on_each_store
async def test_status_returns_the_position_of_the_instance(world: World) -> None:
    """`status(id)`: `not_found`; status, `run_count`, `next_run_at`, last error."""
    ticking, *_ = await opened(world)
    assert (await world.run(ticking.status("a"))).status == "not_found"
    world.outside.refusals["work"] = 1
    await world.run(ticking.start("a", Tally()))
    status = await world.run(ticking.status("a"))
    assert (status.status, status.run_count) == ("scheduled", 1)
    assert status.next_run_at == world.now + timedelta(minutes=1)
    assert status.last_error is not None
    assert (status.last_error.form, status.last_error.error_type) == ("failure", "Refused")
    await world.advance(s=60)
    status = await world.run(ticking.status("a"))
    assert (status.run_count, status.last_error) == (2, None)


@on_each_store
async def test_get_state_returns_the_decoded_state(world: World) -> None:
    """`get_state(id)`: `None`; the decoded state."""
    ticking, *_ = await opened(world)
    assert await world.run(ticking.get_state("a")) is None
    await world.run(ticking.start("a", Tally()))
    assert await world.run(ticking.get_state("a")) == Tally(1)


# ---------------------------------------------------------------- run_count
@on_each_store
async def test_run_count_starts_at_one_and_counts_runs_not_retries(world: World) -> None:
    """`run_count` starts at 1, counts runs not retries."""
    _, retried, *_ = await opened(world)
    await world.run(retried.start("a", Tally()))
    world.outside.refusals["work"] = 1
    await world.advance(s=60 + 20 + 60)
    assert runs(world) == [
        "run 1, attempt 1, delivery 1",
        "run 2, attempt 1, delivery 1",
        "run 2, attempt 2, delivery 1",
        "run 3, attempt 1, delivery 1",
    ]


@pytest.mark.parametrize("cause", ["start", "trigger", "alarm"])
@on_each_store
async def test_one_logical_run_keeps_its_number_however_often_it_is_delivered(world: World, cause: str) -> None:
    """One logical run keeps its number, however often it is delivered."""
    ticking, *_ = await opened(world)
    if cause != "start":
        await world.run(ticking.start("a", Tally()))
    number = 1 if cause == "start" else 2
    world.outside.heard.clear()
    world.suspension("work")
    match cause:
        case "start":
            world.start(ticking.start("a", Tally()))
        case "trigger":
            world.start(ticking.trigger("a"))
    await world.advance(s=60)
    await world.crash()
    del world.outside.held["work"]
    ticking, *_ = await opened(world)
    assert runs(world) == [f"run {number}, attempt 1, delivery {delivery}" for delivery in (1, 2)]
    assert (await world.run(ticking.status("a"))).run_count == number
