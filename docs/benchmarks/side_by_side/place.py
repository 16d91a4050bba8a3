"""Where one measurement happens: its folder, its setting, and the job that every system runs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from attrs import frozen

NOTE = "please leave the parcel at the neighbour's door if nobody opens"


@frozen(kw_only=True)
class Place:
    """What an adapter is told.

    Attributes:
        folder: for the system's files; on the disk in question.
        setting: one of the adapter's own.
        concurrency: jobs at the same time; None: the system's default.
        job_ms: how long a job takes.
    """

    folder: Path
    setting: str
    concurrency: int | None = None
    job_ms: int = 0

    @property
    def sink(self) -> Path:
        """The file in which jobs say that they ran: outside of every system."""
        return self.folder / "sink"


def say(place: Place, what: str, number: int) -> None:
    """Append one line, in one write: what happened, to which job, when, in which process."""
    line = f"{what} {number} {time.time_ns()} {os.getpid()}\n"
    descriptor = os.open(place.sink, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def state_of(number: int) -> dict[str, object]:
    """Give the small state that a job records."""
    return {"number": number, "note": NOTE, "total_cents": number * 199}


def run_job(place: Place, number: int) -> dict[str, object]:
    """Run the job, in a thread or process that may wait."""
    say(place, "begin", number)
    if place.job_ms:
        time.sleep(place.job_ms / 1e3)
    say(place, "end", number)
    return state_of(number)


def to_argument(place: Place) -> str:
    """Print a place for a command line."""
    fields = {"setting": place.setting, "concurrency": place.concurrency, "job_ms": place.job_ms}
    return json.dumps({"folder": str(place.folder), **fields})


def from_argument(text: str) -> Place:
    """Read what ``to_argument`` printed."""
    fields = json.loads(text)
    return Place(**{**fields, "folder": Path(fields["folder"])})
