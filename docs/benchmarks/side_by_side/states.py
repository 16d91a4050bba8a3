"""A table of states, for systems that keep none: jobs write their row before they are acknowledged."""

from __future__ import annotations

import json
import sqlite3

from side_by_side.place import Place, state_of


def open_states(place: Place) -> sqlite3.Connection:
    """Open the table, in a file of its own, with full durability."""
    database = sqlite3.connect(place.folder / "states.db", isolation_level=None, timeout=30, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL").fetchone()
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE IF NOT EXISTS states (number INTEGER PRIMARY KEY, state TEXT)")
    return database


def record(database: sqlite3.Connection, number: int) -> None:
    """Write the state of a job."""
    database.execute("INSERT OR REPLACE INTO states VALUES (?, ?)", (number, json.dumps(state_of(number))))
