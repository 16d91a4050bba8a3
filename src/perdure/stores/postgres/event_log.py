"""The event log's operations, and those that log events besides transitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import answered_by, asked, converted
from perdure.stores.postgres.encoding import EVENT_COLUMNS, arrays, encoded, event_from, event_row
from perdure.stores.postgres.operations import PostgresOperations
from perdure.stores.values import Cursor, LoggedEvent, Retention
from perdure.values.address import Address
from perdure.values.errors import StoreError
from perdure.values.event import Event

# ruff: noqa: S608 - the texts are made of constants and the checked name of the schema; values are always bound

_LAST: Final = 2**63 - 1
_EVENT_WIDTH: Final = 4


class PostgresEventLog:
    """Reads and writes the log through a store's statements."""

    def __init__(self, operations: PostgresOperations) -> None:
        self._operations = operations
        self._schema = operations.schema
        self._kept: tuple[int, int] | None = None  # a bound of the newest events, while a prune continues

    def history(
        self, address: Address, before: int | None, limit: int, /
    ) -> FutureResult[tuple[LoggedEvent, ...], StoreError]:
        """Return an address's newest events."""
        sql = f"""
            SELECT {EVENT_COLUMNS} FROM {self._schema}.events WHERE address = $1 AND sequence < $2
            ORDER BY sequence DESC LIMIT $3
        """
        found = self._operations.read(
            "read history", sql, encoded(str(address)), _LAST if before is None else before, limit
        )
        return converted(answered_by(found), _logged)

    def events(self, after: int, limit: int, /) -> FutureResult[tuple[LoggedEvent, ...], StoreError]:
        """Return the log's events, up to the first transaction that still writes."""
        sql = f"""
            SELECT {EVENT_COLUMNS} FROM {self._schema}.log_page($1, $2)
        """
        return converted(answered_by(self._operations.read("read events", sql, after, limit)), _logged)

    def redrive(
        self, message_id: int, events: Sequence[Event] = (), /
    ) -> FutureResult[Literal["redriven", "not_found"], StoreError]:
        """Turn a dead letter into a message again, and log events."""
        operations = self._operations
        sql = f"SELECT {self._schema}.redrive($1, $2, $3, $4::text[], $5::text[], $6::bigint[], $7::text[])"
        values = (operations.epoch, operations.durability, message_id, *_arrays(events))
        found = answered_by(operations.write("redrive", sql, *values))
        return converted(found, lambda rows: "redriven" if rows[0][0] else "not_found")

    def prune(self, retention: Retention, /) -> FutureResult[int, StoreError]:
        """Delete expired keys, old dead letters, then the oldest events."""
        return asked(self._prune(retention))

    async def _prune(self, retention: Retention) -> Result[int, StoreError]:
        operations = self._operations
        # Found by position: event numbers have gaps here, so no arithmetic tells which the newest ones are.
        found = await self._first_kept(retention.max_events)
        if not isinstance(found, Success):
            return Failure(found.failure())
        sql = f"SELECT {self._schema}.prune($1, $2, $3, $4, $5, $6, $7)"
        since = (retention.now_ms, retention.dead_letters_since_ms, retention.events_since_ms)
        values = (operations.epoch, operations.durability, *since, found.unwrap(), retention.limit)
        pruned = (await operations.write("prune", sql, *values)).map(lambda rows: int(rows[0][0]))
        if pruned.value_or(0) < retention.limit:
            self._kept = None
        return pruned

    async def _first_kept(self, max_events: int) -> Result[int, Any]:
        """Return the oldest event number that `max_events` keeps. It serves one pruning pass with several calls."""
        if self._kept is not None and self._kept[0] == max_events:
            return Success(self._kept[1])
        sql = f"SELECT sequence FROM {self._schema}.events ORDER BY sequence DESC OFFSET $1 LIMIT 1"
        found = await self._operations.read("prune", sql, max_events)
        first = found.map(lambda rows: int(rows[0][0]) + 1 if rows else 0)
        if isinstance(first, Success):
            self._kept = (max_events, first.unwrap())
        return first


class PostgresCursors:
    """Reads and moves sink positions."""

    def __init__(self, operations: PostgresOperations) -> None:
        self._operations = operations

    def read(self, name: str, /) -> FutureResult[Cursor, StoreError]:
        """Return a sink's position, and the newest event's number."""
        sql = f"SELECT sequence, last, deleted FROM {self._operations.schema}.cursor_of($1)"
        found = answered_by(self._operations.read("read a cursor", sql, encoded(name)))
        return converted(found, lambda rows: Cursor(sequence=rows[0][0], last=rows[0][1], deleted=rows[0][2]))

    def move(self, name: str, sequence: int, events: Sequence[Event] = (), /) -> FutureResult[None, StoreError]:
        """Move a sink forward, and log events."""
        operations = self._operations
        sql = (
            f"SELECT {operations.schema}.move_cursor($1, $2, $3, $4, $5::text[], $6::text[], $7::bigint[], $8::text[])"
        )
        values = (operations.epoch, operations.durability, encoded(name), sequence, *_arrays(events))
        return converted(answered_by(operations.write("move a cursor", sql, *values)), lambda _: None)


def _arrays(events: Sequence[Event]) -> list[Sequence[Any]]:
    return arrays([event_row(event) for event in events], _EVENT_WIDTH)


def _logged(rows: Sequence[Any]) -> tuple[LoggedEvent, ...]:
    return tuple(event_from(tuple(row)) for row in rows)
