"""Rows that a turn read or wrote are not read again; rows that may have changed otherwise are."""

import asyncio

import pytest
from machine import Add, Wait, app, machine, steps
from returns.result import Failure, Success
from world import World, on_each_store

from perdure import App, Task, TaskContext, attempt, program
from perdure.client.local_gateway import engine_of
from perdure.programs.future import awaited
from perdure.stores.contract import commit_one, overlay
from perdure.stores.memory import MemoryBackend
from perdure.stores.sqlite import open_sqlite
from perdure.stores.values import Capabilities
from perdure.values.errors import Conflict, DefinitionError, StoreUnavailable
from perdure.values.transition import Put, Transition

AWAY = StoreUnavailable("load", "the disk is away")


@program
def add(ctx: TaskContext[int], amount: int):
    """Add, and set an alarm."""
    yield from ctx.update_state(lambda total: total + amount)
    yield from ctx.schedule(after="1 minute")


@program
def fire(ctx: TaskContext[int]):
    yield from ctx.update_state(lambda total: -total)


orders = Task("orders", state=int, event=int, initial=0, on_event=add, execute=fire)
AT = orders.address("a")


async def opened(world):
    return (await world.open(App(world.outside).with_jobs(orders))).handle(orders)


@on_each_store
async def test_an_instance_that_had_a_turn_is_not_read_again(world: World) -> None:
    jobs = await opened(world)
    await world.run(jobs.send("a", 1))
    world.fail("load", AWAY, times=9)
    await world.run(jobs.send("a", 2))
    assert await world.run(jobs.get_state("a")) == 3
    assert (await world.run(jobs.status("a"))).event_count == 2


@on_each_store
async def test_an_instance_that_was_due_is_not_read_again(world: World) -> None:
    """Alarms are read with the rows of their instances."""
    jobs = await opened(world)
    await world.run(jobs.send("a", 1))
    await world.close()
    jobs = await opened(world)
    world.fail("load", AWAY, times=9)
    await world.advance(minutes=1)
    assert await world.run(jobs.get_state("a")) == -1


@on_each_store
async def test_after_a_conflict_the_row_is_read_again(world: World) -> None:
    jobs = await opened(world)
    await world.run(jobs.send("a", 1))
    world.fail("commit", Conflict("task:orders:a"))
    world.fail("load", AWAY)
    assert await world.error_of(jobs.send("a", 2)) == AWAY
    await world.run(jobs.send("a", 2))
    assert await world.run(jobs.get_state("a")) == 3


@on_each_store
async def test_nothing_is_answered_from_memory_while_the_ownership_is_in_doubt(world: World) -> None:
    """Nor from a row that a turn has read or written meanwhile."""
    client = await world.open(App(world.outside).with_jobs(orders))
    engine, jobs = engine_of(client), client.handle(orders)
    await world.run(jobs.send("a", 1))
    engine.ownership_is("in_doubt")
    await world.run(jobs.send("a", 2))
    world.fail("load", AWAY)
    assert await world.error_of(jobs.get_state("a")) == AWAY
    assert await world.run(jobs.get_state("a")) == 3
    engine.ownership_is("sure")
    world.fail("load", AWAY)
    assert await world.error_of(jobs.get_state("a")) == AWAY  # after a failover, the store may have an older row
    await world.run(jobs.send("a", 4))
    world.fail("load", AWAY, times=9)
    assert await world.run(jobs.get_state("a")) == 7


@on_each_store
async def test_after_a_failover_an_instance_that_did_not_exist_is_read_again(world: World) -> None:
    """Also while a turn that has found nothing waits for a slot: its purge may be lost, say."""
    client = await world.open(app(world.outside, concurrency=1))
    engine, jobs = engine_of(client), client.handle(machine)
    await world.run(jobs.send("a", steps(Add())))
    stored = engine.cache.row(machine.address("a"))
    await world.run(jobs.terminate("a"))
    first = world.start(jobs.send("b", steps(Wait(1_000))))
    await world.settle()
    second = world.start(jobs.send("a", steps(Wait(1_000), Add())))
    await world.settle()
    engine.ownership_is("in_doubt")
    (await world.run(awaited(commit_one(engine.store, Transition(address=stored.address, write=Put(stored)))))).unwrap()
    engine.ownership_is("sure")
    assert (await world.run(jobs.get_state("a"))).total == 1
    await world.advance(s=5)
    assert first.done()
    assert second.done()
    assert (await world.run(jobs.get_state("a"))).total == 2


@on_each_store
async def test_a_purged_instance_is_not_remembered(world: World) -> None:
    jobs = await opened(world)
    await world.run(jobs.send("a", 1))
    await world.run(jobs.terminate("a"))
    assert await world.run(jobs.get_state("a")) is None
    await world.run(jobs.send("a", 5))
    assert await world.run(jobs.get_state("a")) == 5


def test_an_engine_that_stopped_answers_nothing_from_memory():
    async def main():
        async with App(None).with_jobs(orders).open(MemoryBackend().open()) as jobs:
            await jobs.handle(orders).send("a", 1)
        assert isinstance(await attempt(jobs.handle(orders).get_state("a")), Failure)
        assert engine_of(jobs).cache.size_bytes == 0

    asyncio.run(main())


def test_an_instance_in_use_is_kept_while_others_come_and_go():
    async def main():
        async with App(None).with_jobs(orders).open(overlay(MemoryBackend().open(), cache_bytes=16_000)) as jobs:
            rows = engine_of(jobs).cache
            await jobs.handle(orders).send("a", 1)
            for number in range(100):
                await jobs.handle(orders).send(f"other-{number}", 1)
                if number % 3 == 0:
                    assert rows.row(AT) is not None
                    await jobs.handle(orders).send("a", 1)

    asyncio.run(main())


@on_each_store
async def test_instances_whose_alarms_fired_are_kept_within_a_bound_of_their_own(world: World) -> None:
    """Alarms are read with the rows of their instances, so a kept row saves little."""
    jobs = await opened(world)
    for number in range(20):
        await world.run(jobs.send(str(number), 1))
    await world.close()
    client = await world.open(App(world.outside).with_jobs(orders))
    rows, jobs = engine_of(client).cache, client.handle(orders)
    rows.max_unasked = 5
    await world.run(jobs.send("7", 1))
    await world.advance(minutes=2)
    kept = {number for number in range(20) if rows.row(orders.address(str(number))) is not None}
    assert len(kept) == 6
    assert 7 in kept
    assert await world.run(jobs.get_state("3")) == -1


def kept_after(store):
    async def main():
        async with App(None).with_jobs(orders).open(store) as jobs:
            await jobs.handle(orders).send("a", 1)
            await jobs.handle(orders).send("a", 2)
            health = await jobs.health()
            assert await attempt(jobs.handle(orders).get_state("a")) == Success(3)
            return health.cache_bytes, health.max_cache_bytes

    return asyncio.run(main())


def test_the_health_shows_the_size_and_the_bound():
    size, bound = kept_after(MemoryBackend().open())
    assert 1_500 < size < 2_000
    assert bound == 64 * 1024**2


def test_an_engine_may_keep_nothing():
    assert kept_after(overlay(MemoryBackend().open(), cache_bytes=0)) == (0, 0)


def test_rows_of_a_shared_store_are_kept_within_the_same_bound():
    shared = Capabilities(ownership="shared", durability="none")
    size, bound = kept_after(overlay(MemoryBackend().open(), capabilities=shared))
    assert 1_500 < size < 2_000
    assert bound == 64 * 1024**2


@pytest.mark.parametrize("wrong", [-1, 1.5, "64 MB", None, True])
def test_the_bound_is_a_number_of_bytes(tmp_path, wrong):
    with pytest.raises(DefinitionError, match="bytes"):
        asyncio.run(open_sqlite(tmp_path / "jobs.db", cache_bytes=wrong))
    assert not (tmp_path / "jobs.db").exists()
