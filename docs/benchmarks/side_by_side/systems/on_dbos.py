"""DBOS: a workflow with one step, on a queue; the system database is SQLite."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy
from dbos import DBOS, DBOSConfig, SetEnqueueOptions

from side_by_side.place import Place, from_argument, run_job, to_argument
from side_by_side.system import Session

SETTINGS = {
    "default": "rollback journal, queue polled every second",
    "best": "WAL, queue polled every 10 ms",
}
RECOVERS = ("default", "best")
QUEUE = "jobs"


@DBOS.step()
def step(place: str, number: int) -> dict[str, object]:
    """Run the job; its state is the recorded output of the step."""
    return run_job(from_argument(place), number)


@DBOS.workflow()
def workflow(place: str, number: int) -> dict[str, object]:
    """One step."""
    return step(place, number)


@asynccontextmanager
async def _launched(place: Place) -> AsyncIterator[None]:
    url = f"sqlite:///{place.folder}/dbos.sqlite"
    config: DBOSConfig = {"name": "jobs", "system_database_url": url, "log_level": "ERROR"}
    if place.setting == "best":
        _use_wal(url)
    DBOS(config=config)
    DBOS.launch()
    polling: dict[str, Any] = {"polling_interval_sec": 0.01} if place.setting == "best" else {}
    await DBOS.register_queue_async(QUEUE, worker_concurrency=place.concurrency, **polling)
    try:
        yield
    finally:
        DBOS.destroy()


def _use_wal(url: str) -> None:
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("PRAGMA journal_mode = WAL"))
    engine.dispose()


@asynccontextmanager
async def session(place: Place) -> AsyncIterator[Session]:
    """Launch it: it runs the jobs in its own threads."""
    printed = to_argument(place)

    def enqueue(number: int) -> None:
        DBOS.enqueue_workflow(QUEUE, workflow, printed, number)

    def enqueue_at(number: int, at_s: float) -> None:
        with SetEnqueueOptions(delay_seconds=max(0.0, at_s - time.time())):
            enqueue(number)

    async def submit(number: int) -> None:
        await asyncio.to_thread(enqueue, number)

    async def submit_at(number: int, at_s: float) -> None:
        await asyncio.to_thread(enqueue_at, number, at_s)

    async with _launched(place):
        yield Session(submit=submit, submit_at=submit_at)


def work(place: Place) -> None:
    """There is no separate process."""
    raise NotImplementedError
