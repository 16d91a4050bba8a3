"""Reads a file from outside that no engine has migrated yet: columns that it lacks are NULL."""

from __future__ import annotations

import re
import sqlite3
from functools import cache
from typing import Any, Final, Self

ADDED: Final[dict[int, tuple[str, ...]]] = {
    5: ("alarm_trace", "trace"),
    8: ("journal_length",),
    9: ("lane", "rank_ms", "ended_ms"),
    10: ("ordinal", "failures"),
    11: ("left_by", "left_mark", "suspended_ms"),
}
"""The columns that each migration adds to a table; statements use none of these names for anything else."""


@cache
def cursor_of(schema_version: int) -> type[sqlite3.Cursor]:
    """Return the class of cursors for the present statements on tables of an older version.

    Args:
        schema_version: the migration that the tables are at.
    """
    missing = [name for version, names in ADDED.items() if version > schema_version for name in names]
    if not missing:
        return sqlite3.Cursor
    column = re.compile(rf"\b({'|'.join(missing)})\b")

    class OlderTables(sqlite3.Cursor):
        """Replaces the names of missing columns."""

        def execute(self, sql: str, parameters: Any = (), /) -> Self:
            return super().execute(column.sub("NULL", sql), parameters)

    return OlderTables
