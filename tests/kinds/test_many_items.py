"""Many items at once: in chunks, streamed, resumable; and the end of all that wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pool import Images, Picture, app_of, pool_of, thumbnails

from perdure import App, Limits
from perdure.kinds.worker_pool import Drained, PutMany
from perdure.stores.contract import Store
from perdure.stores.memory import memory_store
from perdure.stores.url import open_store
from perdure.testing import Fail, World
from perdure.values.errors import InvalidArgument, InvalidInput, PutManyStopped, StoreUnavailable


def pictures(number: int) -> list[tuple[str, Picture]]:
    return [(f"i{n}", Picture("ann", f"{n}.png")) for n in range(number)]


@pytest.mark.parametrize("chunk", [1, 7, 1_000])
def test_put_many_puts_each_item_once(chunk: int) -> None:
    images = Images()
    with World(app_of(images)) as world:
        pool = world.handle(thumbnails)
        assert world.run(pool.put_many(pictures(20), chunk=chunk)) == PutMany(created=20, existed=0)
        world.settle()
        assert sorted(images.urls) == sorted(f"{n}.png" for n in range(20))
        again = world.run(pool.put_many(iter(pictures(30)), chunk=chunk))
        assert again == PutMany(created=10, existed=20)
        assert again.total == 30
        assert world.run(pool.put_many([])) == PutMany(created=0, existed=0)


def test_put_many_reads_one_chunk_ahead() -> None:
    read: list[int] = []

    def stream() -> Iterator[tuple[str, Picture]]:
        for number in range(1_000):
            read.append(number)
            yield f"i{number}", Picture("ann", "" if number == 25 else "a")

    with World(App(Images(), limits=Limits(payload_bytes=70, input_bytes=70)).with_jobs(thumbnails)) as world:
        pool = world.handle(thumbnails)
        world.inject(Fail("store.commit", StoreUnavailable("commit", "no disk"), call=25))
        stopped = world.attempt(pool.put_many(stream(), chunk=10)).failure()
        assert isinstance(stopped, InvalidInput | PutManyStopped)
        assert len(read) <= 30


def test_put_many_says_where_it_stopped_and_can_be_repeated() -> None:
    wrong: Any = [*pictures(12), ("i12", 3), pictures(20)[13], ("i14", 4), *pictures(20)[15:]]
    with World(app_of(Images())) as world:
        pool = world.handle(thumbnails)
        stopped = world.attempt(pool.put_many(wrong, chunk=5)).failure()
        assert isinstance(stopped, PutManyStopped)
        assert (stopped.id_, stopped.created, stopped.existed) == ("i12", 13, 0)
        assert isinstance(stopped.error, InvalidInput)
        assert "item 'i12' after 13 new and 0 known items" in str(stopped)
        assert world.run(pool.put_many(pictures(20))) == PutMany(created=7, existed=13)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_items_of_one_instant_are_worked_on_in_the_order_of_putting(kind: str, tmp_path: Path) -> None:
    images, job = Images(), pool_of(workers=1)

    async def main() -> None:
        store: Store = memory_store() if kind == "memory" else await open_store(f"sqlite:///{tmp_path / 'jobs.db'}")
        async with app_of(images, job).open(store) as client:
            await client.handle(job).put_many(pictures(40))
            await client.until(job, "i39", "done")

    asyncio.run(main())
    assert images.urls == [f"{n}.png" for n in range(40)]


@pytest.mark.parametrize("chunk", [0, 1_001, True])
def test_a_chunk_has_a_limit(chunk: Any) -> None:
    with World(app_of(Images())) as world:
        failure = world.attempt(world.handle(thumbnails).put_many(pictures(1), chunk=chunk)).failure()
        assert isinstance(failure, InvalidArgument)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_an_async_stream_of_thousands_shares_transactions(kind: str, tmp_path: Path) -> None:
    job = pool_of(workers=64, keep="0 ms")

    async def stream() -> AsyncIterator[tuple[str, Picture]]:
        for pair in pictures(2_500):
            yield pair

    async def main() -> PutMany:
        store: Store = memory_store() if kind == "memory" else await open_store(f"sqlite:///{tmp_path / 'jobs.db'}")
        async with app_of(Images(), job).open(store) as client:
            pool = client.handle(job)
            await pool.hold()
            return await pool.put_many(stream())

    assert asyncio.run(main()) == PutMany(created=2_500, existed=0)


def test_drain_cancels_the_items_that_wait() -> None:
    images, job = Images(), pool_of(retry=None)
    with World(app_of(images, job)) as world:
        pool = world.handle(job)
        world.run(pool.put("done", Picture("ann", "a")))
        world.run(pool.put("bad", Picture("ann", "bad")))
        world.settle()
        world.run(pool.hold())
        world.run(pool.put_many(pictures(1_100)))
        world.run(pool.put("later", Picture("ann", "b"), after="1 hour"))
        assert world.run(pool.drain()) == Drained(cancelled=1_101)
        assert world.run(pool.drain()) == Drained(cancelled=0)
        world.run(pool.release())
        world.advance("1 hour")
        assert images.urls == ["a", "bad"]
        assert world.run(pool.progress()).parked == 1


@pytest.mark.parametrize("wrong", [5, "ab", {"i1": Picture("ann", "a")}, [Picture("ann", "a")], [("i1",)]])
def test_put_many_refuses_items_without_ids(wrong: Any) -> None:
    with World(app_of(Images())) as world:
        failed = world.attempt(world.handle(thumbnails).put_many(wrong)).failure()
    assert isinstance(failed, InvalidArgument)
    assert failed.expected == "tuples of an id and an item, such as mapping.items()"


def test_an_item_that_was_paused_keeps_its_place_among_those_of_one_instant() -> None:
    """Items of one instant have the same rank: they are ordered by who was put first, also in memory."""
    images, job = Images(), pool_of(workers=1)
    with World(app_of(images, job)) as world:
        pool = world.handle(job)
        world.run(pool.hold())
        for name in "abc":
            world.run(pool.put(name, Picture("ann", name)))
        for name in "cb":
            world.run(pool.pause(name))
            world.run(pool.resume(name))
        world.run(pool.release())
        world.advance("1 s")
        assert images.urls == ["a", "b", "c"]


@pytest.mark.parametrize("options", [{"after": "1 hour"}, {"at": datetime(2026, 1, 1, 1, tzinfo=UTC)}])
def test_each_of_many_items_waits_until_its_time(options: dict[str, Any]) -> None:
    images = Images()
    with World(app_of(images)) as world:
        world.run(world.handle(thumbnails).put_many(pictures(3), chunk=2, **options))
        world.advance("59 minutes")
        assert images.urls == []
        world.advance("1 minute")
        assert len(images.urls) == 3
