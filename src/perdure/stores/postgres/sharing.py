"""The operations for a schema that several engines share: membership, and the engines' shares."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Final, TypeAlias

import orjson
from returns.future import FutureResult
from returns.result import Failure, Result

from perdure.programs.future import asked
from perdure.stores.postgres.encoding import (
    INSTANCE_COLUMNS,
    MESSAGE_COLUMNS,
    Row,
    encoded,
    instance_from,
    message_from,
)
from perdure.stores.postgres.operations import PostgresOperations
from perdure.stores.postgres.queries import InstanceQueries, due_place, due_row
from perdure.stores.shares import Members, Served, ServedCode, Share, StoreMember
from perdure.stores.values import DuePosition
from perdure.values.errors import OutcomeUnknown, StoreError, StoreUnavailable
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage
from perdure.values.turn_inputs import OtherEngines

# ruff: noqa: S608 - the texts are made of constants and the checked name of the schema; values are always bound

_FIRST: Final = -(2**63)
_LAST: Final = 2**63 - 1
_SIGN: Final = 1 << 63
_NOW_MS: Final = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_MEMBER: Final = f"epoch, served, joined_ms, lease_left_ms, label, last_epoch, {_NOW_MS}"

_Bits: TypeAlias = tuple[list[str], list[str], list[int]]


class PostgresSharing:
    """Divides a store among its engines, through one engine's statements."""

    def __init__(self, operations: PostgresOperations, queries: InstanceQueries, lease_ms: int) -> None:
        self._operations = operations
        self._queries = queries
        self.lease_ms = lease_ms
        self._schema = operations.schema

    # ------------------------------------------------------------ membership
    def heartbeat(self, served: Served, /) -> FutureResult[Members, StoreError]:
        """Renew this opening's lease, and return the members."""
        return asked(self._heartbeat(served))

    async def _heartbeat(self, served: Served) -> Result[Members, StoreError]:
        operations = self._operations
        jobs = orjson.dumps([(kind, name, code.version, code.code) for (kind, name), code in served.items()])
        sql = f"SELECT {_MEMBER} FROM {self._schema}.beat($1, $2, $3)"
        beaten = await operations.heartbeat(sql, operations.epoch, jobs.decode(), self.lease_ms)
        match beaten:
            case Failure(OutcomeUnknown(reason=reason)):  # to repeat it does no harm
                return Failure(StoreUnavailable("renew the lease", reason))
            case _:
                return beaten.map(_members)

    def members(self) -> FutureResult[Members, StoreError]:
        """Return the members."""
        return asked(self._read_members())

    async def _read_members(self) -> Result[Members, StoreError]:
        sql = f"SELECT {_MEMBER} FROM {self._schema}.members()"
        return (await self._operations.read("read the members", sql)).map(_members)

    # ------------------------------------------------------------ shares
    def due(
        self, now_ms: int, limit: int, share: Share, after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return a share's due instances."""
        sql = f"""
            SELECT {INSTANCE_COLUMNS}, due_ms
            FROM {self._schema}.due_in_share($1, $2, $3, $4, $5::text[], $6::text[], $7::bigint[])
        """
        bits = _bits(share)

        def fetch(place: Row, wanted: int) -> Awaitable[Result[Any, Any]]:
            return self._operations.read("read due instances", sql, now_ms, *place, wanted, *bits)

        return asked(self._queries.readable(fetch, due_row, due_place, after or (_FIRST, 0), limit))

    def messages(
        self, now_ms: int, limit: int, share: Share, others: OtherEngines, old_ms: int, /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return the messages that this opening sent, and a share's messages that their writer does not deliver."""
        sql = f"""
            SELECT {MESSAGE_COLUMNS} FROM {self._schema}.heads_in_share(
              $1, $2, $3, $4, $5::bigint[], $6, $7, $8::text[], $9::text[], $10::bigint[])
        """
        rest = (self._operations.epoch, *_known(others), old_ms, *_bits(share))

        def fetch(place: Row, wanted: int) -> Awaitable[Result[Any, Any]]:
            return self._operations.read("read messages", sql, *place, now_ms, wanted, *rest)

        return asked(self._queries.readable(fetch, message_from, lambda row: row[:1], (_FIRST,), limit))

    def abandoned(
        self, after_incarnation: int, limit: int, share: Share, others: OtherEngines, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return a share's instances that a dead engine has claimed."""
        sql = f"""
            SELECT {INSTANCE_COLUMNS}
            FROM {self._schema}.abandoned($1, $2, $3, $4::bigint[], $5, $6::text[], $7::text[], $8::bigint[])
        """
        rest = (self._operations.epoch, *_known(others), *_bits(share))

        def fetch(place: Row, wanted: int) -> Awaitable[Result[Any, Any]]:
            return self._operations.read("read claims", sql, *place, wanted, *rest)

        return asked(self._queries.readable(fetch, instance_from, lambda row: row[:1], (after_incarnation,), limit))


def _known(others: OtherEngines) -> tuple[list[int], int]:
    return sorted(others.living), min(others.known_up_to, _LAST)


def _bits(share: Share) -> _Bits:
    jobs = share.buckets.items()
    kinds, names = [encoded(kind) for (kind, _), _ in jobs], [encoded(name) for (_, name), _ in jobs]
    return kinds, names, [_signed(sum(1 << bucket for bucket in buckets)) for _, buckets in jobs]


def _signed(bits: int) -> int:
    return bits - 2 * _SIGN if bits & _SIGN else bits


def _members(rows: Sequence[Row]) -> Members:
    members = tuple(
        StoreMember(
            epoch=row[0],
            served={(kind, name): ServedCode(*code) for kind, name, *code in orjson.loads(row[1])},
            joined_ms=row[2],
            lease_left_ms=row[3],
            label=row[4],
        )
        for row in rows
    )
    last_epoch, now_ms = max((row[5] for row in rows), default=0), max((row[6] for row in rows), default=0)
    return Members(members=members, last_epoch=last_epoch, now_ms=now_ms)
