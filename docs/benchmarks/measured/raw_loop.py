"""The yardstick: a bare `sqlite3` loop that writes the same rows of the same file in groups of the same size."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Literal

from attrs import frozen

_APART = {"incarnation", "version", "kind", "name", "id", "due_ms", "owner"}  # keys, and what has an index
STRIDE = 104_729  # a prime: the rows come in no order


@frozen
class LoopFigures:
    """What a loop reached.

    Attributes:
        rate: rows a second.
        cpu_us: CPU for each, in microseconds.
    """

    rate: float
    cpu_us: float


def raw_loop(path: Path, *, group: int, durability: Literal["full", "relaxed"], seconds: float) -> LoopFigures:
    """Write rows in transactions for a while.

    Each row is written whole, as the store does it: every column that has no index, found by the integer key and
    guarded by the version. The values are at hand: nothing is decoded, decided or encoded.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        _prepare(database, durability)
        columns = [name for _, name, *_ in database.execute("PRAGMA table_info(instances)") if name not in _APART]
        values = database.execute(f"SELECT {', '.join(columns)} FROM instances LIMIT 1").fetchone()  # noqa: S608 - names
        assigned = ", ".join(f"{column} = ?" for column in columns)
        sql = f"UPDATE instances SET version = version + 1, {assigned} WHERE incarnation = ? AND version > ?"  # noqa: S608
        (first, last), cursor = _range(database), database.cursor()
        written, cpu, began = 0, time.process_time(), time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            cursor.execute("BEGIN IMMEDIATE")
            for number in range(written, written + group):
                cursor.execute(sql, (*values, first + number * STRIDE % (last - first + 1), 0))
            cursor.execute("COMMIT")
            written += group
        return LoopFigures(written / took, (time.process_time() - cpu) / written * 1e6)


def _prepare(database: sqlite3.Connection, durability: Literal["full", "relaxed"]) -> None:
    database.execute("PRAGMA journal_mode = WAL").fetchone()
    database.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
    database.execute("PRAGMA wal_autocheckpoint = 1000").fetchone()
    database.execute("PRAGMA cache_size = -65536")


def _range(database: sqlite3.Connection) -> tuple[int, int]:
    first, last = database.execute("SELECT min(incarnation), max(incarnation) FROM instances").fetchone()
    return int(first), int(last)
