"""What happens to batches while one is flushed, retried, parked or ended: section 3 of the behaviour contract."""

from datetime import timedelta

import pytest
from attrs import frozen
from world import START, HasOutside, ProcessDied, Refused, World, on_each_store, say

from perdure import Backoff, Debounce, DebounceContext, Do, Engine, Limits, Retry, program, tell
from perdure.values.answer import (
    Cleared,
    Ended,
    Failed,
    Flushed,
    HoldChanged,
    Parked,
    Paused,
    Ran,
    Retrying,
    Running,
    Terminated,
)
from perdure.values.failure import Defect


@frozen
class Letter:
    text: str = "x"


@frozen
class Pile:
    texts: tuple[str, ...] = ()


@program
def pile_up(ctx: DebounceContext[Pile], letter: Letter) -> Do[None, Refused, HasOutside]:
    if letter.text.startswith("ring"):
        yield from say(f"{letter.text}, delivery {ctx.delivery}")
        yield from say("rung")
    if letter.text.startswith("remind"):
        yield from tell(mailbag(), ctx.id).add(Letter("later"))
    pile = yield from ctx.state
    yield from ctx.set_state(Pile((*pile.texts, letter.text)))


@program
def deliver(ctx: DebounceContext[Pile]) -> Do[None, Refused, HasOutside]:
    pile = yield from ctx.state
    texts = ",".join(pile.texts)
    yield from say(f"{texts} ({ctx.event_count}, {ctx.flush_reason}) run {ctx.run_count}.{ctx.attempt}.{ctx.delivery}")
    yield from say("deliver")
    yield from say(f"run_id {ctx.run_id}")
    if texts == "echo":
        yield from tell(mailbag(), ctx.id).add(Letter("echoed"))


RETRY = Retry(2, Backoff.constant("20 s"), jitter=False)


def mailbag(**options):
    return Debounce(
        "mailbag",
        event=Letter,
        state=Pile,
        initial=Pile(),
        on_event=pile_up,
        execute=deliver,
        **{"flush_after": "5 s", "retry": RETRY, **options},
    )


async def opened(world: World, definition=None, **limits):
    definition = definition or mailbag()
    return (await world.open(Engine(world.outside, limits=Limits(**limits)).jobs(definition))).of(definition)


async def add(world: World, jobs, *texts: str):
    return [await world.ask(jobs.add("a", Letter(text))) for text in texts][-1]


def flushes(world: World) -> list[str]:
    return [word for word in world.outside.heard if " run " in word]


def run_ids(world: World) -> list[str]:
    return [word for word in world.outside.heard if word.startswith("run_id ")]


def at(seconds: float):
    return START + timedelta(seconds=seconds)


# ---------------------------------------------------------------- while a flush runs
@on_each_store
async def test_events_that_come_during_a_flush_go_into_the_next_batch(world: World) -> None:
    """The flush's claim moves the batch aside, frozen; `add`s meanwhile commit at once to the next batch with its own
    timer; the next batch flushes after the first is settled."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.hold("deliver")
    await world.advance(s=5)
    await world.advance(s=1)
    added = await add(world, jobs, "y")
    assert (added.created, added.event_count, added.will_flush_at) == (True, 1, at(11))
    status = await world.ask(jobs.status("a"))
    assert (status.status, status.event_count, status.started_at) == ("running", 1, at(6))
    assert status.will_flush_at == at(11)
    assert await world.ask(jobs.get_state("a")) == Pile(("y",))
    await world.advance(s=20)  # its own timer is over, and the first batch is not settled
    assert flushes(world) == ["x (1, flush_after) run 1.1.1"]
    world.release("deliver")
    await world.settle()
    assert flushes(world) == ["x (1, flush_after) run 1.1.1", "y (1, flush_after) run 2.1.1"]
    assert await world.row(jobs.definition.address("a")) is None


@on_each_store
async def test_the_next_batch_waits_for_its_own_timer(world: World) -> None:
    """The next batch with its own timer flushes after the first is settled; the instance stands while one is left."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.hold("deliver")
    await world.advance(s=5)
    await add(world, jobs, "y")
    world.release("deliver")
    await world.settle()
    status = await world.ask(jobs.status("a"))
    assert (status.status, status.will_flush_at, status.next_run_at) == ("scheduled", at(10), at(10))
    await world.advance(s=5)
    assert flushes(world)[1:] == ["y (1, flush_after) run 2.1.1"]


@on_each_store
async def test_a_full_next_batch_flushes_as_soon_as_the_first_is_settled(world: World) -> None:
    """The next batch flushes after the first is settled, with its own reason."""
    jobs = await opened(world, mailbag(max_events=2))
    await add(world, jobs, "x")
    world.hold("deliver")
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
    world.hold("deliver")
    first = world.begin(jobs.flush("a"))
    await world.settle()
    await add(world, jobs, "y")
    second, third = world.begin(jobs.flush("a")), world.begin(jobs.flush("a"))
    await world.settle()
    assert not second.done()
    world.release("deliver")
    await world.settle()
    assert first.result().unwrap().outcome == second.result().unwrap().outcome == Ran()
    assert third.result().unwrap() == Flushed(flushed=False, reason="empty", outcome=None)
    assert flushes(world) == ["x (1, manual) run 1.1.1", "y (1, manual) run 2.1.1"]


@on_each_store
async def test_flush_need_not_wait_for_the_run(world: World) -> None:
    """`wait=False` answers after the claim."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.hold("deliver")
    assert (await world.ask(jobs.flush("a", wait="claim"))).outcome == Running()
    world.release("deliver")
    await world.settle()
    assert await world.row(jobs.definition.address("a")) is None


@on_each_store
async def test_clear_leaves_the_batch_that_is_being_flushed(world: World) -> None:
    """`clear(id)`: discards the batch without running; says how many."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.hold("deliver")
    await world.advance(s=5)
    assert await world.ask(jobs.clear("a")) == Cleared(cleared=False, discarded=0)
    await add(world, jobs, "y", "z")
    assert await world.ask(jobs.clear("a")) == Cleared(cleared=True, discarded=2)
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
    """Every definition has `max_run`: then the program is cancelled and the run fails as `TimedOut`."""
    jobs = await opened(world, mailbag(max_run="10 s"))
    await add(world, jobs, "x")
    world.hold("deliver")
    flush = world.begin(jobs.flush("a"))
    await world.advance(s=2)
    await add(world, jobs, "y", "ring")
    await world.advance(s=8)
    outcome = flush.result().unwrap().outcome
    assert isinstance(outcome, Retrying)
    assert isinstance(outcome.error, Defect)
    assert outcome.error.error_type == "RunTimedOut"
    assert (outcome.at, (await world.ask(jobs.status("a"))).event_count) == (at(30), 2)


# ---------------------------------------------------------------- ending during a flush
@on_each_store
async def test_terminate_during_a_flush_waits_for_it(world: World) -> None:
    """During a run `terminate` goes to the head of the queue."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.hold("deliver")
    await world.advance(s=5)
    ended = world.begin(jobs.terminate("a", "why"))
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
    world.hold("deliver")
    flush = world.begin(jobs.flush("a"))
    await world.settle()
    await add(world, jobs, "y")
    assert (await world.ask(jobs.terminate("a", "why", interrupt=True))).terminated
    assert flush.result().unwrap().outcome == Ended("interrupted")
    assert await world.row(jobs.definition.address("a")) is None
    world.release("deliver")
    await world.advance(s=20)
    assert run_ids(world) == []
    assert (await add(world, jobs, "z")).event_count == 1


@on_each_store
async def test_a_shutdown_gives_the_flush_back_also_when_events_came_meanwhile(world: World) -> None:
    """Graceful shutdown never counts."""
    jobs = await opened(world, drain_ms=1_000)
    await add(world, jobs, "x")
    world.hold("deliver")
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
    status = await world.ask(jobs.status("a"))
    assert (status.status, status.attempt, status.next_run_at) == ("retrying", 2, at(25))
    assert await world.ask(jobs.get_state("a")) == Pile(("x", "y"))
    added = await add(world, jobs, "z")
    assert (added.created, added.event_count, added.will_flush_at) == (True, 1, at(10))
    assert (await world.ask(jobs.status("a"))).next_run_at == at(25)
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
    assert await world.ask(jobs.flush("a")) == Flushed(flushed=True, reason=None, outcome=Ran())
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
    world.hold("deliver")
    flush = world.begin(jobs.flush("a"))
    await world.advance(s=60)
    world.release("deliver")
    await world.advance(s=60)
    assert flush.result().unwrap().outcome == Ran()
    assert len(flushes(world)) == 2


@pytest.mark.parametrize("step", range(8))
@on_each_store
async def test_a_keyed_flush_of_a_retry_can_be_repeated_after_a_crash(world: World, step: int) -> None:
    """Repeat the request once with its key: a repeat changes nothing and gets the first answer."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.outside.refusals["deliver"] = 1
    await world.advance(s=5)
    border = world.process.border
    border.die_at = len(border.crossings) + 3 + step
    with pytest.raises(ProcessDied):
        await world.ask(jobs.flush("a", idempotency_key="k"))
    await world.crash()
    jobs = await opened(world)
    repeated = await world.ask(jobs.flush("a", idempotency_key="k"))
    assert repeated.outcome in (Ran(), Running())
    assert await world.row(jobs.definition.address("a")) is None


@on_each_store
async def test_clear_discards_a_batch_that_waits_for_its_retry(world: World) -> None:
    """`clear(id)`: discards the batch without running; says how many."""
    jobs = await opened(world)
    await add(world, jobs, "x", "y")
    world.outside.refusals["deliver"] = 1
    await world.advance(s=5)
    await add(world, jobs, "z")
    assert await world.ask(jobs.clear("a")) == Cleared(cleared=True, discarded=3)
    await world.advance(s=60)
    assert len(flushes(world)) == 1


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
    status = await world.ask(jobs.status("a"))
    assert (status.status, status.parked, status.event_count) == ("parked", "retries_exhausted", 2)
    assert await world.ask(jobs.get_state("a")) == Pile(("x", "y"))
    added = await add(world, jobs, "z")
    assert (added.created, added.event_count, added.will_flush_at) == (True, 1, None)
    await world.advance(s=60)
    assert len(flushes(world)) == 2
    assert (await world.ask(jobs.flush("a"))).outcome == Parked("retries_exhausted")
    assert (await world.ask(jobs.status("a"))).will_flush_at is None
    names = await world.happened(jobs.definition.address("a"))
    assert names[2:6] == ["job.failed", "job.failed", "job.retry_exhausted", "job.parked"]


@on_each_store
async def test_resume_flushes_the_parked_batch_and_then_the_next(world: World) -> None:
    """`resume(id)` re-arms a parked instance: the same run, marked."""
    jobs = await parked(world)
    await add(world, jobs, "z")
    assert await world.ask(jobs.resume("a")) == HoldChanged(changed=True, status="retrying")
    await world.advance(s=5)
    assert flushes(world)[2:] == ["x,y (2, flush_after) run 1.1.2", "z (1, flush_after) run 2.1.1"]
    assert await world.row(jobs.definition.address("a")) is None


@on_each_store
async def test_a_resumed_batch_has_all_its_attempts_again(world: World) -> None:
    """`resume(id)` re-arms a parked instance: `max_duration` too is counted from the failure that comes first then."""
    jobs = await parked(world, retry=Retry(2, Backoff.constant("20 s"), jitter=False, max_duration="1 minute"))
    await world.advance(hours=1)
    world.outside.refusals["deliver"] = 1
    await world.ask(jobs.resume("a"))
    assert (await world.ask(jobs.status("a"))).status == "retrying"
    await world.advance(s=20)
    assert await world.row(jobs.definition.address("a")) is None


@on_each_store
async def test_clear_discards_a_parked_batch(world: World) -> None:
    """`clear(id)`: discards the batch without running; says how many."""
    jobs = await parked(world)
    await add(world, jobs, "z")
    assert await world.ask(jobs.clear("a")) == Cleared(cleared=True, discarded=3)
    assert (await world.ask(jobs.status("a"))).status == "not_found"


@on_each_store
async def test_without_a_retry_a_flush_that_fails_is_parked_at_once(world: World) -> None:
    """`"park"` (default of debounce and task)."""
    jobs = await opened(world, mailbag(retry=None))
    await add(world, jobs, "x")
    world.outside.refusals["deliver"] = 1
    assert (await world.ask(jobs.flush("a"))).outcome == Failed(Refused("deliver"))
    assert (await world.ask(jobs.status("a"))).status == "parked"


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
    """An exception nobody declared, in any hook, is a failure like any other: recorded with its traceback, retried."""

    def broken(error: Refused) -> bool:
        raise RuntimeError(error.why)

    jobs = await opened(world, mailbag(retry=Retry(2, Backoff.constant("20 s"), jitter=False, retry_if=broken)))
    await add(world, jobs, "x")
    world.outside.refusals["deliver"] = 1
    await world.advance(s=5)
    status = await world.ask(jobs.status("a"))
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
    await world.ask(jobs.pause("a"))
    assert (await add(world, jobs, "y", "z")).will_flush_at is None
    assert await world.ask(jobs.flush("a")) == Flushed(flushed=False, reason=None, outcome=Paused())
    await world.advance(s=60)
    assert flushes(world) == []
    await world.ask(jobs.resume("a"))
    assert flushes(world) == ["x,y,z (3, max_events) run 1.1.1"]


@on_each_store
async def test_a_pause_during_a_flush_holds_its_retry_and_the_next_batch(world: World) -> None:
    """`pause(id)` holds alarms and retries."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.hold("deliver")
    world.outside.refusals["deliver"] = 1
    await world.advance(s=5)
    await add(world, jobs, "y")
    await world.ask(jobs.pause("a"))
    world.release("deliver")
    await world.advance(s=60)
    assert len(flushes(world)) == 1
    await world.ask(jobs.resume("a"))
    assert flushes(world)[1:] == ["x (1, flush_after) run 1.2.1", "y (1, flush_after) run 2.1.1"]


# ---------------------------------------------------------------- crashes
@on_each_store
async def test_an_uncommitted_flush_is_repeated_and_marked(world: World) -> None:
    """A committed flush is never repeated; an uncommitted one is repeated and marked."""
    jobs = await opened(world)
    await add(world, jobs, "x")
    world.hold("deliver")
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
    world.hold("deliver")
    await world.advance(s=5)
    world.hold("rung")
    world.begin(jobs.add("a", Letter("ring"), idempotency_key="k"))
    await world.settle()
    row = await world.row(jobs.definition.address("a"))
    assert row.claim is not None
    assert row.event_claim is not None
    assert await world.ask(jobs.get_state("a")) == Pile(("x",))
    await world.crash()
    world.outside.held.clear()
    jobs = await opened(world)
    assert [word for word in world.outside.heard if word.startswith("ring")] == ["ring, delivery 1", "ring, delivery 2"]
    again = await world.ask(jobs.add("a", Letter("ring"), idempotency_key="k"))
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
    world.hold("rung")
    world.begin(jobs.add("a", Letter("ring")))
    await world.settle()
    assert await world.ask(jobs.get_state("a")) is None  # nothing is committed of it yet
    await world.crash()
    world.outside.held["rung"] = []
    jobs = await opened(world)
    later = world.begin(jobs.add("a", Letter("y")))
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
    world.hold("deliver")
    await world.advance(s=5)
    world.hold("rung")
    world.begin(jobs.add("a", Letter("ring"), idempotency_key="k"))
    for _ in range(2):
        await world.settle()
        await world.crash()
        jobs = await opened(world)
    world.outside.held.clear()
    await world.crash()
    jobs = await opened(world)
    status = await world.ask(jobs.status("a"))
    assert (status.status, status.parked, status.event_count) == ("parked", "recovery_exhausted", 1)
    assert (await world.row(jobs.definition.address("a"))).event_claim is None
    assert (await world.ask(jobs.add("a", Letter("ring"), idempotency_key="k"))).event_count == 1
    assert (await add(world, jobs, "y")).event_count == 2
    await world.ask(jobs.resume("a"))
    await world.advance(s=5)
    assert flushes(world)[-2:] == ["x (1, flush_after) run 1.1.4", "ring,y (2, flush_after) run 2.1.1"]


# ---------------------------------------------------------------- messages to itself
@on_each_store
async def test_what_a_flush_tells_its_own_instance_begins_the_next_batch(world: World) -> None:
    """An instance may tell itself: a later turn; within one store a message is applied exactly once."""
    jobs = await opened(world)
    await add(world, jobs, "echo")
    await world.advance(s=10)
    assert flushes(world) == ["echo (1, flush_after) run 1.1.1", "echoed (1, flush_after) run 1.1.1"]


@on_each_store
async def test_what_an_event_tells_its_own_instance_outlives_the_batch(world: World) -> None:
    """Within one store a message is applied exactly once, also when the batch is gone before it arrives."""
    jobs = await opened(world)
    added, cleared = await world.all(jobs.add("a", Letter("remind")), jobs.clear("a"))
    assert added.unwrap().event_count == 1
    await world.advance(s=10)
    came_too_late = cleared.unwrap().discarded == 1
    assert flushes(world) == ["later (1, flush_after) run 1.1.1"] * came_too_late
