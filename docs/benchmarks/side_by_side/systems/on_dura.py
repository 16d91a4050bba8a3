"""dura: tasks in one SQLite file, run by a pool of threads in a process of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from dura import DurableEngine, run_workers  # type: ignore[import-untyped]
from dura.workers import run_worker  # type: ignore[import-untyped]

from side_by_side.place import Place, from_argument, run_job, to_argument
from side_by_side.system import Session, worker

SETTINGS = {
    "default": "four threads, polls every second when idle, a claim lasts 120 s",
    "best": "four threads, polls every 5 ms when idle, a claim lasts a second",
}
RECOVERS = ("default", "best")
THREADS = 4


@asynccontextmanager
async def session(place: Place) -> AsyncIterator[Session]:
    """Open the file, and start a pool."""
    engine = DurableEngine(place.folder / "dura.db")
    params = {"place": to_argument(place)}

    async def submit(number: int) -> None:
        engine.spawn_task(name="job", params={**params, "number": number})

    async def submit_at(number: int, at_s: float) -> None:
        after = timedelta(seconds=max(0.0, at_s - time.time()))
        engine.spawn_task(name="job", params={**params, "number": number}, available_after=after)

    with worker("dura", place):
        yield Session(submit=submit, submit_at=submit_at)
    engine.close()


def _job(_: DurableEngine, task: object) -> dict[str, object]:
    params = task.params  # type: ignore[attr-defined]  # dura's claimed task
    return run_job(from_argument(params["place"]), params["number"])


def work(place: Place) -> None:
    """Run the pool."""
    logging.disable(logging.WARNING)
    engine, threads = DurableEngine(place.folder / "dura.db"), place.concurrency or THREADS
    if place.setting == "default":
        run_workers(engine, handlers={"job": _job}, worker_count=threads)
        return
    stop = threading.Event()
    pool = [
        threading.Thread(
            target=run_worker,
            args=(engine,),
            kwargs={
                "handlers": {"job": _job},
                "worker_id": str(number),
                "stop_event": stop,
                "claim_timeout_secs": 1,
                "poll_interval": 0.005,
            },
        )
        for number in range(threads)
    ]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
