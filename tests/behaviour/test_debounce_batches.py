"""The batches of a debounce, and when it flushes: section 3 of the behaviour contract."""

from datetime import timedelta
from pathlib import Path

import pytest
from attrs import frozen
from world import START, STORES, HasOutside, Refused, StoreKind, World, on_each_store, play, say

from perdure import App, Debounce, DebounceContext, Do, fail, program
from perdure.values.answer import Added, Cleared
from perdure.values.errors import DefinitionError, HookRaised, Rejected
from perdure.values.outcome import Completed, Flushed


@frozen
class Letter:
    text: str = "x"


@frozen
class Pile:
    texts: tuple[str, ...] = ()


@program
def pile_up(ctx: DebounceContext[Pile], letter: Letter) -> Do[None]:
    pile = yield from ctx.state
    yield from ctx.set_state(Pile((*pile.texts, letter.text)))


@program
def deliver(ctx: DebounceContext[Pile]) -> Do[None, Refused, HasOutside]:
    pile = yield from ctx.state
    now = yield from ctx.now
    began, at = (ctx.started_at - START).total_seconds(), (now - START).total_seconds()
    yield from say(f"{','.join(pile.texts)} ({ctx.event_count}) {ctx.flush_reason} from {began:g} at {at:g}")
    yield from say("deliver")


def mailbag(**options):
    return Debounce(
        "mailbag",
        event=Letter,
        state=Pile,
        initial=Pile(),
        execute=deliver,
        **{"flush_after": "5 s", "on_event": pile_up, **options},
    )


async def opened(world: World, definition):
    return (await world.open(App(world.outside).with_jobs(definition))).handle(definition)


def flushes(world: World) -> list[str]:
    return [word for word in world.outside.heard if word != "deliver"]


def at(seconds: float):
    return START + timedelta(seconds=seconds)


# ---------------------------------------------------------------- the calls
@on_each_store
async def test_add_creates_an_absent_instance_and_returns_the_time_of_its_flush(world: World) -> None:
    """`add(id, event)`, absent: creates; `created`, `event_count`, `will_flush_at`; exists: the same."""
    jobs = await opened(world, mailbag())
    assert await world.run(jobs.add("a", Letter())) == Added(created=True, event_count=1, will_flush_at=at(5))
    await world.advance(s=2)
    assert await world.run(jobs.add("a", Letter())) == Added(created=False, event_count=2, will_flush_at=at(5))
    assert await world.happened(jobs.definition.address("a")) == ["job.started", "debounce.started"]


@on_each_store
async def test_flush_finds_nothing_where_nothing_is(world: World) -> None:
    """`flush(id)`, absent: `flushed=False`, `empty`."""
    jobs = await opened(world, mailbag())
    assert await world.run(jobs.flush("a")) == Flushed(flushed=False, reason="empty", outcome=None)
    assert await world.row(jobs.definition.address("a")) is None


@on_each_store
async def test_flush_runs_now(world: World) -> None:
    """`flush(id)`, exists: runs now, reason `manual`."""
    jobs = await opened(world, mailbag())
    await world.run(jobs.add("a", Letter("x")))
    await world.advance(s=2)
    assert await world.run(jobs.flush("a")) == Flushed(flushed=True, reason=None, outcome=Completed())
    assert flushes(world) == ["x (1) manual from 0 at 2"]
    await world.advance(s=20)
    assert len(flushes(world)) == 1


@pytest.mark.parametrize("letters", [1, 3])
@on_each_store
async def test_clear_discards_the_batch_without_running(world: World, letters: int) -> None:
    """`clear(id)`: `cleared=False`, 0; discards the batch without running; says how many."""
    jobs = await opened(world, mailbag())
    assert await world.run(jobs.clear("a")) == Cleared(cleared=False, discarded=0)
    for _ in range(letters):
        await world.run(jobs.add("a", Letter()))
    assert await world.run(jobs.clear("a")) == Cleared(cleared=True, discarded=letters)
    await world.advance(s=20)
    assert flushes(world) == []
    assert (await world.run(jobs.status("a"))).status == "not_found"


@on_each_store
async def test_status_and_state_tell_of_the_batch(world: World) -> None:
    """`status`, `get_state`: `not_found` / `None`; status, `event_count`, `started_at`, `will_flush_at`."""
    jobs = await opened(world, mailbag())
    assert (await world.run(jobs.status("a"))).status == "not_found"
    assert await world.run(jobs.get_state("a")) is None
    await world.run(jobs.add("a", Letter("x")))
    await world.advance(s=1)
    await world.run(jobs.add("a", Letter("y")))
    status = await world.run(jobs.status("a"))
    assert (status.status, status.event_count, status.started_at) == ("scheduled", 2, at(0))
    assert status.will_flush_at == at(5)
    assert await world.run(jobs.get_state("a")) == Pile(("x", "y"))


# ---------------------------------------------------------------- when a batch flushes
@on_each_store
async def test_the_timer_starts_at_the_first_event_and_later_ones_do_not_move_it(world: World) -> None:
    """The timer starts at the **first** event and is not moved by later ones (add at 0 s and 3 s, `flush_after` 5 s →
    5 s)."""
    jobs = await opened(world, mailbag())
    await world.run(jobs.add("a", Letter("x")))
    await world.advance(s=3)
    await world.run(jobs.add("a", Letter("y")))
    await world.advance(s=10)
    assert flushes(world) == ["x,y (2) flush_after from 0 at 5"]
    names = await world.happened(jobs.definition.address("a"))
    assert names == ["job.started", "debounce.started", "job.executed", "debounce.flushed"]


@on_each_store
async def test_inactivity_moves_the_flush_with_each_event(world: World) -> None:
    """`inactivity=`: a true trailing debounce, each event moves the flush to that long after it."""
    jobs = await opened(world, mailbag(inactivity="2 s", flush_after="1 minute"))
    for second in range(4):
        added = await world.run(jobs.add("a", Letter(str(second))))
        assert added.will_flush_at == at(second + 2)
        await world.advance(s=1)
    await world.advance(s=10)
    assert flushes(world) == ["0,1,2,3 (4) inactivity from 0 at 5"]


@on_each_store
async def test_inactivity_never_moves_the_flush_past_flush_after(world: World) -> None:
    """Fire time ≤ first + `flush_after`, always."""
    jobs = await opened(world, mailbag(inactivity="2 s"))
    for second in range(5):
        await world.run(jobs.add("a", Letter(str(second))))
        await world.advance(s=1)
    assert flushes(world) == ["0,1,2,3,4 (5) flush_after from 0 at 5"]


@on_each_store
async def test_max_events_flushes_now_and_add_does_not_wait_for_it(world: World) -> None:
    """`max_events` reached → the alarm is now; `add` never waits for user code."""
    jobs = await opened(world, mailbag(max_events=2))
    world.suspension("deliver")
    await world.run(jobs.add("a", Letter("x")))
    await world.advance(s=1)
    added = await world.run(jobs.add("a", Letter("y")))  # answered during the flush
    assert added == Added(created=False, event_count=2, will_flush_at=at(1))
    assert flushes(world) == ["x,y (2) max_events from 0 at 1"]
    assert (await world.run(jobs.status("a"))).status == "running"


async def fill_after(jobs, name: str, reads: int):
    for _ in range(reads):
        await jobs.status(name)
    return await jobs.add(name, Letter())


@pytest.mark.parametrize("store_kind", STORES)
@pytest.mark.parametrize("seed", range(12))
def test_an_alarm_that_is_now_fires_now(store_kind: StoreKind, seed: int, tmp_path: Path) -> None:
    """`max_events` reached → the alarm is now, also when the engine is just then looking at what else is due."""

    async def scenario(world: World) -> None:
        jobs = await opened(world, mailbag(max_events=2))
        for reads in range(4):  # so that the commit of the second event meets the engine at each of its steps
            await world.run(jobs.add("a", Letter()))
            await world.run(jobs.add("other", Letter()))
            world.start(jobs.add("other", Letter()))
            await world.run(fill_after(jobs, "a", reads))
            await world.settle()
            assert len(flushes(world)) == 2 * (reads + 1)

    play(store_kind, tmp_path, scenario, seed=seed)


@on_each_store
async def test_add_does_not_wait_for_flushes_that_fill_the_job(world: World) -> None:
    """`add` never waits for user code: not for that of other instances either, which take all places of the job."""
    jobs = await opened(world, mailbag(runs=1))
    world.suspension("deliver")
    await world.run(jobs.add("a", Letter("x")))
    world.start(jobs.flush("a"))
    await world.settle()
    task = world.start(jobs.add("b", Letter("y")))
    await world.settle()
    assert task.done()
    assert flushes(world) == ["x (1) manual from 0 at 0"]


# ---------------------------------------------------------------- the state of a batch
@program
def last_word(ctx: DebounceContext[Letter]) -> Do[None, Refused, HasOutside]:
    letter = yield from ctx.state
    yield from say(letter.text)


@program
def joined(ctx: DebounceContext[Letter], letter: Letter) -> Do[None]:
    before = yield from ctx.state
    if before != letter:
        yield from ctx.set_state(Letter(f"{before.text}+{letter.text}"))


@on_each_store
async def test_by_default_the_newest_event_is_kept(world: World) -> None:
    """`state` (default: the event type), `on_event(ctx, event)` (default: keep the newest)."""
    jobs = await opened(world, Debounce("newest", event=Letter, flush_after="5 s", execute=last_word))
    for text in "xyz":
        await world.run(jobs.add("a", Letter(text)))
        assert await world.run(jobs.get_state("a")) == Letter(text)
    await world.advance(s=5)
    assert world.outside.heard == ["z"]


@program
def longest(ctx: DebounceContext[Letter], letter: Letter) -> Do[None, Refused, HasOutside]:
    kept = yield from ctx.state
    yield from say(f"{ctx.event_count}: {kept.text} {letter.text}")
    if not letter.text:
        yield from fail(Refused("empty"))
    yield from ctx.set_state(max(kept, letter, key=lambda each: len(each.text)))


@on_each_store
async def test_on_event_is_called_for_every_event_also_without_an_initial_state(world: World) -> None:
    """`on_event(ctx, event)` runs for the first event of each batch, which may refuse it: then none begins."""
    job = Debounce("longest", event=Letter, flush_after="5 s", on_event=longest, execute=last_word)
    jobs = await opened(world, job)
    assert isinstance((await world.attempt(jobs.add("a", Letter("")))).failure(), Rejected)
    assert await world.row(job.address("a")) is None
    for text in ("xx", "x", "xxx", "y"):
        await world.run(jobs.add("a", Letter(text)))
    await world.advance(s=5)
    await world.run(jobs.add("a", Letter("w")))
    await world.advance(s=5)
    batches = [["0: xx xx", "1: xx x", "2: xx xxx", "3: xxx y", "xxx"], ["0: w w", "w"]]
    assert world.outside.heard == ["0:  ", *batches[0], *batches[1]]


@on_each_store
async def test_without_an_initial_state_a_batch_begins_with_its_first_event(world: World) -> None:
    """`initial` (needed when the state type differs)."""
    job = Debounce("joined", event=Letter, flush_after="5 s", on_event=joined, execute=last_word)
    jobs = await opened(world, job)
    for text in "xyz":
        await world.run(jobs.add("a", Letter(text)))
    await world.advance(s=5)
    await world.run(jobs.add("a", Letter("w")))
    await world.advance(s=5)
    assert world.outside.heard == ["x+y+z", "w"]


@on_each_store
async def test_with_an_initial_state_on_event_runs_from_the_first_event_on(world: World) -> None:
    """`initial`: the state of each empty batch."""
    job = Debounce(
        "joined", event=Letter, state=Letter, initial=Letter("0"), flush_after="5 s", on_event=joined, execute=last_word
    )
    jobs = await opened(world, job)
    for _ in range(2):
        await world.run(jobs.add("a", Letter("x")))
        await world.run(jobs.add("a", Letter("y")))
        await world.advance(s=5)
    assert world.outside.heard == ["0+x+y", "0+x+y"]


@pytest.mark.parametrize(
    "options",
    [
        {"state": Pile, "on_event": pile_up},  # no initial
        {"state": Pile, "initial": Pile()},  # no on_event
        {"inactivity": "5 s"},
        {"max_events": 0},
        {"flush_after": 5},
    ],
)
def test_an_invalid_definition_fails_when_it_is_defined(options):
    """`initial` (needed when the state type differs)."""
    with pytest.raises(DefinitionError):
        Debounce("wrong", event=Letter, execute=last_word, **{"flush_after": "5 s", **options})


# ---------------------------------------------------------------- success
@on_each_store
async def test_success_drops_the_batch_and_purges_the_instance(world: World) -> None:
    """Success drops the batch; the instance is purged when none is left."""
    jobs = await opened(world, mailbag())
    await world.run(jobs.add("a", Letter()))
    await world.advance(s=5)
    assert await world.row(jobs.definition.address("a")) is None
    assert (await world.run(jobs.add("a", Letter()))).created


# ---------------------------------------------------------------- what on_event may do
@program
def picky(ctx: DebounceContext[Pile], letter: Letter) -> Do[None, Refused, HasOutside]:
    pile = yield from ctx.state
    yield from say(f"{letter.text}, delivery {ctx.delivery}")
    match letter.text:
        case "end":
            yield from ctx.terminate("told so")
        case "break":
            raise RuntimeError(letter.text)
    yield from say(letter.text)
    yield from ctx.set_state(Pile((*pile.texts, letter.text)))


def picky_bag():
    return mailbag(on_event=picky)


@pytest.mark.parametrize("text", ["no", "break"])
@on_each_store
async def test_an_event_that_is_refused_leaves_nothing(world: World, text: str) -> None:
    """A failed run never changes state: where no batch was, none begins."""
    jobs = await opened(world, picky_bag())
    world.outside.refusals["no"] = 2
    error = await world.error_of(jobs.add("a", Letter(text)))
    assert isinstance(error, Rejected if text == "no" else HookRaised)
    assert await world.row(jobs.definition.address("a")) is None


@pytest.mark.parametrize("text", ["no", "break"])
@on_each_store
async def test_an_event_that_is_refused_beside_a_flush_begins_no_batch(world: World, text: str) -> None:
    """A failed run never changes state: the instance is as if the event had not come."""
    jobs = await opened(world, picky_bag())
    await world.run(jobs.add("a", Letter("x")))
    world.suspension("deliver")
    flush = world.start(jobs.flush("a"))
    await world.settle()
    world.outside.refusals["no"] = 2
    await world.error_of(jobs.add("a", Letter(text)))
    world.release("deliver")
    await world.advance(s=20)
    assert flush.result().unwrap().outcome == Completed()
    assert await world.row(jobs.definition.address("a")) is None
    assert [word for word in world.outside.heard if "from" in word] == ["x (1) manual from 0 at 0"]


@on_each_store
async def test_an_event_may_end_the_instance(world: World) -> None:
    """`terminate` may be called inside every hook."""
    jobs = await opened(world, picky_bag())
    await world.run(jobs.add("a", Letter("x")))
    added = await world.run(jobs.add("a", Letter("end")))
    assert added == Added(created=False, event_count=0, will_flush_at=None)
    assert await world.row(jobs.definition.address("a")) is None
    await world.advance(s=20)
    assert (await world.happened(jobs.definition.address("a")))[-1] == "job.terminated"
