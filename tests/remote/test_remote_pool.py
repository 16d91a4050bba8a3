"""A worker pool in another process: typed answers, items in batches, and a client without an event loop."""

import asyncio
from typing import Any

import pytest
from pool import Images, Picture, Unreachable, app_of, pool_of

from perdure.kinds.worker_pool import Done, Drained, Failed, PutMany
from perdure.remote import connect, connect_sync
from perdure.server.serving import serving
from perdure.values.errors import InvalidInput, PutManyStopped

JOB = pool_of(workers=20, retry=None)
ITEMS = [(f"i{n}", Picture("bad" if n == 7 else "ann", "bad.png" if n == 7 else f"{n}.png")) for n in range(600)]


def test_a_remote_pool_answers_as_one_in_process() -> None:
    async def main() -> None:
        async with app_of(Images(), JOB).open("memory://") as local, serving(local, ["127.0.0.1:0"]) as (server,):
            async with connect(server.urls[0], JOB) as client:
                pool = client.handle(JOB)
                assert await pool.put_many(ITEMS) == PutMany(created=600, existed=0)
                for id_, _ in ITEMS[-3:]:
                    await client.until(JOB, id_, "done")
                await client.until(JOB, "i7", "parked")
                assert await pool.outcome("i599") == Done(value="small 599.png")
                assert await pool.outcome("i7") == Failed(error=Unreachable("bad.png"))
                assert (await pool.put_many(ITEMS)).existed == 600
                await pool.hold()
                await pool.put("later", Picture("ann", "z"), after="1 hour")
                progress = await pool.progress()
                assert (progress.parked, progress.held, progress.waiting) == (1, True, 1)
                assert await pool.drain() == Drained(cancelled=1)
            await asyncio.to_thread(blocking, server.urls[0])

    asyncio.run(main())


def blocking(url: str) -> None:
    with connect_sync(url, JOB) as client:
        pool = client.handle(JOB)
        assert client.run(pool.put_many(ITEMS[:5])) == PutMany(created=0, existed=5)
        wrong: Any = [*ITEMS[:2], ("x", 3)]
        with pytest.raises(PutManyStopped) as stopped:
            client.run(pool.put_many(wrong))
        assert (stopped.value.id_, stopped.value.existed) == ("x", 2)
        assert isinstance(stopped.value.error, InvalidInput)
