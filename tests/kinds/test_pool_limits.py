"""The limits of a pool over time: rates, workers per key, failing stores, and runs that are recovered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pool import HasImages, Images, Picture, Unreachable, app_of, customer, pool_of, shrink

from perdure import App, Do, Limits, Task, TaskContext, WorkerPool, program
from perdure.kinds.worker_pool import Done
from perdure.testing import Crash, Delay, Fail, Hang, WorkerDied, World
from perdure.values.errors import DefinitionError, StoreUnavailable


def items(number: int, *, of: str = "ann") -> list[tuple[str, Picture]]:
    return [(f"{of}-{n}", Picture(of, f"{of}-{n}")) for n in range(number)]


def begun_by_second(job: WorkerPool[Any, Any, Any, Any], given: list[tuple[str, Picture]], seconds: int) -> list[int]:
    images = Images()
    with World(app_of(images, job)) as world:
        world.run(world.handle(job).put_many(given))
        world.settle()
        counts = [len(images.calls)]
        for _ in range(seconds):
            world.advance("1 s")
            counts.append(len(images.calls))
    return counts


def test_a_rate_holds_for_the_pool_and_saves_nothing_for_a_burst() -> None:
    job = pool_of(workers=50, rate=(4, "1 s"))
    assert begun_by_second(job, items(12), 3) == [4, 8, 12, 12]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return "memory://" if request.param == "memory" else tmp_path / "jobs.db"


def test_the_first_items_of_an_empty_store_begin_at_once(store: Any) -> None:
    images, job = Images(), pool_of(rate=(1, "1 hour"))
    with World(app_of(images, job), store=store) as world:
        world.run(world.handle(job).put_many(items(2)))
        world.settle()
        assert len(images.calls) == 1
        world.advance("59 minutes")
        assert len(images.calls) == 1
        world.advance("1 minute")
        assert len(images.calls) == 2


def test_restarts_neither_stop_a_rate_nor_begin_it_again(store: Any) -> None:
    images, job = Images(), pool_of(rate=(1, "1 hour"))
    with World(app_of(images, job), store=store) as world:
        world.run(world.handle(job).put_many(items(20)))
        for _ in range(12):
            world.advance("50 minutes")
            world.restart()
        assert len(images.calls) == 11  # at the start, and after each of ten hours


def test_restarts_do_not_begin_a_rate_per_key_again(store: Any) -> None:
    images, job = Images(), pool_of(rate_per_key=(2, "1 hour"))
    with World(app_of(images, job), store=store) as world:
        world.run(world.handle(job).put_many([*items(9), *items(9, of="bob")]))
        for _ in range(3):
            world.settle()
            world.crash()
            world.open()
        assert len(images.calls) == 4
        world.advance("1 hour")
        assert len(images.calls) == 8


def test_a_recovered_run_counts_as_one_that_begins(store: Any) -> None:
    images, job = Images(), pool_of(rate=(3, "1 minute"), workers=4)
    with World(app_of(images, job), store=store) as world:
        world.inject(Delay("shrink", "1 s", times=2))
        world.run(world.handle(job).put_many(items(2)))
        world.settle()  # two begin
        world.crash()
        world.inject(Delay("shrink", "1 s", times=9))
        world.open()
        world.settle()
        assert world.run(world.handle(job).progress()).running == 2
        world.advance("2 s")
        assert len(images.calls) == 1  # the third one of the window
        world.advance("1 minute")
        assert len(images.calls) == 2


def test_a_rate_per_key_holds_for_each_key_alone() -> None:
    job = pool_of(workers=50, rate_per_key=(2, "1 s"))
    assert begun_by_second(job, [*items(5), *items(3, of="bob")], 3) == [4, 7, 8, 8]


def test_workers_per_key_work_on_all_items_in_the_end() -> None:
    images, job = Images(), pool_of(workers=8, workers_per_key=1)
    with World(app_of(images, job)) as world:
        for call in range(1, 7):
            world.inject(Delay("shrink", "1 s", call=call))
        world.run(world.handle(job).put_many([*items(3), *items(3, of="bob")]))
        world.advance("1500 ms")
        assert sorted(url.partition("-")[0] for url in images.urls) == ["ann", "bob"]
        world.advance("2 s")
        assert len(images.calls) == 6


def test_a_claim_that_the_store_refuses_is_tried_again() -> None:
    images, job = Images(), pool_of(workers=1)
    with World(app_of(images, job)) as world:
        pool = world.handle(job)
        world.inject(Fail("store.commit", StoreUnavailable("commit", "no disk"), call=2))
        world.run(pool.put("a", Picture("ann", "a")))
        world.settle()
        world.run(pool.put("b", Picture("ann", "b")))
        world.advance("2 s")
        assert sorted(images.urls) == ["a", "b"]


@pytest.mark.parametrize("operation", ["lanes.names", "lanes.queued"])
def test_a_store_that_cannot_read_its_lanes_is_asked_again(operation: str, tmp_path: Path) -> None:
    images, job = Images(), pool_of(workers=1)
    with World(app_of(images, job), store=tmp_path / "jobs.db") as world:
        pool = world.handle(job)
        world.run(pool.hold())
        world.run(pool.put_many(items(3)))
        world.close()
        world.inject(Fail(f"store.{operation}", StoreUnavailable(operation, "no disk")))
        world.open()
        world.run(pool.release())
        world.advance("2 s")
        assert sorted(images.urls) == ["ann-0", "ann-1", "ann-2"]


def test_a_recovered_run_takes_a_worker_of_its_key() -> None:
    images, job = Images(), pool_of(workers=4, workers_per_key=1)
    with World(app_of(images, job)) as world:
        pool = world.handle(job)
        world.inject(Crash("shrink", when="before"))
        world.run(pool.put("a", Picture("ann", "a"), after="1 s"))
        with pytest.raises(WorkerDied):
            world.advance("1 s")
        world.inject(Hang("shrink"))
        world.open()
        world.run(pool.put("b", Picture("ann", "b")))
        world.run(pool.put("c", Picture("bob", "c")))
        world.settle()
        assert images.urls == ["c"]
        assert world.run(pool.progress()).running == 1
        world.run(pool.terminate("a", interrupt=True))
        world.settle()
        assert world.run(pool.outcome("b")) == Done(value="small b")


def test_a_recovered_run_that_waits_for_its_rate_keeps_no_worker_from_the_others() -> None:
    images, job = Images(), pool_of(workers=3, rate_per_key=(2, "1 hour"))
    with World(app_of(images, job)) as world:
        pool = world.handle(job)
        world.run(pool.put_many(items(1)))
        world.settle()
        world.inject(Hang("shrink", times=3))
        for key in ("carl", "ann", "bob"):
            world.run(pool.put(f"{key}-1", Picture(key, f"{key}-1")))
        world.settle()
        world.crash()
        fewer = pool_of(workers=1, rate_per_key=(2, "1 hour"))
        world.inject(Delay("shrink", "1 s"))
        for call in (2, 3):  # the recoveries of ann-1 and bob-1 begin while carl-1 runs
            world.inject(Delay("store.load", "500 ms", call=call))
        world.open(app_of(images, fewer))
        pool = world.handle(fewer)
        world.run(pool.put("dan-1", Picture("dan", "dan-1")))
        world.advance("2 s")
        assert images.urls == ["ann-0", "carl-1", "bob-1", "dan-1"]
        world.advance("1 hour")
        assert images.urls[4:] == ["ann-1"]


@pytest.mark.parametrize("on", ["memory", "sqlite"])
def test_an_interrupted_item_is_delivered_before_the_next_one_of_its_key(on: str, tmp_path: Path) -> None:
    images, job = Images(), pool_of(workers=4, workers_per_key=1)
    with World(app_of(images, job), store="memory://" if on == "memory" else tmp_path / "jobs.db") as world:
        pool = world.handle(job)
        world.inject(Delay("shrink", "1 s"))
        world.run(pool.put("ann-0", Picture("ann", "ann-0")))
        world.run(pool.put("ann-1", Picture("ann", "ann-1")))
        world.settle()
        world.crash()
        world.inject(Delay("store.load", "1 s"))  # that of the recovery: the engine reads the line first
        world.open()
        world.inject(Delay("shrink", "1 s"))
        world.settle()
        world.run(pool.put("ann-2", Picture("ann", "ann-2")))
        world.settle()
        assert images.urls == []
        world.advance("3 s")
        assert images.urls == ["ann-0", "ann-1", "ann-2"]


@pytest.mark.parametrize("on", ["memory", "sqlite"])
def test_no_item_begins_while_the_end_of_the_one_before_it_is_not_stored(on: str, tmp_path: Path) -> None:
    images, job = Images(), pool_of(workers=4, workers_per_key=1)
    with World(app_of(images, job), store="memory://" if on == "memory" else tmp_path / "jobs.db") as world:
        pool = world.handle(job)
        world.run(pool.hold())
        world.run(pool.put("a", Picture("ann", "a")))
        world.run(pool.put("b", Picture("ann", "b")))
        world.inject(Delay("store.commit", "1 s", call=2))  # after a claim, an end
        world.run(pool.release())
        world.settle()
        assert images.urls == ["a"]
        world.advance("1 s")
        assert images.urls == ["a", "b"]


def test_a_recovered_run_that_waits_for_its_key_leaves_workers_to_the_others() -> None:
    images, job = Images(), pool_of(workers=4, workers_per_key=2)
    with World(app_of(images, job)) as world:
        world.inject(Hang("shrink", times=2))
        world.run(world.handle(job).put_many(items(2)))
        world.settle()
        world.crash()
        fewer = pool_of(workers=4, workers_per_key=1)
        world.inject(Hang("shrink"))
        world.open(app_of(images, fewer))
        pool = world.handle(fewer)
        world.run(pool.put_many(items(3, of="bob")))
        world.settle()
        assert sorted(images.urls) == ["bob-0", "bob-1", "bob-2"]
        for id_ in ("ann-0", "ann-1"):
            world.run(pool.terminate(id_, interrupt=True))


def test_a_pool_of_a_hundred_keys_with_one_worker_serves_all_in_turn() -> None:
    images, job = Images(), pool_of(workers=1)
    with World(app_of(images, job)) as world:
        pool = world.handle(job)
        world.run(pool.hold())
        world.run(pool.put_many([pair for n in range(100) for pair in items(3, of=f"k{n}")]))
        world.run(pool.release())
        world.settle()
        assert len(images.urls) == 300
        assert len({url.partition("-")[0] for url in images.urls[:100]}) == 100


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0},
        {"workers": 100_001},
        {"workers_per_key": 1, "key": None},
        {"rate_per_key": (1, "1 s"), "key": None},
        {"rate": (0, "1 s")},
        {"rate": (100_001, "1 s")},
        {"rate": (1,)},
        {"rate": (1, "soon")},
        {"rate": 5},
        {"key": 3},
        {"key": lambda: ""},
        {"keep": "-1 s"},
        {"retry": 3},
    ],
)
def test_a_wrong_option_is_refused_where_it_is_written(options: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        pool_of(**{"key": customer, **options})


@program
def shrinks(ctx: TaskContext[int], event: str) -> Do[None, Unreachable, HasImages]:
    yield from shrink(ctx.run_id, event)


other = Task("other", state=int, event=str, initial=0, on_event=shrinks)


@pytest.mark.parametrize(("concurrency", "workers"), [(2, 2), (3, 50), (16, 16), (16, 100_000)])
def test_a_pool_with_more_workers_than_slots_leaves_slots_to_other_jobs(concurrency: int, workers: int) -> None:
    images, job = Images(), pool_of(workers=workers)
    app = App(images, limits=Limits(concurrency=concurrency)).with_jobs(job, other)
    with World(app) as world:
        world.inject(Delay("shrink", "2 minutes", times=concurrency))
        world.run(world.handle(job).put_many(items(concurrency + 1)))
        world.settle()
        assert world.run(world.handle(job).progress()).running == concurrency - max(1, concurrency // 8)
        world.clear_faults()
        world.run(world.handle(other).send("a", "event"))
        assert images.urls == ["event"]  # it did not wait for an item
        (warning,) = [record for record in world.logs if record.level == "warning"]
        assert warning.fields["wanted"] == workers
        world.advance("5 minutes")


def test_a_pool_alone_takes_all_slots_and_one_that_fits_is_no_warning() -> None:
    images, job = Images(), pool_of(workers=8)
    for jobs, concurrency in (((job,), 8), ((job, other), 10)):
        with World(App(images, limits=Limits(concurrency=concurrency)).with_jobs(*jobs)) as world:
            world.inject(Delay("shrink", "1 s", times=8))
            world.run(world.handle(job).put_many(items(9)))
            world.settle()
            assert world.run(world.handle(job).progress()).running == 8
            assert [record.message for record in world.logs if record.level == "warning"] == []
            world.advance("5 s")


def test_a_key_whose_items_are_only_in_the_store_continues_when_its_rate_has_room() -> None:
    images, job = Images(), pool_of(workers=4, rate_per_key=(2, "5 s"))
    with World(App(images, limits=Limits(queued_items=2, lane_page=2)).with_jobs(job)) as world:
        world.run(world.handle(job).put_many(items(8)))
        world.advance("1 minute")
        assert len(images.calls) == 8
