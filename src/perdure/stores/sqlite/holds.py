"""The held jobs."""

from __future__ import annotations

import sqlite3
from typing import Literal

from perdure.values.address import Job
from perdure.values.status import Hold

_READ = "SELECT kind, name FROM holds ORDER BY kind, name"
_ADD = "INSERT OR IGNORE INTO holds (kind, name) VALUES (?, ?)"
_REMOVE = "DELETE FROM holds WHERE kind = ? AND name = ?"


def read(cursor: sqlite3.Cursor) -> tuple[Job, ...]:
    """Return the held jobs, in the order of kind and name."""
    return tuple((kind, name) for kind, name in cursor.execute(_READ).fetchall())


def change(cursor: sqlite3.Cursor, job: Job, hold: Hold) -> Literal["changed", "unchanged"]:
    """Hold or release a job."""
    cursor.execute(_ADD if hold == "held" else _REMOVE, job)
    return "changed" if cursor.rowcount == 1 else "unchanged"
