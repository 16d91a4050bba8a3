"""litequeue: messages in a SQLite file, popped by a loop of one's own in a process of its own. It has no timers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litequeue import LiteQueue  # type: ignore[import-untyped]

from side_by_side.place import Place, run_job
from side_by_side.states import open_states, record
from side_by_side.system import Session, worker

SETTINGS = {
    "default": "one thread; sleeps 100 ms when idle; claims that are a minute old are given back every second",
    "best": "one thread; sleeps a millisecond when idle; at the start all claims are given back",
}
RECOVERS = ("default", "best")


@asynccontextmanager
async def session(place: Place) -> AsyncIterator[Session]:
    """Open the queue, and start a worker process."""
    queue = LiteQueue(place.folder / "litequeue.db")

    async def submit(number: int) -> None:
        queue.put(str(number))

    with worker("litequeue", place):
        yield Session(submit=submit)
    queue.close()


def work(place: Place) -> None:
    """Pop, run, record, acknowledge."""
    queue, states = LiteQueue(place.folder / "litequeue.db"), open_states(place)
    best = place.setting == "best"
    queue.retry_expired(0 if best else 60)
    looked = time.monotonic()
    while True:
        message = queue.pop()
        if message is not None:
            run_job(place, int(message.data))
            record(states, int(message.data))
            queue.done(message.message_id, claim_id=message.claim_id)
            continue
        time.sleep(0.001 if best else 0.1)
        if time.monotonic() - looked > 1 and not best:
            looked = time.monotonic()
            queue.retry_expired(60)
