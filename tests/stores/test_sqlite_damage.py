import asyncio
import sqlite3
from contextlib import closing

import pytest
from returns.result import Failure

from perdure.stores.contract import commit_one, load_one
from perdure.stores.sqlite import open_sqlite
from perdure.stores.values import Query, UnreadEvent
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import (
    CLAIM,
    FAR_MS,
    address,
    created,
    deliverable,
    instance,
    put,
    started,
    told,
)
from perdure.values.errors import StoreCorrupt
from perdure.values.transition import Put, Transition

A, B, C = address("a"), address("b"), address("c")


@pytest.fixture
def path(tmp_path):
    """A file with three claimed instances that are due, a message and two events."""

    async def main():
        store = await open_sqlite(tmp_path / "jobs.db")
        for at in (A, B, C):
            claimed = instance(at, alarm_ms=1, claim=CLAIM)
            await value(commit_one(store, Transition(address=at, write=Put(claimed), events=(started(at),))))
        await told(store, A, B, "1")
        await told(store, A, C, "2")
        await value(store.close())

    asyncio.run(main())
    return tmp_path / "jobs.db"


def _damage(path, sql):
    with closing(sqlite3.connect(path)) as database:
        assert database.execute(sql).rowcount == 1
        database.commit()


def _ids(found):
    return [one.address.id for one in found]


@pytest.mark.parametrize(
    "column",
    [
        "claim = '{not json'",
        "claim = '[]'",
        "claim = '{\"owner\": 1}'",
        "claim = 'null'",
        "pending_retry = '{}'",
        "last_error = '7'",
        "suspension = 'asleep'",
    ],
)
def test_a_row_that_cannot_be_read_harms_no_other(path, column):
    _damage(path, f"UPDATE instances SET {column} WHERE id = 'a'")  # noqa: S608 - from the list above

    async def main():
        store = await open_sqlite(path)
        match await answer(load_one(store, A)):
            case Failure(StoreCorrupt(what=what)):
                assert what == "task:orders:a"
            case other:
                pytest.fail(f"loaded {other}")
        assert (await value(load_one(store, B))).instance is not None
        assert _ids(await value(store.due(FAR_MS, 2))) == ["b", "c"]
        assert _ids(await value(store.claimed(0, 1))) == ["b"]
        assert _ids(await value(store.find(Query(limit=2)))) == ["b", "c"]
        health = await value(store.health())
        assert health.state == "degraded"
        assert "task:orders:a" in health.detail
        await created(store, address("new"))
        await value(store.close())

    asyncio.run(main())


def test_a_repaired_row_is_healthy_again(path):
    _damage(path, "UPDATE instances SET claim = '{' WHERE id = 'a'")

    async def main():
        store = await open_sqlite(path)
        await value(store.due(FAR_MS, 9))
        fence = (await value(load_one(store, B))).instance.fence
        row_a = type(fence)(fence.incarnation - 1, 1)  # an unreadable row can still be written over by its fence
        broken = await value(store.health())
        await value(commit_one(store, put(A, row_a)))
        health = await value(store.health())
        assert broken.state == "degraded"
        await value(store.close())
        return health.state

    assert asyncio.run(main()) == "ok"


def test_a_message_that_cannot_be_read_is_left_out(path):
    _damage(path, "UPDATE messages SET sender = 'no sender' WHERE payload = '1'")

    async def main():
        store = await open_sqlite(path)
        assert await deliverable(store) == ["2"]
        assert "message 1" in (await value(store.health())).detail
        await value(store.close())

    asyncio.run(main())


def test_an_event_of_a_newer_version_keeps_its_place(path):
    _damage(path, "UPDATE events SET type = 'job.teleported' WHERE sequence = 2")
    _damage(path, "UPDATE events SET body = '{\"run_count\": []}' WHERE sequence = 3")

    async def main():
        store = await open_sqlite(path)
        found = await value(store.events(0, 9))
        (one,) = await value(store.history(B, None, 9))
        await value(store.close())
        return found, one

    found, one = asyncio.run(main())
    assert [entry.sequence for entry in found] == [1, 2, 3]
    assert found[0].event == started(A)
    assert isinstance(found[2].event, UnreadEvent)
    match one.event:
        case UnreadEvent(type=type_, address=printed, at_ms=at_ms, body=body):
            assert (type_, printed, at_ms) == ("job.teleported", str(B), 1)
            assert '"event_id":"e"' in body
        case other:
            pytest.fail(f"read {other}")


def test_an_event_with_a_field_of_a_newer_version_is_read(path):
    _damage(path, "UPDATE events SET body = json_set(body, '$.colour', 'red') WHERE sequence = 1")

    async def main():
        store = await open_sqlite(path)
        (first, *_) = await value(store.events(0, 1))
        await value(store.close())
        return first.event

    assert asyncio.run(main()) == started(A)
