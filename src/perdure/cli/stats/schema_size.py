"""The size of a PostgreSQL store."""

from __future__ import annotations

from typing import Final

import attrs

LEAST_DEAD_ROWS: Final = 50_000
LEAST_DEAD_PART: Final = 0.3
"""A table is bloated when it has at least this many dead rows, and at least this many for each living one."""


@attrs.frozen(kw_only=True)
class TableSize:
    """The size of one table, as the server's statistics say.

    Attributes:
        table: its name.
        rows: about how many rows it has.
        dead_rows: about how many versions of rows no transaction needs; vacuum makes their space free.
        table_bytes: the table.
        index_bytes: its indexes.
        vacuumed_ms: when it was last vacuumed; None if never.
    """

    table: str
    rows: int
    dead_rows: int
    table_bytes: int
    index_bytes: int
    vacuumed_ms: int | None

    @property
    def is_bloated(self) -> bool:
        """Whether vacuum does not keep up with its changes."""
        return self.dead_rows >= max(LEAST_DEAD_ROWS, LEAST_DEAD_PART * self.rows)


@attrs.frozen(kw_only=True)
class SchemaSize:
    """The size of a PostgreSQL store.

    Attributes:
        tables: its tables, the largest first.
    """

    tables: tuple[TableSize, ...]

    @property
    def is_worth_a_vacuum(self) -> bool:
        """Whether a table is bloated."""
        return any(table.is_bloated for table in self.tables)
