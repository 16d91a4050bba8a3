"""Retention looks at what it lets go, not at what it keeps: everybody waits while it looks."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from perdure.stores.sqlite import counters, open_sqlite
from perdure.stores.sqlite.retention import prune
from perdure.stores.store import Retention

NOW_MS = 10**12
FILLS = {
    "keys": ("INSERT INTO keys VALUES ('task:a:1', ?, 'send', '', '{}', ?)", NOW_MS + 1),
    "dead letters": ("INSERT INTO dead_letters VALUES (?, 'task:a:1', 'task:b:1', 'send', '{}', ?, 10, NULL)", NOW_MS),
    "events": ("INSERT INTO events VALUES (?, 'task:a:1', 'job.started', ?, '{}')", NOW_MS),
}


async def _made(path: Path) -> None:
    store = await open_sqlite(path)
    await store.close()


@contextmanager
def holding(path: Path, what: str, rows: int) -> Iterator[sqlite3.Connection]:
    """A file with so many rows that nobody may let go."""
    asyncio.run(_made(path))
    statement, at_ms = FILLS[what]
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("BEGIN")
        file.executemany(statement, [(number, at_ms) for number in range(1, rows + 1)])
        if what == "events":
            file.execute("UPDATE counters SET sequence = ?", (rows,))
        yield file


def instructions(path: Path, what: str, rows: int) -> int:
    """Count what SQLite does to find that there is nothing to let go."""
    done = 0

    def count() -> int:
        nonlocal done
        done += 1
        return 0

    retention = Retention(now_ms=NOW_MS, events_since_ms=NOW_MS, max_events=rows, dead_letters_since_ms=NOW_MS)
    with holding(path, what, rows) as file:
        cursor = file.cursor()
        numbers = counters.read(cursor)
        file.set_progress_handler(count, 1)
        assert prune(cursor, numbers, retention) == 0
    return done


@pytest.mark.parametrize("what", FILLS)
def test_what_is_kept_costs_nothing(tmp_path: Path, what: str) -> None:
    few, many = (instructions(tmp_path / f"{rows}.db", what, rows) for rows in (2_000, 6_000))
    assert many < few + 100
