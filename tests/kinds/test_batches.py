"""``docs/how-to/batch-items-of-a-pool.md``: the end of a batch, its counts, and who learns of it, once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure import (
    App,
    Backoff,
    BatchContext,
    Decision,
    Do,
    ItemContext,
    Limits,
    PoolBatch,
    Retry,
    Secret,
    Task,
    WorkerPool,
    Workflow,
    WorkflowContext,
    effect,
    program,
    tell,
)
from perdure.kinds.worker_pool import BatchChanged, BatchFailure, BatchProgress
from perdure.kinds.worker_pool.batch_turns import MAX_WAITERS, pause_ms
from perdure.kinds.worker_pool.items import batch_of
from perdure.runtime.record import Sizes
from perdure.testing import Delay, WorkerDied, World
from perdure.testing.cluster import Cluster
from perdure.testing.world.world import with_sizes
from perdure.values.errors import DefinitionError, HookRaised, InvalidArgument, InvalidInput


@attrs.define
class Outside:
    """Works on numbers: odd ones fail until they are repaired."""

    heard: list[int] = attrs.field(factory=list[int])
    repaired: set[int] = attrs.field(factory=set[int])

    def work(self, number: int) -> FutureResult[int, str]:
        self.heard.append(number)
        return (
            FutureResult.from_value(number)
            if number % 2 == 0 or number in self.repaired
            else FutureResult.from_failure("odd")
        )


@effect
def work(services: Outside, number: int) -> FutureResult[int, str]:
    return services.work(number)


@program
def on_item(ctx: ItemContext[int]) -> Do[int, str, Outside]:
    number = yield from ctx.item
    if number == 100:
        yield from ctx.terminate("given up")
    return (yield from work(number))


def pool_of(**options: Any) -> WorkerPool[int, int, str, Outside]:
    return WorkerPool("numbers", item=int, work=on_item, workers=4, **options)


def note(ends: tuple[int, ...], end: int) -> Success[Decision[tuple[int, ...]]]:
    return Success(Decision((*ends, end)))


ends = Task("ends", state=tuple[int, ...], event=int, initial=(), decide=note)


@program
def on_done(ctx: BatchContext) -> Do[None]:
    end = yield from ctx.state
    yield from tell(ends, ctx.id).send(end.put)


numbers = pool_of()
batches = PoolBatch(
    "batches", pool=numbers, on_done=on_done, retry=Retry(max_attempts=2, delay=Backoff.constant("1 s"))
)


@program
def wait_for(ctx: WorkflowContext[str]) -> Do[str]:
    batch = yield from ctx.state
    match (yield from batches.done(batch).attempt()):
        case Success(end):
            return f"{end.done} of {end.put}"
        case Failure(defect):
            return defect.message


waiting = Workflow("waiting", state=str, run=wait_for)


@program
def import_all(ctx: WorkflowContext[int]) -> Do[tuple[int, int], Any]:
    count = yield from ctx.state
    yield from tell(batches, ctx.id).put({f"{ctx.id}-{n}": n for n in range(count)})
    yield from tell(batches, ctx.id).seal()
    end = yield from batches.done(ctx.id)
    return end.done, end.failed


importing = Workflow("importing", state=int, run=import_all)
JOBS = (numbers, batches, ends, waiting, importing)


def app_of(outside: Outside, *jobs: Any, limits: Limits | None = None) -> App[Any]:
    return App(outside, limits=limits or Limits()).with_jobs(*(jobs or JOBS))


def counts(end: BatchProgress | None) -> tuple[int, ...]:
    assert end is not None
    return end.put, end.done, end.failed, end.cancelled, end.existed


# ---------------------------------------------------------------- the end
@pytest.mark.parametrize("store", ["memory://", "sqlite"])
def test_a_batch_is_done_once_for_a_workflow_a_task_and_a_caller(store: str, tmp_path: Path) -> None:
    with World(app_of(Outside()), store=tmp_path / "jobs.db" if store == "sqlite" else store) as world:
        handle, flows = world.handle(batches), world.handle(waiting)
        world.run(flows.start("w", "b"))
        first = world.run(handle.put("b", {"a": 2, "b": 3}))
        assert first == BatchChanged(accepted=True, found="open", put=2, status="idle")
        assert world.run(handle.put_many("b", ((f"i{n}", n) for n in range(20)), chunk=7)).put == 20
        world.settle()
        end = world.run(handle.seal_and_wait("b"))
        assert counts(end) == (22, 11, 11, 0, 0)
        assert {failure.error_type for failure in end.failures} == {"str"}
        world.settle()
        assert world.run(flows.outcome("w")).value == "11 of 22"  # type: ignore[union-attr]
        assert world.run(flows.status("w")).run_count == 2
        assert world.run(world.handle(ends).get_state("b")) == (22,)
        assert world.run(handle.put("b", {"late": 1})) == BatchChanged(
            accepted=False, found="done", put=0, status="done"
        )


def test_a_workflow_puts_seals_and_waits() -> None:
    with World(app_of(Outside())) as world:
        world.run(world.handle(importing).start("f", 30))
        world.advance("1 s")
        assert world.run(world.handle(importing).outcome("f")).value == (15, 15)  # type: ignore[union-attr]


def test_an_empty_batch_is_done_when_it_is_sealed() -> None:
    with World(app_of(Outside())) as world:
        assert counts(world.run(world.handle(batches).seal_and_wait("none"))) == (0, 0, 0, 0, 0)
        assert world.run(world.handle(batches).seal("none")).found == "done"
        world.run(world.handle(waiting).start("late", "none"))
        world.settle()
        assert world.run(world.handle(waiting).outcome("late")).value == "0 of 0"  # type: ignore[union-attr]


# ---------------------------------------------------------------- how each item is counted
def test_each_item_is_counted_by_how_it_ends() -> None:
    outside = Outside()
    with World(app_of(outside)) as world:
        handle, pool = world.handle(batches), world.handle(numbers)
        world.run(pool.put("known", 8))
        world.run(handle.put("b", {"known": 8, "ok": 2, "bad": 3, "own": 100}))
        world.run(handle.put("b", {"cancelled": 4, "terminated": 6, "waits": 10}, after="1 hour"))
        world.run(handle.put("b", {"ok": 2}))
        world.settle()
        assert world.run(pool.cancel("cancelled")).cancelled
        world.run(pool.terminate("terminated"))
        world.run(handle.seal("b"))
        world.settle()
        progress = world.run(handle.get_state("b"))
        assert progress is not None
        assert counts(progress) == (8, 1, 1, 3, 2)
        assert progress.waiting == 1
        assert progress.failures == (BatchFailure(id="bad", error_type="str", message="'odd'"),)
        world.advance("2 hours")
        assert counts(world.run(handle.get_state("b"))) == (8, 2, 1, 3, 2)


def test_an_item_that_an_operator_resumes_counts_again_until_the_end() -> None:
    outside = Outside()
    with World(app_of(outside)) as world:
        handle, pool = world.handle(batches), world.handle(numbers)
        world.run(handle.put("b", {"bad": 3, "worse": 5}))
        world.settle()
        assert counts(world.run(handle.get_state("b"))) == (2, 0, 2, 0, 0)
        outside.repaired = {3, 5}
        world.run(pool.resume("bad"))
        world.settle()
        progress = world.run(handle.get_state("b"))
        assert progress is not None
        assert (counts(progress), [failure.id for failure in progress.failures]) == ((2, 1, 1, 0, 0), ["worse"])
        world.run(pool.terminate("worse"))  # it was counted when it was parked
        world.run(handle.seal("b"))
        world.settle()
        assert counts(world.run(handle.get_state("b"))) == (2, 1, 1, 0, 0)
        world.run(handle.put("c", {"late": 7}))
        world.run(handle.seal("c"))
        world.settle()
        outside.repaired = {7}
        world.run(pool.resume("late"))
        world.settle()
        assert counts(world.run(handle.get_state("c"))) == (1, 0, 1, 0, 0)
        assert world.run(world.handle(ends).get_state("c")) == (1,)


@pytest.mark.parametrize("keep", ["0 ms", "1 s", None])
def test_results_that_are_not_kept_stay_counted(keep: Any) -> None:
    pool = pool_of(keep=keep, retry=Retry(max_attempts=2, delay=Backoff.constant("1 s"), on_exhausted="purge"))
    own = PoolBatch("own", pool=pool)
    with World(app_of(Outside(), pool, own)) as world:
        handle = world.handle(own)
        world.run(handle.put_many("b", ((f"i{n}", n) for n in range(6))))
        world.run(handle.seal("b"))
        world.advance("1 minute")
        assert counts(world.run(handle.get_state("b"))) == (6, 3, 3, 0, 0)


def test_an_on_error_that_takes_over_counts_as_a_failure() -> None:
    pool = WorkerPool("numbers", item=int, work=on_item, on_error=lambda ctx, error: Success(None))
    own = PoolBatch("own", pool=pool)
    with World(app_of(Outside(), pool, own)) as world:
        world.run(world.handle(own).put("b", {"bad": 1}))
        end = world.run(world.handle(own).seal_and_wait("b"))
        assert (counts(end), end.failures[0].message) == ((1, 0, 1, 0, 0), "'odd'")


@program
def whisper(ctx: ItemContext[int]) -> Do[Annotated[int, Secret]]:
    return (yield from ctx.item)


def test_a_secret_result_is_hidden_in_an_item_of_a_batch() -> None:
    pool = WorkerPool("whispers", item=int, work=whisper, result=Annotated[int, Secret])
    own = PoolBatch("own", pool=pool)
    with World(app_of(Outside(), pool, own)) as world:
        world.run(world.handle(own).put("b", {"a": 4_711}))
        (row,) = [row for row in world.instances() if row.address.kind == "pool"]
        hidden = pool.redacted_data(row, lambda _: "hidden")
        assert "4711" not in hidden.data
        assert batch_of(hidden) == batch_of(row) != ""


# ---------------------------------------------------------------- lives of one id, retention, limits
def test_items_of_an_earlier_batch_with_the_same_id_do_not_count() -> None:
    with World(app_of(Outside())) as world:
        handle = world.handle(batches)
        world.run(world.handle(waiting).start("w", "b"))
        world.run(handle.put("b", {"old": 2}, after="1 hour"))
        world.run(handle.terminate("b", "started by mistake"))
        world.settle()
        assert world.run(world.handle(waiting).outcome("w")).value == "started by mistake"  # type: ignore[union-attr]
        world.run(handle.put("b", {"new": 4}, after="2 hours"))
        world.advance("90 minutes")
        assert counts(world.run(handle.get_state("b"))) == (1, 0, 0, 0, 0)


@given(pairs=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9))), chunk=st.integers(1, 4))
@settings(max_examples=25)
def test_an_id_that_comes_again_is_counted_and_the_first_item_is_worked_on(
    pairs: list[tuple[str, int]], chunk: int
) -> None:
    outside = Outside()
    with World(app_of(outside)) as world:
        handle = world.handle(batches)
        assert world.run(handle.put_many("b", pairs, chunk=chunk)).put == len(pairs)
        end = world.run(handle.seal_and_wait("b"))
    firsts = dict(reversed(pairs))
    assert (end.put, end.existed) == (len(pairs), len(pairs) - len(firsts))
    assert end.done + end.failed == len(firsts)
    assert sorted(set(outside.heard)) == sorted(set(firsts.values()))


def test_a_batch_is_kept_for_as_long_as_its_definition_says() -> None:
    own = PoolBatch("own", pool=numbers, keep="1 hour")
    with World(app_of(Outside(), numbers, own)) as world:
        world.run(world.handle(own).seal_and_wait("b"))
        world.advance("59 minutes")
        assert world.run(world.handle(own).status("b")).status == "done"
        world.advance("2 minutes")
        assert world.run(world.handle(own).status("b")).status == "not_found"


def test_a_hook_that_fails_for_good_parks_the_batch_which_is_still_done_for_others() -> None:
    fail = [True]

    def hook(ctx: BatchContext) -> Any:
        return Failure("no mail") if fail else Success(None)

    own = PoolBatch("own", pool=numbers, on_done=hook)
    with World(app_of(Outside(), numbers, own)) as world:
        handle = world.handle(own)
        end = world.run(handle.seal_and_wait("b"))
        assert end.ended_at is not None
        assert world.run(handle.status("b")).status == "parked"
        fail.clear()
        world.run(handle.resume("b"))
        world.settle()
        assert world.run(handle.status("b")).status == "done"


def test_limits_of_a_batch() -> None:
    own = PoolBatch("own", pool=numbers, failures=2)
    limits = Limits(messages_per_turn=3)
    with World(app_of(Outside(), numbers, own, limits=limits)) as world:
        handle = world.handle(own)
        four = {f"i{n}": 1 for n in range(4)}
        refused = world.attempt(handle.put("b", four)).failure()
        assert isinstance(refused, InvalidInput)
        assert "at most 3 for each put" in str(refused)
        assert world.run(handle.put_many("b", four.items(), chunk=3)).put == 4
        world.settle()
        state = world.run(handle.get_state("b"))
        assert state is not None
        assert (state.failed, len(state.failures)) == (4, 2)
        for wrong in (0, 1_001):
            assert isinstance(world.attempt(handle.put_many("b", [], chunk=wrong)).failure(), InvalidArgument)
        for pair in (1, "a", ([], 1), (1, 1)):
            assert isinstance(world.attempt(handle.put_many("b", [pair])).failure(), InvalidArgument)  # type: ignore[list-item]
    for failures in (-1, 101, True):
        with pytest.raises(DefinitionError):
            PoolBatch("own", pool=numbers, failures=failures)
    with pytest.raises(DefinitionError):
        PoolBatch("own", pool=ends)  # type: ignore[arg-type]


def test_a_batch_has_a_limit_of_waiting_workflows() -> None:
    with World(app_of(Outside())) as world:
        for n in range(MAX_WAITERS + 1):
            world.run(world.handle(waiting).start(f"w{n}", "b"))
        world.settle()
        refused = world.run(world.handle(waiting).outcome(f"w{MAX_WAITERS}"))
        assert "100 workflows wait for batch:batches:b" in refused.value  # type: ignore[union-attr]
        world.run(world.handle(batches).seal("b"))
        world.settle()
        assert world.run(world.handle(waiting).outcome("w99")).value == "0 of 0"  # type: ignore[union-attr]


def test_items_that_the_pool_would_refuse_are_refused_by_the_batch() -> None:
    wrong: Any = {"a": "text"}
    with World(app_of(Outside())) as world:
        handle = world.handle(batches)
        assert isinstance(world.attempt(handle.put("b", wrong)).failure(), InvalidInput)
        assert world.run(handle.get_state("b")) is None
        world.run(handle.seal("b"))
        world.run(world.handle(importing).start("b", 3))  # its put comes too late
        world.settle()
        noted = [event.name for event in world.history(batches, "b") if event.type == "job.noted"]
        assert "batch.not_put" in noted


def test_an_item_whose_key_cannot_be_computed_is_refused_by_the_batch_before_any_other_is_put() -> None:
    keyed = pool_of(key=lambda number: "k" * number)
    of_keyed = PoolBatch("of_keyed", pool=keyed)
    with World(App(Outside()).with_jobs(keyed, of_keyed)) as world:
        handle = world.handle(of_keyed)
        refused = world.error_of(handle.put("b", {"good": 200, "bad": 201}))
        assert isinstance(refused, HookRaised)
        assert "at most 200 characters, not 201" in str(refused)
        assert world.run(handle.get_state("b")) is None
        end = world.run(handle.put("b", {"good": 200}))
        assert (end.put, world.run(handle.seal_and_wait("b")).done) == (1, 1)


# ---------------------------------------------------------------- a pool without work
@program
def wait_for_the_pool(ctx: WorkflowContext[int]) -> Do[int, Any]:
    for n in range((yield from ctx.state)):
        yield from tell(numbers, f"{ctx.id}-{n}").put(2 * n, after="30 s" if n else None)
    end = yield from batches.pool_empty(ctx.id)
    assert end.ended_at is not None
    return end.put


emptied = Workflow("emptied", state=int, run=wait_for_the_pool)
WATCHING = (*JOBS, emptied)


@pytest.mark.parametrize("store", ["memory://", "sqlite"])
def test_a_workflow_a_task_and_a_caller_learn_once_that_a_pool_has_no_work(store: str, tmp_path: Path) -> None:
    outside = Outside()
    place = tmp_path / "jobs.db" if store == "sqlite" else store
    with World(app_of(outside, *WATCHING), store=place) as world:
        flows, handle = world.handle(emptied), world.handle(batches)
        world.run(flows.start("w", 3))
        world.advance("29 s")
        assert (outside.heard, world.run(flows.outcome("w"))) == ([0], None)
        assert world.run(handle.watch_pool("own")) == BatchChanged(accepted=True, found="absent", status="scheduled")
        assert world.run(handle.watch_pool("own")).found == "sealed"
        assert world.run(handle.put("own", {"late": 2})).accepted is False
        world.advance("10 s")
        assert sorted(outside.heard) == [0, 2, 4]
        assert world.run(flows.outcome("w")).value == 0  # type: ignore[union-attr]
        end = world.run(handle.seal_and_wait("own"))
        assert (end.sealed, end.put) == (True, 0)
        world.run(world.handle(numbers).put("later", 6))
        world.advance("1 hour")
        assert world.run(handle.watch_pool("own")) == BatchChanged(accepted=False, found="done", status="done")
        assert world.run(handle.get_state("own")) == end
        assert (world.run(world.handle(ends).get_state("w")), world.run(world.handle(ends).get_state("own"))) == (
            (0,),
            (0,),
        )
        assert [each.name for each in world.history(batches, "w") if each.type == "job.noted"] == ["batch.done"]


@pytest.mark.parametrize("left", ["delayed", "queued", "running", "retrying"])
def test_work_of_each_form_keeps_a_watch_open(left: str) -> None:
    pool = pool_of(retry=Retry(max_attempts=2, delay=Backoff.constant("1 hour")))
    own = PoolBatch("own", pool=pool)
    with World(app_of(Outside(), pool, own)) as world:
        items, handle = world.handle(pool), world.handle(own)
        if left == "running":
            world.inject(Delay("work", "1 hour"))
        if left == "queued":
            world.run(items.hold())
        world.start(items.put("a", 1 if left == "retrying" else 2, after="1 hour" if left == "delayed" else None))
        world.settle()
        world.run(handle.watch_pool("b"))
        world.advance("30 minutes")
        assert world.run(handle.get_state("b")) == BatchProgress(sealed=True)
        world.run(items.release())
        world.advance("3 hours")
        end = world.run(handle.get_state("b"))
        assert end is not None
        assert end.ended_at is not None


def test_items_that_wait_for_an_operator_are_no_work() -> None:
    with World(app_of(Outside())) as world:
        items, handle = world.handle(numbers), world.handle(batches)
        world.run(items.put("done", 2))
        world.run(items.put("parked", 3))
        world.run(items.put("paused", 4, after="1 hour"))
        world.run(items.pause("paused"))
        world.settle()
        world.run(handle.watch_pool("b"))
        world.settle()
        assert world.run(handle.status("b")).status == "done"


def test_a_batch_with_items_does_not_watch_and_says_so() -> None:
    with World(app_of(Outside(), *WATCHING)) as world:
        handle = world.handle(batches)
        world.run(handle.put("w", {"a": 2}, after="1 hour"))
        assert world.run(handle.watch_pool("w")) == BatchChanged(accepted=False, found="open", status="idle")
        world.run(world.handle(emptied).start("w", 0))
        world.settle()
        assert "batch.not_watched" in [one.name for one in world.history(batches, "w") if one.type == "job.noted"]
        world.run(handle.seal("w"))
        world.advance("2 hours")
        assert world.run(world.handle(emptied).outcome("w")).value == 1  # type: ignore[union-attr]


def test_a_slow_look_at_a_pool_takes_a_twentieth_of_the_time() -> None:
    assert [pause_ms(waited, 40) for waited in (0, 9_999, 10_000, 20_000, 10**9)] == [
        1_000,
        1_000,
        1_000,
        2_000,
        60_000,
    ]
    assert [pause_ms(0, took) for took in (0, 50, 51, 9_000)] == [1_000, 1_000, 1_020, 180_000]


def test_a_batch_looks_at_its_pool_after_a_tenth_of_its_wait() -> None:
    with World(app_of(Outside())) as world:
        handle = world.handle(batches)
        world.run(world.handle(numbers).put("a", 2, after="1 day"))
        world.run(handle.watch_pool("b"))
        world.settle()
        for waited, pause in (("0 s", 1), ("5 s", 1), ("30 s", 3), ("30 minutes", 60), ("10 hours", 60)):
            world.advance(waited)
            before = world.run(handle.status("b")).run_count
            world.advance(f"{pause} s")
            assert world.run(handle.status("b")).run_count == before + 1
        world.run(handle.terminate("b"))


# ---------------------------------------------------------------- laws: any calls, any crash, small limits
SIZES = Sizes(turns_in_a_commit=2, turns_in_a_row=2)


def steps(world: World, outside: Outside, drawn: list[tuple[str, int]]) -> None:
    """Make the calls of a producer and of an operator."""
    handle, pool = world.handle(batches), world.handle(numbers)
    for at, (step, number) in enumerate(drawn):
        match step:
            case "put":
                items = {f"i{n}": n for n in range(number, number + 4)}
                world.run(handle.put("b", items, idempotency_key=f"put-{at}"))
            case "later":
                world.run(handle.put("b", {f"l{number}": number}, after="1 hour", idempotency_key=f"put-{at}"))
            case "cancel":
                world.run(pool.cancel(f"l{number}"))
            case "resume":
                outside.repaired.add(number)
                world.run(pool.resume(f"i{number}"))
            case _:
                world.advance("1 s")


def check_end(world: World, puts: int) -> None:
    """Seal the batch, and check the counts and the reports."""
    end = world.run(world.handle(batches).seal_and_wait("b", timeout="3 hours"))
    world.advance("2 hours")
    assert sum(counts(end)[1:]) == end.put == puts
    assert world.run(world.handle(batches).get_state("b")) == end
    assert world.run(world.handle(ends).get_state("b")) == (puts,)
    assert world.run(world.handle(waiting).outcome("w")).value == f"{end.done} of {puts}"  # type: ignore[union-attr]


CALLS = st.lists(
    st.tuples(st.sampled_from(["put", "put", "later", "cancel", "resume", "wait"]), st.integers(0, 7)), max_size=8
)


@settings(max_examples=25)
@given(CALLS, st.integers(1, 120), st.sampled_from(["memory://", "sqlite"]))
def test_a_crash_anywhere_loses_no_item_and_counts_none_twice(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, int]], die_at: int, store: str
) -> None:
    outside = Outside()
    place: Any = tmp_path_factory.mktemp("batch") / "jobs.db" if store == "sqlite" else store
    with with_sizes(World(app_of(outside), store=place), SIZES) as world:
        world.run(world.handle(waiting).start("w", "b"))
        world.crash_after(die_at)
        try:
            steps(world, outside, drawn)
            world.crash()
        except WorkerDied:
            pass
        world.open(app_of(outside))
        steps(world, outside, drawn)  # the producer repeats its calls, with their keys
        puts = sum({"put": 4, "later": 1}.get(step, 0) for step, _ in drawn)
        check_end(world, puts)


@settings(max_examples=10)
@given(st.integers(0, 1_000), st.integers(1, 30), st.sampled_from(["none", "first", "second"]))
def test_engines_of_a_shared_store_agree_on_the_end(seed: int, items: int, crash: str) -> None:
    with Cluster(app_of(Outside()), seed=seed) as cluster:
        engines = {"first": cluster.open(), "second": cluster.open()}
        cluster.run_on(engines["first"], lambda client: client.handle(waiting).start("w", "b"))
        pairs = [(f"i{n}", n) for n in range(items)]
        cluster.run_on(engines["first"], lambda client: client.handle(batches).put_many("b", pairs, chunk=10))
        cluster.run_on(engines["second"], lambda client: client.handle(batches).seal("b"))
        if crash != "none":
            engines[crash].crash()
        cluster.advance("2 minutes")
        left = engines["second" if crash == "first" else "first"]
        end = cluster.run_on(left, lambda client: client.handle(batches).get_state("b"))
        assert end is not None
        assert end.ended_at is not None
        assert (end.put, end.done + end.failed) == (items, items)
        assert cluster.run_on(left, lambda client: client.handle(ends).get_state("b")) == (items,)


@settings(max_examples=25)
@given(st.integers(1, 60), st.integers(0, 3), st.sampled_from(["memory://", "sqlite"]))
def test_a_watch_ends_once_and_after_the_work_whatever_is_killed(
    tmp_path_factory: pytest.TempPathFactory, die_at: int, items: int, store: str
) -> None:
    outside = Outside()
    place: Any = tmp_path_factory.mktemp("watch") / "jobs.db" if store == "sqlite" else store
    with World(app_of(outside, *WATCHING), store=place) as world:
        world.crash_after(die_at)
        try:
            world.run(world.handle(emptied).start("w", items))
            world.advance("20 s")
            world.crash()
        except WorkerDied:
            pass
        world.open(app_of(outside, *WATCHING))
        world.run(world.handle(emptied).start("w", items))
        world.advance("2 minutes")
        assert world.run(world.handle(emptied).outcome("w")).value == 0  # type: ignore[union-attr]
        assert world.run(world.handle(ends).get_state("w")) == (0,)
        assert {2 * n for n in range(items)} <= set(outside.heard)


def test_engines_of_a_shared_store_watch_a_pool() -> None:
    with Cluster(app_of(Outside(), *WATCHING), seed=1) as cluster:
        first, second = cluster.open(), cluster.open()
        cluster.run_on(first, lambda client: client.handle(emptied).start("w", 3))
        cluster.advance("20 s")
        assert cluster.run_on(second, lambda client: client.handle(emptied).outcome("w")) is None
        first.crash()
        cluster.advance("3 minutes")
        assert cluster.run_on(second, lambda client: client.handle(emptied).outcome("w")).value == 0  # type: ignore[union-attr]
        assert cluster.run_on(second, lambda client: client.handle(ends).get_state("w")) == (0,)
