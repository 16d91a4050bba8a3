"""The health of a PostgreSQL store."""

from __future__ import annotations

from returns.future import FutureResult
from returns.result import Result, Success

from perdure.programs.future import asked
from perdure.stores.postgres.operations import PostgresOperations
from perdure.stores.store import Health
from perdure.values.errors import StoreError

# ruff: noqa: S608 - the texts are made of constants and the checked name of the schema


class Checks:
    """Checks a store with small statements."""

    def __init__(self, operations: PostgresOperations) -> None:
        self._operations = operations

    def health(self) -> FutureResult[Health, StoreError]:
        """Measure the tables, and report corrupt rows."""
        return asked(self._health())

    async def _health(self) -> Result[Health, StoreError]:
        operations = self._operations
        sql = f"""
            SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class AS c JOIN pg_class AS i USING (relnamespace)
            WHERE i.oid = '{operations.schema}.instances'::regclass AND c.relkind = 'r'
        """
        answer = await operations.read("check its health", sql)
        if not isinstance(answer, Success):
            return Success(Health(state="failed", detail=str(answer.failure())))
        detail = str(operations.damage)
        health = Health(
            state="degraded" if detail else "ok",
            detail=detail,
            file_bytes=int(answer.unwrap()[0][0]),
        )
        return Success(health)
