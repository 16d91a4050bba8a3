"""Rows that were read or written recently are not read again; rows that may have changed otherwise are."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from perdure.stores.sqlite import open_sqlite
from perdure.testing.conformance.examples import address, created, put
from perdure.testing.conformance.requirement import failure, value
from perdure.values.errors import Conflict, DefinitionError, OwnershipLost, StoreUnavailable
from perdure.values.instance import Fence
from perdure.values.transition import Purge, Transition

A = address("a")


def written_by_another_program(path, state):
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("UPDATE instances SET state = ?, version = version + 1", (state,))
        foreign.commit()


def run(path, body, **options):
    async def main():
        store = await open_sqlite(path, **options)
        try:
            await body(store)
        finally:
            await value(store.close())

    asyncio.run(main())


async def state_of(store):
    return (await value(store.load(A))).instance.state


def test_an_instance_that_was_written_is_not_read_again(tmp_path):
    """Whatever the file says by now, a turn continues from this store's own write."""

    async def body(store):
        fence = await created(store, A)
        written_by_another_program(tmp_path / "jobs.db", "theirs")
        assert (await value(store.load(A))).instance.fence == fence
        assert await state_of(store) == "{}"

    run(tmp_path / "jobs.db", body)


def test_an_instance_that_was_due_is_not_read_again(tmp_path):
    """Alarms are read with the rows of their instances: the turns that follow cost no more reads."""

    async def write(store):
        await created(store, A, alarm_ms=1_000)

    async def body(store):
        assert [instance.address for instance in await value(store.due(1_000, 10))] == [A]
        written_by_another_program(tmp_path / "jobs.db", "theirs")
        assert await state_of(store) == "{}"

    run(tmp_path / "jobs.db", write)
    run(tmp_path / "jobs.db", body)


def test_after_a_conflict_the_row_is_read_again(tmp_path):
    async def body(store):
        fence = await created(store, A)
        await failure(store.commit(put(A, Fence(fence.incarnation, 7))), Conflict, "another version is stored")
        written_by_another_program(tmp_path / "jobs.db", "theirs")
        assert await state_of(store) == "theirs"

    run(tmp_path / "jobs.db", body)


def test_a_store_that_lost_its_file_answers_nothing_from_memory(tmp_path):
    async def body(store):
        fence = await created(store, A)
        written_by_another_program(tmp_path / "jobs.db", "theirs")
        await failure(store.commit(put(A, fence)), OwnershipLost, "another program wrote")
        await failure(store.load(A), OwnershipLost, "the file is not ours any more")

    run(tmp_path / "jobs.db", body)


def test_a_closed_store_answers_nothing_from_memory(tmp_path):
    async def main():
        store = await open_sqlite(tmp_path / "jobs.db")
        await created(store, A)
        await value(store.close())
        await failure(store.load(A), StoreUnavailable, "the store is closed")

    asyncio.run(main())


def test_a_purged_instance_is_not_remembered(tmp_path):
    async def body(store):
        fence = await created(store, A)
        await value(store.commit(Transition(address=A, expected=fence, write=Purge())))
        assert (await value(store.load(A))).instance is None
        successor = await created(store, A)
        assert successor.incarnation > fence.incarnation
        assert (await value(store.load(A))).instance.fence == successor

    run(tmp_path / "jobs.db", body)


def test_a_load_with_a_key_looks_at_the_file(tmp_path):
    async def body(store):
        fence = await created(store, A)
        written_by_another_program(tmp_path / "jobs.db", "theirs")
        loaded = await value(store.load(A, "k", 0))
        assert loaded.instance.state == "theirs"
        assert loaded.instance.fence == Fence(fence.incarnation, fence.version + 1)

    run(tmp_path / "jobs.db", body)


def test_a_store_may_remember_nothing(tmp_path):
    async def body(store):
        await created(store, A)
        written_by_another_program(tmp_path / "jobs.db", "theirs")
        assert await state_of(store) == "theirs"

    run(tmp_path / "jobs.db", body, cache_bytes=0)


@pytest.mark.parametrize("wrong", [-1, 1.5, "64 MB", None, True])
def test_the_bound_is_a_number_of_bytes(tmp_path, wrong):
    with pytest.raises(DefinitionError, match="bytes"):
        asyncio.run(open_sqlite(tmp_path / "jobs.db", cache_bytes=wrong))
    assert not (tmp_path / "jobs.db").exists()
