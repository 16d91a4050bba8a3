"""The lanes of a job, in which instances wait for a free worker."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Final

from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import answered_by, asked, converted
from perdure.stores.lanes import QueuedLane
from perdure.stores.postgres.listings import Listings, due_place, due_row
from perdure.stores.postgres.operations import PostgresOperations
from perdure.stores.postgres.rows import INSTANCE_COLUMNS, Row
from perdure.stores.postgres.text import decoded, encoded
from perdure.values.address import Job
from perdure.values.errors import StoreCorrupt, StoreError
from perdure.values.instance import Instance

# ruff: noqa: S608 - the texts are made of constants and the checked name of the schema; values are always bound

_FIRST: Final = -(2**63)
_LANE: Final = INSTANCE_COLUMNS.split(", ").index("lane")


class PostgresLanes:
    """Reads lanes through the statements of a store."""

    def __init__(self, operations: PostgresOperations, listings: Listings) -> None:
        self._operations = operations
        self._listings = listings

    def lanes(self, job: Job, after: str | None, limit: int, /) -> FutureResult[tuple[str, ...], StoreError]:
        """Return the next lanes of a job."""
        sql = f"SELECT * FROM {self._operations.schema}.lanes($1, $2, $3, $4)"
        found = self._operations.read("read lanes", sql, *map(encoded, job), encoded(after), limit)
        return converted(answered_by(found), lambda rows: tuple(decoded(row[0]) for row in rows))

    def queued(self, job: Job, lanes: Sequence[str], limit: int, /) -> FutureResult[tuple[QueuedLane, ...], StoreError]:
        """Return the first queued instances of lanes."""
        return asked(self._queued(job, lanes, -(-limit // len(lanes)) if lanes else 0))

    async def _queued(self, job: Job, lanes: Sequence[str], share: int) -> Result[tuple[QueuedLane, ...], StoreError]:
        answer = await self._read(job, lanes, (_FIRST, 0), share + 1)
        if not isinstance(answer, Success):
            return Failure(answer.failure())
        rows: dict[str, list[Row]] = {encoded(lane): [] for lane in lanes}
        for row in answer.unwrap():
            rows[row[_LANE]].append(tuple(row))
        found: list[QueuedLane] = []
        for lane in lanes:
            instances = await self._instances(job, lane, rows[encoded(lane)], share + 1)
            if not isinstance(instances, Success):
                return Failure(instances.failure())
            found.append(_queued_lane(lane, instances.unwrap(), share))
        return Success(tuple(found))

    def _read(self, job: Job, lanes: Sequence[str], place: Row, wanted: int) -> Awaitable[Result[Any, Any]]:
        sql = f"""
            SELECT {INSTANCE_COLUMNS}, rank_ms FROM {self._operations.schema}.queued($1, $2, $3::text[], $4, $5, $6)
        """
        names = [encoded(lane) for lane in lanes]
        return self._operations.read("read queued instances", sql, *map(encoded, job), names, *place, wanted)

    async def _instances(
        self, job: Job, lane: str, rows: list[Row], wanted: int
    ) -> Result[tuple[Instance, ...], StoreError]:
        """Decode the rows of a lane. If one does not decode, the lane is read on, for a full page."""
        try:
            return Success(tuple(map(due_row, rows)))
        except StoreCorrupt:
            pass

        def fetch(place: Row, more: int) -> Awaitable[Result[Any, Any]]:
            return self._read(job, [lane], place, more)

        return await self._listings.readable(fetch, due_row, due_place, (_FIRST, 0), wanted)


def _queued_lane(lane: str, found: tuple[Instance, ...], share: int) -> QueuedLane:
    return QueuedLane(lane=lane, instances=found[:share], rest="none" if len(found) <= share else "some")
