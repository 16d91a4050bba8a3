"""APScheduler 3: one-off jobs in a SQLAlchemy job store on SQLite, run by its thread pool."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor  # type: ignore[import-untyped]
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore  # type: ignore[import-untyped]
from apscheduler.schedulers.background import BackgroundScheduler  # type: ignore[import-untyped]

from side_by_side.place import Place, from_argument, run_job, to_argument
from side_by_side.states import open_states, record
from side_by_side.system import Session

SETTINGS = {
    "default": "ten threads, a job that is more than a second late is dropped",
    "best": "WAL, no job is too late",
}
RECOVERS = ("default", "best")
_LOCAL = threading.local()


def job(printed: str, number: int) -> None:
    """Run the job, and record its state: the scheduler keeps none."""
    place = from_argument(printed)
    if not hasattr(_LOCAL, "states"):
        _LOCAL.states = open_states(place)
    run_job(place, number)
    record(_LOCAL.states, number)


@asynccontextmanager
async def session(place: Place) -> AsyncIterator[Session]:
    """Start the scheduler: it runs the jobs in its own threads."""
    logging.disable(logging.WARNING)
    store = SQLAlchemyJobStore(url=f"sqlite:///{place.folder}/apscheduler.db")
    if place.setting == "best":
        with store.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    options: dict[str, Any] = {"job_defaults": {"misfire_grace_time": None}} if place.setting == "best" else {}
    if place.concurrency is not None:
        options["executors"] = {"default": ThreadPoolExecutor(place.concurrency)}
    scheduler = BackgroundScheduler(jobstores={"default": store}, timezone=UTC, **options)
    scheduler.start()
    printed = to_argument(place)

    async def submit(number: int) -> None:
        await asyncio.to_thread(scheduler.add_job, job, args=(printed, number), id=str(number))

    async def submit_at(number: int, at_s: float) -> None:
        at = datetime.fromtimestamp(at_s, UTC)
        await asyncio.to_thread(scheduler.add_job, job, "date", run_date=at, args=(printed, number), id=str(number))

    try:
        yield Session(submit=submit, submit_at=submit_at)
    finally:
        scheduler.shutdown()


def work(place: Place) -> None:
    """There is no separate process."""
    raise NotImplementedError
