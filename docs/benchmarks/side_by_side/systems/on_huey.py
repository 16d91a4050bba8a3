"""huey: tasks on SqliteHuey, run by a consumer in a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from huey import SqliteHuey  # type: ignore[import-untyped]

from side_by_side.place import Place, from_argument, run_job, to_argument
from side_by_side.system import Session, worker

SETTINGS = {
    "default": "one worker thread, polls with a backoff from 0.1 to 10 s, scheduler every second, SQLite's own fsync",
    "best": "four worker threads, polls every 5 ms, fsync on",
}
RECOVERS = ("default", "best")


def _queue(place: Place) -> tuple[Any, Any]:
    fsync = {"fsync": True} if place.setting == "best" else {}
    huey = SqliteHuey("jobs", filename=str(place.folder / "huey.db"), **fsync)

    @huey.task()  # type: ignore[untyped-decorator]  # huey has no types
    def job(printed: str, number: int) -> dict[str, object]:
        return run_job(from_argument(printed), number)

    return huey, job


@asynccontextmanager
async def session(place: Place) -> AsyncIterator[Session]:
    """Open the queue, and start a consumer."""
    _, job = _queue(place)
    printed = to_argument(place)

    async def submit(number: int) -> None:
        job(printed, number)

    async def submit_at(number: int, at_s: float) -> None:
        job.schedule((printed, number), eta=datetime.fromtimestamp(at_s, UTC).replace(tzinfo=None))

    with worker("huey", place):
        yield Session(submit=submit, submit_at=submit_at)


def work(place: Place) -> None:
    """Run the consumer."""
    huey, _ = _queue(place)
    best: dict[str, Any] = {"workers": 4, "initial_delay": 0.005, "backoff": 1.0, "max_delay": 0.005}
    options = best if place.setting == "best" else {}
    if place.concurrency is not None:
        options = {**options, "workers": place.concurrency}
    huey.create_consumer(**options).run()
