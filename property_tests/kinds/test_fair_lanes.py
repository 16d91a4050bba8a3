"""Keys take turns, whatever the others have waiting: with a backlog far larger than the engine holds in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import settings
from pool import Images, Picture, app_of, pool_of

from perdure import Limits
from perdure.client.local_gateway import engine_of
from perdure.jobs.definition import AnyDefinition
from perdure.kinds.worker_pool.items import ITEM_DATA, ItemData
from perdure.programs.future import answer_of
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.stores.contract import Store, commit_one
from perdure.stores.memory import memory_store
from perdure.stores.url import open_store
from perdure.values.instance import Instance
from perdure.values.transition import Put, Transition

ROOM = Limits().queued_items
BACKLOG = 100_000 if settings.get_current_profile_name() == "nightly" else 5 * ROOM


async def backlog(store: Store, job: AnyDefinition, customer: str, number: int) -> None:
    """Store items of a customer that are older than anything that a test puts."""
    for start in range(0, number, 5_000):
        rows = [_row(job, customer, n) for n in range(start, min(number, start + 5_000))]
        writes = [commit_one(store, Transition(address=row.address, write=Put(row))) for row in rows]
        await asyncio.gather(*map(answer_of, writes))


def _row(job: AnyDefinition, customer: str, number: int) -> Instance:
    return Instance(
        address=job.address(f"{customer}-{number}"),
        created_ms=number,
        updated_ms=number,
        version=1,
        state=job.plan.state.encode(Picture(customer, f"{customer}.png")).decode(),
        data=ITEM_DATA.write(ItemData(key=customer)),
        alarm_ms=number,
        lane=customer,
    )


async def opened(kind: str, folder: Path) -> Store:
    if kind == "memory":
        return memory_store()
    return await open_store(f"sqlite:///{folder / 'jobs.db'}?durability=relaxed", runtime=asyncio_runtime())


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_backlog_of_one_key_delays_a_single_item_of_another_by_a_few(kind: str, tmp_path: Path) -> None:
    images, job = Images(), pool_of(workers=4, keep="0 ms")

    reached, worked_on = asyncio.Event(), asyncio.Event()

    def heard(url: str) -> None:
        if len(images.calls) == 50:
            reached.set()
        if url == "bob.png":
            worked_on.set()

    images.heard = heard

    async def main() -> int:
        store = await opened(kind, tmp_path)
        await backlog(store, job, "ann", BACKLOG)
        await backlog(store, job, "cid", 1)
        async with app_of(images, job).open(store) as client:
            pool, feeder = client.handle(job), engine_of(client).feeders[job.kind, job.name]
            await reached.wait()
            await pool.put("b", Picture("bob", "bob.png"))
            put = len(images.calls)
            await worked_on.wait()
            assert feeder.queue.size <= ROOM
            return images.urls.index("bob.png") - put

    behind = asyncio.run(main())
    assert behind <= 8  # the runs in progress, and one turn of the other key
    assert images.urls.index("cid.png") <= 8  # also one that was stored before the engine opened
    assert len(images.calls) < BACKLOG // 10
