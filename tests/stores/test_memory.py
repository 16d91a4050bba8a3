import asyncio

import pytest
from returns.io import IOResult

from perdure.stores.contract import commit_one, load_one
from perdure.stores.memory import MemoryBackend, memory_store
from perdure.testing.conformance.assertions import failure, value
from perdure.testing.conformance.histories import address, created, put
from perdure.values.errors import StoreUnavailable

A = address("a")


def test_an_engine_that_was_replaced_cannot_touch_the_data():
    async def main():
        backend = MemoryBackend(name="memory://jobs")
        dead = backend.open()
        fence = await created(dead, A)
        alive = backend.open()
        await failure(commit_one(dead, put(A, fence)), StoreUnavailable, "a zombie cannot write")
        await failure(load_one(dead, A), StoreUnavailable, "a zombie cannot read")
        health = await value(dead.health())
        assert health.state == "failed"
        assert "epoch 2" in health.detail
        assert (dead.epoch, alive.epoch) == (1, 2)
        assert (await value(load_one(alive, A))).instance.fence == fence

    asyncio.run(main())


def test_no_operation_suspends():
    store = memory_store()
    for asked in (commit_one(store, put(A)), load_one(store, A), store.due(0, 1), store.health(), store.close()):
        with pytest.raises(StopIteration) as answered:  # a suspension would yield instead
            asked.__await__().send(None)
        assert isinstance(answered.value.value, IOResult)
