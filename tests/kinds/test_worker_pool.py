"""The contract of a worker pool, call by call, on both stores."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from pool import Images, Picture, Unreachable, app_of, pool_of, thumbnails

from perdure import (
    App,
    Backoff,
    Debounce,
    Do,
    ItemContext,
    Limits,
    Program,
    Retry,
    Task,
    TaskContext,
    WorkerPool,
    fail,
    program,
    succeed,
    tell,
)
from perdure.kinds.worker_pool import Done, Failed, ItemCancelled, ItemPut, ItemTriggered, PoolProgress, Waiting
from perdure.runtime.record import Sizes
from perdure.testing import Crash, Delay, Hang, WorkerDied, World
from perdure.testing.world.world import with_sizes
from perdure.values.errors import InvalidArgument, InvalidInput
from perdure.values.status import Defect, InstanceStatus

PICTURE = Picture("ann", "a.png")
BAD = Picture("ann", "bad.png")


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return "memory://" if request.param == "memory" else tmp_path / "jobs.db"


def test_an_item_is_worked_on_and_its_result_is_kept(store: Any) -> None:
    images = Images()
    with World(app_of(images), store=store) as world:
        pool = world.handle(thumbnails)
        assert world.run(pool.outcome("a")) is None
        assert world.run(pool.put("a", PICTURE)) == ItemPut(created=True, status="queued", due_at=None)
        world.settle()
        assert world.run(pool.outcome("a")) == Done(value="small a.png")
        assert world.run(pool.put("a", Picture("bob", "b.png"))) == ItemPut(created=False, status="done", due_at=None)
        assert world.run(pool.get_state("a")) == PICTURE
        row = world.instance(thumbnails, "a")
        assert row is not None
        assert row.lane is None
        assert images.urls == ["a.png"]
        world.advance("59 minutes")
        assert world.run(pool.outcome("a")) == Done(value="small a.png")
        world.advance("1 minute")
        assert world.run(pool.outcome("a")) is None
        assert world.run(pool.put("a", PICTURE)).created
        assert [event.type for event in world.history(thumbnails, "a")][-2:] == ["job.executed", "job.started"]


def test_without_keep_an_item_leaves_with_its_end(store: Any) -> None:
    job = pool_of(keep="0 ms")
    with World(app_of(Images(), job), store=store) as world:
        pool = world.handle(job)
        world.run(pool.put("a", PICTURE))
        world.settle()
        assert world.run(pool.outcome("a")) is None
        assert world.run(pool.count()).total == 0


@program
def continues(ctx: ItemContext[int]) -> Do[None]:
    number = yield from ctx.item
    if number:
        yield from tell(countdown(), ctx.id).put(number - 1)


def countdown(**options: Any) -> WorkerPool[int, Any, Any, Any]:
    return WorkerPool("countdown", item=int, work=continues, **options)


@pytest.mark.parametrize("keep", ["0 ms", "1 hour"])
def test_an_item_that_puts_its_own_id_again_is_followed_by_that_item_unless_it_is_kept(store: Any, keep: str) -> None:
    job = countdown(keep=keep)
    with World(App(None).with_jobs(job), store=store) as world:
        world.run(world.handle(job).put("a", 2))
        world.advance("1 minute")
        runs = [event for event in world.history(job, "a") if event.type == "job.executed"]
        assert len(runs) == (3 if keep == "0 ms" else 1)


def _plain(ctx: ItemContext[int]) -> Program[int]:
    raise ValueError(f"no work on {ctx.id}")


def _checked(work: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a generator function as an author does whose check runs before the program is built."""
    made = program(work)

    @wraps(work)
    def checked(ctx: ItemContext[int]) -> Any:
        if ctx.id:
            raise ValueError(f"no work on {ctx.id}")
        return made(ctx)

    return checked


@_checked
def _decorated(ctx: ItemContext[int]) -> Do[int]:
    return (yield from ctx.item)


@pytest.mark.parametrize("work", [_plain, _decorated])
def test_a_work_that_raises_before_it_returns_a_program_fails_by_the_policy(work: Any, store: Any) -> None:
    job: Any = WorkerPool("p", item=int, work=work, result=int, retry=Retry(3, Backoff.constant("1 s"), jitter=False))
    with World(App(None).with_jobs(job), store=store) as world:
        pool = world.handle(job)
        world.run(pool.put("a", 1))
        world.advance("1 minute")
        parked = world.run(pool.outcome("a"))
        assert isinstance(parked, Failed)
        assert (parked.error.error_type, parked.error.message) == ("ValueError", "no work on a")
        failed = [logged for logged in world.run(world.jobs.history(job, "a")) if logged.event.type == "job.failed"]
        assert len(failed) == 3


def test_a_delayed_item_waits_for_its_instant(store: Any) -> None:
    images = Images()
    with World(app_of(images), store=store) as world:
        pool = world.handle(thumbnails)
        put = world.run(pool.put("after", PICTURE, after="10 s"))
        assert (put.status, put.due_at) == ("scheduled", world.now.replace(second=10))
        world.run(pool.put("at", PICTURE, at=world.now.replace(second=20)))
        world.run(pool.put("past", Picture("ann", "past"), at=world.now.replace(year=2020)))
        late = world.run(pool.put("late", PICTURE, at=world.now + timedelta(days=1, microseconds=1)))
        assert late.due_at == world.now + timedelta(days=1, milliseconds=1)
        world.advance("9999 ms")
        assert images.urls == ["past"]
        world.advance("1 ms")
        assert images.urls == ["past", "a.png"]
        assert world.run(pool.outcome("at")) == Waiting(status="scheduled")
        world.advance("10 s")
        assert len(images.urls) == 3


def test_a_head_start_overtakes_items_that_were_put_less_earlier(store: Any) -> None:
    images, job = Images(), pool_of(workers=1)
    with World(app_of(images, job), store=store) as world:
        pool = world.handle(job)
        world.run(pool.hold())
        world.run(pool.put("old", Picture("ann", "old")))
        world.advance("1 minute")
        for id_, head_start in (("late", "0 ms"), ("bit", "59 s"), ("much", "61 s")):
            world.run(pool.put(id_, Picture("ann", id_), head_start=head_start))
        world.run(pool.release())
        world.settle()
        assert images.urls == ["much", "old", "bit", "late"]


BACK = timedelta(hours=-1)


def put_all(pool: Any, world: World, *ids: str, **options: Any) -> None:
    for id_ in ids:
        world.run(pool.put(id_, Picture("ann", id_), **options))


@pytest.mark.parametrize("restart", [World.restart, World.crash, None], ids=["restart", "crash", "no restart"])
def test_items_keep_their_order_and_wait_for_nothing_after_the_clock_went_back(store: Any, restart: Any) -> None:
    images, job = Images(), pool_of(workers=1, workers_per_key=1)
    with World(app_of(images, job), store=store) as world:
        pool = world.handle(job)
        put_all(pool, world, "bad")  # it waits for its retry
        world.settle()
        world.run(pool.hold())
        put_all(pool, world, "a", "b")
        world.shift_wall_clock(BACK)
        if restart is not None:
            restart(world)
        if not world.is_open:
            world.open()
        put_all(pool, world, "c", "d")
        world.shift_wall_clock(BACK)
        put_all(pool, world, "e", "f")
        world.advance("1 s")
        assert world.run(pool.trigger("bad")).queued
        world.run(pool.release())
        world.settle()
        assert images.urls == ["bad", "a", "b", "c", "d", "e", "f", "bad"]


def test_head_starts_delays_and_retries_follow_one_clock_after_it_went_back(store: Any) -> None:
    images, job = Images(), pool_of(workers=1)
    with World(app_of(images, job), store=store) as world:
        pool = world.handle(job)
        put_all(pool, world, "bad late", "bad now")  # their retries are due in a minute
        world.settle()
        world.run(pool.hold())
        put_all(pool, world, "delayed", after="30 s")
        put_all(pool, world, "old")
        world.shift_wall_clock(BACK)
        world.advance("1 minute")
        put_all(pool, world, "late")
        put_all(pool, world, "bit", head_start="59 s")
        put_all(pool, world, "much", head_start="61 s")
        world.advance("1 s")
        assert world.run(pool.trigger("bad now")).queued
        images.calls.clear()
        world.advance("1 hour")
        world.run(pool.release())
        world.settle()
        assert images.urls == ["much", "old", "bit", "late", "bad now", "delayed", "bad late"]


def test_a_retry_that_is_overdue_keeps_its_place_when_it_is_triggered(store: Any) -> None:
    images, job = Images(), pool_of(workers=1)
    with World(app_of(images, job), store=store) as world:
        pool = world.handle(job)
        put_all(pool, world, "bad")  # its retry is due in a minute
        world.settle()
        world.run(pool.hold())
        world.advance("2 minutes")
        put_all(pool, world, "late")
        world.advance("1 s")
        world.run(pool.trigger("bad"))
        images.calls.clear()
        world.run(pool.release())
        world.settle()
        assert images.urls == ["bad", "late"]


def test_a_failed_attempt_is_retried_and_then_the_item_is_dead(store: Any) -> None:
    images = Images()
    with World(app_of(images), store=store) as world:
        pool = world.handle(thumbnails)
        world.run(pool.put("a", BAD))
        world.settle()
        assert world.run(pool.outcome("a")) == Waiting(status="retrying")
        row = world.instance(thumbnails, "a")
        assert row is not None
        assert row.lane is None
        world.advance("1 minute")
        world.advance("1 minute")
        assert world.run(pool.outcome("a")) == Failed(error=Unreachable("bad.png"))
        parked, exhausted, *_ = world.history(thumbnails, "a")
        assert (parked.type, parked.reason) == ("job.parked", "retries_exhausted")
        assert (exhausted.type, exhausted.reason) == ("job.retry_exhausted", "max_attempts")
        assert world.run(pool.put("a", PICTURE)) == ItemPut(created=False, status="parked", due_at=None)
        assert len({run for run, _ in images.calls}) == 1
        assert len(images.calls) == 3
        assert world.run(pool.resume("a")).changed
        world.settle()
        assert len(images.calls) == 4
        assert world.run(pool.cancel("a")).cancelled
        assert world.run(pool.outcome("a")) is None


def test_retry_begins_an_item_that_waits_for_its_retry_and_no_other(store: Any) -> None:
    images = Images()
    with World(app_of(images), store=store) as world:
        pool = world.handle(thumbnails)
        assert world.run(pool.trigger("a")) == ItemTriggered(queued=False, status=None)
        world.run(pool.put("a", BAD))
        world.settle()
        assert len(images.calls) == 1
        assert world.run(pool.trigger("a")) == ItemTriggered(queued=True, status="retrying")
        world.settle()
        assert len(images.calls) == 2
        world.run(pool.put("b", PICTURE))
        world.settle()
        assert world.run(pool.trigger("b")) == ItemTriggered(queued=False, status="done")
        world.settle()
        assert images.urls == ["bad.png", "bad.png", "a.png"]


@program
def take_note(ctx: ItemContext[Picture], error: Any) -> Do[None, Unreachable]:
    picture = yield from ctx.item
    NOTES.append((picture.url, error))


NOTES: list[Any] = []


def test_on_error_takes_care_of_a_parked_item(store: Any) -> None:
    NOTES.clear()
    job = pool_of(on_error=take_note, retry=None)
    with World(app_of(Images(), job), store=store) as world:
        pool = world.handle(job)
        world.run(pool.put("a", BAD))
        world.settle()
        assert [("bad.png", Unreachable("bad.png"))] == NOTES
        assert world.run(pool.outcome("a")) is None


@program
def give_up(ctx: ItemContext[Picture], error: Any) -> Do[None, Unreachable]:
    yield from ctx.item
    raise ValueError("no report")


def test_an_item_is_parked_if_on_error_fails() -> None:
    job = pool_of(on_error=give_up, retry=None)
    with World(app_of(Images(), job)) as world:
        pool = world.handle(job)
        world.run(pool.put("a", BAD))
        world.settle()
        assert world.run(pool.outcome("a")) == Failed(error=Unreachable("bad.png"))
        hooks = [event.hook for event in world.history(job, "a") if event.type == "job.failed"]
        assert hooks == ["on_error", "work"]


@pytest.mark.parametrize("when", ["waiting", "delayed", "parked", "paused"])
def test_cancel_deletes_an_item_that_does_not_run(when: str, store: Any) -> None:
    images, job = Images(), pool_of(retry=None)
    with World(app_of(images, job), store=store) as world:
        pool = world.handle(job)
        if when == "waiting":
            world.run(pool.hold())
        world.run(pool.put("a", BAD, after="1 s" if when in ("delayed", "paused") else None))
        world.settle()
        if when == "paused":
            world.run(pool.pause("a"))
        calls = len(images.calls)
        assert world.run(pool.cancel("a")) == ItemCancelled(cancelled=True, reason="")
        assert world.run(pool.cancel("a")) == ItemCancelled(cancelled=False, reason="not_found")
        world.run(pool.release())
        world.advance("1 minute")
        assert len(images.calls) == calls


def test_cancel_leaves_an_item_that_runs_or_is_done() -> None:
    with World(app_of(Images())) as world:
        pool = world.handle(thumbnails)
        world.inject(Hang("shrink"))
        world.run(pool.put("a", PICTURE))
        world.settle()
        assert world.run(pool.cancel("a")) == ItemCancelled(cancelled=False, reason="running")
        assert world.run(pool.put("a", BAD)).status == "running"
        world.run(pool.put("b", PICTURE))
        world.settle()
        assert world.run(pool.cancel("b")) == ItemCancelled(cancelled=False, reason="done")
        world.run(pool.terminate("a", interrupt=True))


def test_a_pause_takes_an_item_out_of_its_line(store: Any) -> None:
    images = Images()
    with World(app_of(images), store=store) as world:
        pool = world.handle(thumbnails)
        world.run(pool.hold())
        for id_ in "ab":
            world.run(pool.put(id_, Picture("ann", id_)))
        world.run(pool.pause("a"))
        world.run(pool.release())
        world.advance("1 s")
        assert images.urls == ["b"]
        world.run(pool.resume("a"))
        world.settle()
        assert images.urls == ["b", "a"]


def test_a_held_pool_accepts_items_and_begins_none_also_after_a_restart(store: Any) -> None:
    images = Images()
    with World(app_of(images), store=store) as world:
        pool = world.handle(thumbnails)
        world.run(pool.hold())
        world.run(pool.put("a", PICTURE))
        world.run(pool.put("b", PICTURE, after="1 s"))
        world.crash()
        world.open()
        world.advance("1 hour")
        assert images.calls == []
        progress = world.run(pool.progress())
        assert (progress.waiting, progress.held, progress.oldest) == (2, True, world.now.replace(hour=0))
        world.run(pool.release())
        world.settle()
        assert len(images.calls) == 2


@pytest.mark.parametrize(("compared", "oldest"), [(1, "a"), (2, "b"), (3, "c"), (4, "c")])
def test_the_longest_waiting_item_is_that_of_the_first_keys(compared: int, oldest: str, store: Any) -> None:
    with with_sizes(World(app_of(Images()), store=store), Sizes(lanes_compared=compared)) as world:
        pool = world.handle(thumbnails)
        world.run(pool.hold())
        put_at = {}
        for key in ("c", "b", "a"):
            put_at[key] = world.now
            world.run(pool.put(key, Picture(key, "a.png")))
            world.advance("1 s")
        assert world.run(pool.progress()).oldest == put_at[oldest]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_during_the_work_repeats_it_marked(when: Literal["before", "after"], store: Any) -> None:
    images = Images()
    with World(app_of(images), store=store) as world:
        pool = world.handle(thumbnails)
        world.inject(Crash("shrink", when=when))
        world.run(pool.hold())
        world.run(pool.put("a", PICTURE))
        world.run(pool.release())
        with pytest.raises(WorkerDied):
            world.settle()
        world.open()
        world.settle()
        assert world.run(pool.outcome("a")) == Done(value="small a.png")
        assert len(images.calls) == (1 if when == "before" else 2)
        assert len({run for run, _ in images.calls}) == 1


def test_progress_counts_the_items_by_their_end(store: Any) -> None:
    with World(app_of(Images()), store=store) as world:
        pool = world.handle(thumbnails)
        world.inject(Hang("shrink"))
        world.run(pool.put("running", PICTURE))
        world.settle()
        world.run(pool.put("done", PICTURE))
        world.run(pool.put("retrying", BAD))
        world.run(pool.put("delayed", PICTURE, after="1 hour"))
        world.settle()
        found = world.run(pool.progress())
        assert (found.waiting, found.running, found.done, found.parked, found.paused) == (2, 1, 1, 0, 0)
        assert found.complete
        world.run(pool.terminate("running", interrupt=True))


def test_the_progress_of_a_pool_without_items_counts_none(store: Any) -> None:
    with World(app_of(Images()), store=store) as world:
        assert world.run(world.handle(thumbnails).progress()) == PoolProgress(
            waiting=0, running=0, done=0, parked=0, paused=0, oldest=None, held=False, complete=True
        )


def test_one_key_leaves_workers_to_the_others() -> None:
    with World(app_of(Images())) as world:
        pool = world.handle(thumbnails)
        world.inject(Hang("shrink", times=4))
        for number in range(4):
            world.run(pool.put(f"a{number}", Picture("ann", "a")))
            world.settle()
        assert world.run(pool.progress()).running == 2
        for id_ in "bcd":
            world.run(pool.put(id_, Picture(id_, id_)))
        world.settle()
        assert world.run(pool.progress()).running == 4
        for id_ in ("a0", "a1", "a2", "a3", *"bcd"):
            world.run(pool.terminate(id_, interrupt=True))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"after": "-1 s"}, InvalidArgument),
        ({"head_start": "soon"}, InvalidArgument),
        ({"after": "1 s", "at": "now"}, InvalidInput),
    ],
)
def test_wrong_options_of_put_are_errors_of_the_call(options: dict[str, Any], error: type) -> None:
    with World(app_of(Images())) as world:
        if "at" in options:
            options = {**options, "at": world.now}
        failure = world.attempt(world.handle(thumbnails).put("a", PICTURE, **options)).failure()
        assert isinstance(failure, error)


def test_a_key_must_be_a_short_text() -> None:
    for key in (lambda _: 3, lambda _: "k" * 201):
        job = pool_of(key=key)
        with World(app_of(Images(), job)) as world:
            failure = world.attempt(world.handle(job).put("a", PICTURE)).failure()
            assert "at most 200 characters" in str(failure)
    job = pool_of(key=lambda _: "k" * 200)
    with World(app_of(Images(), job)) as world:
        assert world.run(world.handle(job).put("a", PICTURE)).created


@pytest.mark.parametrize("wrong", ["too large", "not encodable"])
def test_an_item_whose_result_cannot_be_stored_is_dead_without_a_retry(wrong: str, store: Any) -> None:
    images = Images(small=lambda url: 90 * "x" if wrong == "too large" else 3)
    with World(App(images, limits=Limits(state_bytes=80)).with_jobs(thumbnails), store=store) as world:
        pool = world.handle(thumbnails)
        world.run(pool.put("a", PICTURE))
        world.advance("1 hour")
        assert len(images.calls) == 1
        parked = world.run(pool.outcome("a"))
        assert isinstance(parked, Failed)
        assert isinstance(parked.error, Defect)
        assert parked.error.error_type == "ResultNotStored"
        assert "result of pool:thumbnails" in parked.error.message
        assert ("at most 80 bytes" if wrong == "too large" else "expected str, got 3") in parked.error.message
        parked, exhausted, *_ = world.history(thumbnails, "a")
        assert (exhausted.type, exhausted.reason, parked.type) == (
            "job.retry_exhausted",
            "result_not_stored",
            "job.parked",
        )


def test_on_error_takes_care_of_an_item_whose_result_cannot_be_stored() -> None:
    NOTES.clear()
    job = pool_of(on_error=take_note)
    images = Images(small=lambda url: 90 * "x")
    with World(App(images, limits=Limits(state_bytes=80)).with_jobs(job)) as world:
        pool = world.handle(job)
        world.run(pool.put("a", PICTURE))
        world.settle()
        ((url, error),) = NOTES
        assert (url, error.error_type) == ("a.png", "ResultNotStored")
        assert world.run(pool.outcome("a")) is None


def test_a_parked_item_that_on_error_takes_over_says_so_in_its_history(store: Any) -> None:
    NOTES.clear()
    job = pool_of(on_error=take_note)
    with World(app_of(Images(), job), store=store) as world:
        pool = world.handle(job)
        world.run(pool.put("a", BAD))
        world.advance("2 minutes")
        types = [event.type for event in world.history(job, "a")]
        assert types == ["job.terminated", "job.retry_exhausted", *["job.failed"] * 3, "job.started"]
        ended, exhausted, *_ = world.history(job, "a")
        assert (exhausted.reason, ended.reason) == ("max_attempts", "on_error")


def test_a_report_names_no_next_run_of_an_item_that_is_done() -> None:
    with World(app_of(Images())) as world:
        pool = world.handle(thumbnails)
        world.run(pool.put("a", PICTURE))
        world.settle()
        status: InstanceStatus = world.run(pool.status("a"))
        assert attrs.asdict(status)["next_run_at"] is None
        assert status.status == "done"


def test_an_item_that_was_fired_when_its_pool_was_held_begins_with_the_release(store: Any) -> None:
    images, job = Images(), pool_of(workers=1)
    with World(app_of(images, job), store=store) as world:
        pool = world.handle(job)
        world.run(pool.hold())
        world.run(pool.put("a", Picture("ann", "a"), idempotency_key="k"))
        world.run(pool.put("b", Picture("ann", "b")))
        world.inject(Delay("store.commit", "2 s"))
        again = world.start(pool.put("a", Picture("ann", "a"), idempotency_key="another"))
        world.settle()
        world.run(pool.release())  # fires the first item, whose turn waits for the call
        world.settle()
        world.run(pool.hold())
        world.advance("3 s")
        assert not again.answer().created
        assert images.urls == []
        world.run(pool.release())
        world.advance("2 s")
        assert images.urls == ["a", "b"]


@pytest.mark.parametrize("end", ["done", "parked", "retrying", "crash"])
def test_an_item_that_is_paused_while_it_runs_ends_as_it_ends(end: str, store: Any) -> None:
    images, job = Images(), pool_of() if end == "retrying" else pool_of(retry=None)
    with World(app_of(images, job), store=store) as world:
        pool = world.handle(job)
        world.inject(Delay("shrink", "2 s"))
        world.run(pool.put("a", BAD if end in ("parked", "retrying") else PICTURE))
        world.settle()
        assert world.run(pool.pause("a")).changed
        if end == "crash":
            world.crash()
            world.open()
        world.advance("3 s")
        outcome = world.run(pool.outcome("a"))
        if end == "retrying":  # the pause holds its retry
            assert outcome == Waiting(status="paused")
            world.advance("1 hour")
            assert len(images.calls) == 1
            world.run(pool.resume("a"))
            world.advance("1 minute")
            world.advance("1 minute")
            outcome = world.run(pool.outcome("a"))
        assert outcome == (
            Failed(error=Unreachable("bad.png")) if end in ("parked", "retrying") else Done(value="small a.png")
        )
        if end in ("done", "crash"):
            assert world.run(pool.put("a", PICTURE)).status == "done"


def test_a_pause_of_an_item_that_is_done_has_no_effect(store: Any) -> None:
    with World(app_of(Images()), store=store) as world:
        pool = world.handle(thumbnails)
        world.run(pool.put("a", PICTURE))
        world.settle()
        paused = world.run(pool.pause("a"))
        assert (paused.changed, paused.status) == (False, "done")
        assert world.run(pool.progress()).done == 1
        world.advance("1 hour")
        assert world.run(pool.outcome("a")) is None


def _later(ctx: TaskContext[int], _: int) -> Program[None]:
    return ctx.schedule(after="1 day")


def _nothing(_: TaskContext[int]) -> Program[None]:
    return succeed(None)


def test_a_drain_reads_no_other_kind_with_the_same_name() -> None:
    """Its ids are those of other jobs: the item of such an id may be one that does not wait."""
    pool = pool_of(retry=Retry(max_attempts=1))
    task = Task(pool.name, state=int, event=int, initial=0, on_event=_later, execute=_nothing)
    with World(app_of(Images(), pool, task)) as world:
        items = world.handle(pool)
        world.run(items.put("parked", BAD))
        world.settle()
        world.run(items.put("waits", PICTURE, after="1 hour"))
        for id_ in ("parked", "waits"):
            world.run(world.handle(task).send(id_, 1))
        assert world.run(items.drain()).cancelled == 1
        statuses = [(each.address.kind, each.address.id, each.status) for each in world.run(world.jobs.list())]
    assert statuses == [("pool", "parked", "parked"), ("task", "parked", "scheduled"), ("task", "waits", "scheduled")]


@pytest.mark.parametrize(
    ("keep", "repeat"), [(None, "changes_nothing"), ("1 hour", "changes_nothing"), ("0 ms", "applies_again")]
)
def test_a_put_whose_answer_was_lost_is_repeated_only_while_its_id_is_kept(keep: Any, repeat: str) -> None:
    assert pool_of(keep=keep).plan.commands["put"].repeat == repeat


def _unreachable(_: Any) -> Program[None, Unreachable]:
    return fail(Unreachable("a"))


def test_tags_may_name_classes_that_only_some_types_of_a_job_have() -> None:
    tags = {Picture: "picture", Unreachable: "unreachable"}
    assert pool_of(tags=tags).plan.state.encode(PICTURE) == b'{"type":"picture","customer":"ann","url":"a.png"}'
    batch = Debounce("batch", event=Picture, flush_after="1 s", execute=_unreachable, tags=tags)
    assert batch.plan.commands["add"].input is not None
