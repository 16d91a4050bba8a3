"""Counts the instances of a PostgreSQL store: exactly while that is quick, and otherwise rarely, for all engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson
from returns.future import FutureResult
from returns.result import Result, Success

from perdure.programs.future import asked
from perdure.stores.postgres.operations import PostgresOperations
from perdure.stores.postgres.rows import Row
from perdure.stores.postgres.text import decoded
from perdure.values.errors import StoreError
from perdure.values.listings import MAX_COUNTED, StatusCount, StoreCounts

QUICK_MS: Final = 50
"""A count that takes less is made for each caller."""

SELDOM: Final = 20
"""A slow count is kept for this many times as long as it took: counting takes 5 % of a backend, for all engines."""

_COUNTING: Final = 1885692520

# ruff: noqa: S608 - the texts are made of constants and the checked name of the schema


class InstanceCounting:
    """Counts instances, and keeps a slow count in a table that all engines read."""

    def __init__(self, operations: PostgresOperations) -> None:
        self._operations = operations
        s = operations.schema
        self._rest = f"""
            SELECT {s}.next_alarm(-1), (SELECT count(*) FROM (SELECT FROM {s}.messages LIMIT {MAX_COUNTED}) AS few),
              (SELECT count(*) FROM (SELECT FROM {s}.dead_letters LIMIT {MAX_COUNTED}) AS few), c.body, c.took_ms,
              (extract(epoch FROM clock_timestamp() - c.counted_at) * 1000)::bigint
            FROM (SELECT) AS one LEFT JOIN {s}.counted AS c ON true
        """
        # With a kept count, another engine that counts at the moment holds the lock: then there is no row.
        self._count = f"""
            WITH mine AS MATERIALIZED (
              SELECT NOT $1 OR pg_try_advisory_xact_lock({_COUNTING}, '{s}.instances'::regclass::oid::int) AS ok)
            SELECT kind, name, status, count(*) FROM {s}.instances WHERE (SELECT ok FROM mine) GROUP BY 1, 2, 3
            UNION ALL SELECT NULL, NULL, NULL, 0 FROM mine WHERE ok
        """
        self._keep = f"""
            INSERT INTO {s}.counted (counted_at, took_ms, body) VALUES (clock_timestamp(), $1, $2)
            ON CONFLICT (one) DO UPDATE SET counted_at = excluded.counted_at, took_ms = excluded.took_ms,
              body = excluded.body
        """

        self._forget = f"DELETE FROM {s}.counted"

    def counts(self) -> FutureResult[StoreCounts, StoreError]:
        """Count instances and messages."""
        return asked(self._counts())

    async def _counts(self) -> Result[StoreCounts, StoreError]:
        answer = await self._operations.read("count", self._rest)
        if not isinstance(answer, Success):
            return answer
        ((oldest_due_ms, messages, dead_letters, body, took_ms, age_ms),) = answer.unwrap()
        rest: dict[str, Any] = {"oldest_due_ms": oldest_due_ms, "messages": messages, "dead_letters": dead_letters}
        if body is not None and age_ms < took_ms * SELDOM:
            return Success(StoreCounts(instances=_kept(body), age_ms=max(0, age_ms), **rest))
        began_ms = self._operations.runtime.monotonic_ms()
        counted = await self._operations.read("count", self._count, body is not None)
        if not isinstance(counted, Success):
            return counted
        rows = counted.unwrap()
        if not rows:
            return Success(StoreCounts(instances=_kept(body or "[]"), age_ms=max(0, age_ms), **rest))
        instances = _counted(rows)
        took_ms = int(self._operations.runtime.monotonic_ms() - began_ms)
        if took_ms < QUICK_MS:
            if body is not None:
                await self._operations.write("forget a count", self._forget)
        else:
            kept = orjson.dumps([(one.kind, one.name, one.status, one.number) for one in instances]).decode()
            await self._operations.write("keep a count", self._keep, took_ms, kept)  # a failure is one more count
        return Success(StoreCounts(instances=instances, **rest))


def _counted(rows: Sequence[Row]) -> tuple[StatusCount, ...]:
    found = (StatusCount(decoded(kind), decoded(name), status, number) for kind, name, status, number in rows if kind)
    return tuple(sorted(found))


def _kept(body: str) -> tuple[StatusCount, ...]:
    return tuple(StatusCount(*one) for one in orjson.loads(body))
