"""honker: a queue in a SQLite extension, claimed by workers that its update watcher wakes."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import honker  # type: ignore[import-untyped]

from side_by_side.place import Place, run_job, say, state_of
from side_by_side.system import Session, worker

SETTINGS = {
    "default": "four workers, one job a claim, a claim lasts 300 s; timers in whole seconds; synchronous NORMAL",
    "best": "one worker that claims and acknowledges up to 64 jobs at once, a claim lasts a second",
}
RECOVERS = ("default", "best")
WORKERS, BATCH, IDLE_SECONDS = 4, 64, 0.002


def _queue(place: Place) -> tuple[Any, Any]:
    database = honker.open(str(place.folder / "honker.db"))
    options = {"visibility_timeout_s": 1} if place.setting == "best" else {}
    return database, database.queue("jobs", **options)


@asynccontextmanager
async def session(place: Place) -> AsyncIterator[Session]:
    """Open the queue, and start a worker process."""
    database, queue = _queue(place)

    async def submit(number: int) -> None:
        queue.enqueue(number)

    async def submit_at(number: int, at_s: float) -> None:
        queue.enqueue(number, run_at=math.ceil(at_s))

    with worker("honker", place):
        yield Session(submit=submit, submit_at=submit_at)
    database.close()


async def _one_by_one(place: Place, queue: Any, name: str) -> None:  # honker's own queue
    async for job in queue.claim(name):
        say(place, "begin", job.payload)
        if place.job_ms:
            await asyncio.sleep(place.job_ms / 1e3)
        say(place, "end", job.payload)
        queue.save_result(job.id, state_of(job.payload))
        job.ack()


def _in_batches(place: Place, database: Any, queue: Any) -> None:  # honker's own
    while True:
        claimed = queue.claim_batch("worker", place.concurrency or BATCH)
        if not claimed:
            time.sleep(IDLE_SECONDS)
            continue
        results = {job.id: run_job(place, job.payload) for job in claimed}
        with database.transaction() as transaction:
            for job_id, result in results.items():
                queue.save_result(job_id, result, tx=transaction)
        queue.ack_batch(list(results), "worker")


def work(place: Place) -> None:
    """Run the workers."""
    database, queue = _queue(place)
    if place.setting == "best":
        _in_batches(place, database, queue)
        return

    async def all_workers() -> None:
        names = [f"worker-{number}" for number in range(place.concurrency or WORKERS)]
        await asyncio.gather(*(_one_by_one(place, queue, name) for name in names))

    asyncio.run(all_workers())
