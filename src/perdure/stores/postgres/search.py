"""Finds instances in the order of their addresses, in a statement of bounded work."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import answer_of, asked
from perdure.stores.postgres.listings import Listings
from perdure.stores.postgres.operations import PostgresOperations
from perdure.stores.postgres.rows import INSTANCE_COLUMNS, Row, instance_from, prefixed
from perdure.stores.postgres.text import decoded, encoded
from perdure.stores.prefix import after_prefix
from perdure.stores.store import Found, Query
from perdure.values.address import Address
from perdure.values.errors import StoreError
from perdure.values.instance import Instance

# ruff: noqa: S608 - the texts are made of constants and the checked name of the schema; values are always bound

_OF_STATUS: Final = {
    "paused": "suspension IS NOT NULL AND status = 'paused'",
    "parked": "suspension IS NOT NULL AND status = 'parked'",
    "left": "left_by IS NOT NULL",
    "retrying": "pending_retry IS NOT NULL AND status = 'retrying'",
    "queued": "rank_ms IS NOT NULL AND status = 'queued'",
    "running": "owner IS NOT NULL AND status = 'running'",
}
"""Conditions of the rare statuses that an index serves."""


class Searches:
    """Searches through the statements of a store."""

    def __init__(self, operations: PostgresOperations, listings: Listings) -> None:
        self._operations = operations
        self._listings = listings

    def find(self, query: Query, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return a page of instances."""
        conditions = Conditions(query)

        def fetch(after: Row, wanted: int) -> Awaitable[Result[Any, Any]]:
            values = (*conditions.values, *after)
            sql = f"""
                SELECT {INSTANCE_COLUMNS} FROM {self._operations.schema}.instances
                WHERE {" AND ".join((*conditions.by_address, *conditions.by_row, conditions.after()))}
                ORDER BY kind, name, id LIMIT ${len(values) + 1}
            """
            return self._operations.read("find", sql, *values, wanted)

        start = _start(query)
        return asked(self._listings.readable(fetch, instance_from, lambda row: row[2:5], start, query.limit))

    def search(self, query: Query, max_scanned: int, /) -> FutureResult[Found, StoreError]:
        """Return a page of instances, or what the next ``max_scanned`` hold."""
        return asked(self._search(query, max_scanned))

    async def _search(self, query: Query, max_scanned: int) -> Result[Found, StoreError]:
        if query.status in _OF_STATUS:  # an index holds only such instances
            found: Result[tuple[Instance, ...], StoreError] = await answer_of(self.find(query))
            return found.map(lambda instances: Found(instances=instances, after=_end(instances, query.limit)))
        conditions = Conditions(query)
        values = (*conditions.values, *_start(query))
        last, table = len(values), f"{self._operations.schema}.instances"
        sql = f"""
            WITH scanned AS MATERIALIZED (
              SELECT incarnation, kind, name, id, status, due_ms, row_number() OVER (ORDER BY kind, name, id) AS place
              FROM {table} WHERE {" AND ".join((*conditions.by_address, conditions.after()))}
              ORDER BY kind, name, id LIMIT ${last + 1}::bigint
            ), wanted AS MATERIALIZED (
              SELECT incarnation FROM scanned
              WHERE {" AND ".join(conditions.by_row) or "true"} ORDER BY place LIMIT ${last + 2}::bigint
            ), rest AS (SELECT kind, name, id FROM scanned WHERE place = ${last + 1}::bigint)
            SELECT e.kind, e.name, e.id, {prefixed("i", INSTANCE_COLUMNS)} FROM (SELECT) AS one
            LEFT JOIN rest AS e ON true
            LEFT JOIN ({table} AS i JOIN wanted USING (incarnation)) ON true
            ORDER BY i.kind, i.name, i.id
        """
        answer = await self._operations.read("find", sql, *values, max_scanned, query.limit)
        if not isinstance(answer, Success):
            return Failure(answer.failure())
        return Success(await self._found(query, [tuple(row) for row in answer.unwrap()]))

    async def _found(self, query: Query, rows: list[Row]) -> Found:
        matching = [row[3:] for row in rows if row[3] is not None]

        async def fetched(_: Row, __: int) -> Result[Any, Any]:
            return Success(matching)

        read = await self._listings.readable(fetched, instance_from, lambda row: row[:1], (), len(matching) + 1)
        end = matching[-1][2:5] if len(matching) == query.limit else rows[0][:3]
        after = None if end[0] is None else Address(*(decoded(part) for part in end))
        return Found(instances=read.value_or(()), after=after)


class Conditions:
    """The conditions of a query as texts of SQL.

    Attributes:
        values: the values of the parameters, in their order.
        by_address: conditions on the address.
        by_row: the others.
    """

    def __init__(self, query: Query) -> None:
        self.values: list[Any] = []
        self.by_address = self._of_address(query)
        self.by_row = self._of_row(query)

    def after(self) -> str:
        """Return the condition of the position, whose parameters follow the values."""
        first = len(self.values)
        return f"(kind, name, id) > (${first + 1}, ${first + 2}, ${first + 3})"

    def _of_address(self, query: Query) -> list[str]:
        prefix = encoded(query.id_prefix)
        above = after_prefix(prefix)
        wanted = {
            "kind = {}": encoded(query.kind),
            "name = {}": encoded(query.name),
            "id >= {}": prefix or None,
            "id < {}": above,
        }
        found = [text.format(self._bound(value)) for text, value in wanted.items() if value is not None]
        if query.jobs is not None:
            found.append(f"(kind, name) IN {self._jobs(query.jobs)}")
        if query.except_jobs:
            found.append(f"(kind, name) NOT IN {self._jobs(query.except_jobs)}")
        return found

    def _of_row(self, query: Query) -> list[str]:
        found: list[str] = []
        if query.status is not None:
            found.append(_OF_STATUS.get(query.status) or f"status = {self._bound(query.status)}")
        if query.due_before_ms is not None:
            found.append(f"due_ms < {self._bound(query.due_before_ms)}")
        return found

    def _jobs(self, jobs: tuple[tuple[str, str], ...]) -> str:
        kinds, names = [encoded(kind) for kind, _ in jobs], [encoded(name) for _, name in jobs]
        return f"(SELECT * FROM unnest({self._bound(kinds)}::text[], {self._bound(names)}::text[]))"

    def _bound(self, value: object) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


def _start(query: Query) -> Row:
    if query.after is None:
        return "", "", ""
    return encoded(query.after.kind), encoded(query.after.name), encoded(query.after.id)


def _end(instances: tuple[Instance, ...], limit: int) -> Address | None:
    return instances[-1].address if len(instances) == limit else None
