"""The operations that list instances and messages, and the holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import answered_by, asked, converted
from perdure.stores.postgres.operations import PostgresOperations
from perdure.stores.postgres.rows import (
    DEAD_LETTER_COLUMNS,
    INSTANCE_COLUMNS,
    MESSAGE_COLUMNS,
    Row,
    instance_from,
    message_from,
)
from perdure.stores.postgres.text import decoded, encoded
from perdure.stores.store import DuePosition
from perdure.values.address import Address, Job
from perdure.values.errors import StoreCorrupt, StoreError
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage
from perdure.values.status import Hold

# ruff: noqa: S608 - the texts are made of constants and the checked name of the schema; values are always bound

T = TypeVar("T")

_FIRST: Final = -(2**63)


class Listings:
    """Lists through the statements of a store."""

    def __init__(self, operations: PostgresOperations) -> None:
        self._operations = operations
        self._schema = operations.schema

    # ------------------------------------------------------------ instances
    def due(
        self, now_ms: int, limit: int, after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the due instances."""
        return self.due_except(now_ms, limit, (), after)

    def due_except(
        self, now_ms: int, limit: int, jobs: tuple[Job, ...], after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the due instances of other jobs."""
        kinds, names = [encoded(kind) for kind, _ in jobs], [encoded(name) for _, name in jobs]
        sql = f"""
            SELECT {INSTANCE_COLUMNS}, due_ms
            FROM {self._schema}.due($1, $2, $3, $4, $5::text[], $6::text[])
        """

        def fetch(place: Row, wanted: int) -> Awaitable[Result[Any, Any]]:
            return self._operations.read("read due instances", sql, now_ms, *place, wanted, kinds, names)

        start = after or (_FIRST, 0)
        return asked(self.readable(fetch, due_row, due_place, start, limit))

    def next_alarm(self, after_ms: int, /) -> FutureResult[int | None, StoreError]:
        """Return the earliest due instant after an instant."""
        return self._value("read the next alarm", f"SELECT {self._schema}.next_alarm($1)", after_ms)

    def claimed(self, after_incarnation: int, limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return instances with a claim."""
        sql = f"SELECT {INSTANCE_COLUMNS} FROM {self._schema}.claimed($1, $2)"
        return self._page("read claims", sql, instance_from, (after_incarnation,), limit)

    def journal(
        self, address: Address, incarnation: int, first: int, limit: int, /
    ) -> FutureResult[tuple[str, ...], StoreError]:
        """Return rows of a journal."""
        sql = f"""
            SELECT place, body FROM {self._schema}.journal WHERE incarnation = $1 AND place >= $2
            ORDER BY place LIMIT $3
        """

        async def work() -> Result[tuple[str, ...], StoreError]:
            found = await self._operations.read("read a journal", sql, incarnation, first, limit)
            return _bodies(address, first, found.unwrap()) if isinstance(found, Success) else found

        return asked(work())

    def left_to(self, codes: Mapping[Job, str], limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the instances that other code left."""
        sql = f"SELECT {INSTANCE_COLUMNS} FROM {self._schema}.left_to($1, $2, $3::text[], $4::text[])"
        return self._page("read left instances", sql, instance_from, (0,), limit, *_jobs(codes))

    # ------------------------------------------------------------ messages
    def messages_left_to(
        self, codes: Mapping[Job, str], limit: int, /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return the messages that other code left."""
        sql = f"SELECT {MESSAGE_COLUMNS} FROM {self._schema}.messages_left_to($1, $2, $3::text[], $4::text[])"
        return self._page("read messages that are left", sql, message_from, (0,), limit, *_jobs(codes))

    def messages(self, now_ms: int, limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return the messages that may be delivered."""
        sql = f"SELECT {MESSAGE_COLUMNS} FROM {self._schema}.heads($1, $3, $2)"
        return self._page("read messages", sql, message_from, (_FIRST,), limit, now_ms)

    def next_message(self, after_ms: int, /) -> FutureResult[int | None, StoreError]:
        """Return the earliest instant, after an instant, that a message waits for."""
        sql = f"SELECT min(not_before_ms) FROM {self._schema}.messages WHERE not_before_ms > 0 AND not_before_ms > $1"
        return self._value("read the next message", sql, after_ms)

    def count_messages(
        self, pairs: Sequence[tuple[Address, Address]], limit: int, /
    ) -> FutureResult[tuple[int, ...], StoreError]:
        """Count the messages of pairs of sender and target."""
        s = self._schema
        sql = f"""
            SELECT (SELECT count(*) FROM (SELECT FROM {s}.messages AS m
              WHERE m.pair = {s}.digest(p.sender, p.target) LIMIT $3) AS few)
            FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS p (sender, target, place) ORDER BY place
        """
        senders = [encoded(str(sender)) for sender, _ in pairs]
        targets = [encoded(str(target)) for _, target in pairs]
        found = self._operations.read("count messages", sql, senders, targets, limit)
        return converted(answered_by(found), lambda rows: _up_to(limit, [row[0] for row in rows]))

    def dead_letters(self, after_id: int, limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return dead letters."""
        sql = f"""
            SELECT {DEAD_LETTER_COLUMNS} FROM {self._schema}.dead_letters
            WHERE message_id > $1 ORDER BY message_id LIMIT $2
        """
        return self._page("read dead letters", sql, message_from, (after_id,), limit)

    # ------------------------------------------------------------ holds
    def holds(self) -> FutureResult[tuple[Job, ...], StoreError]:
        """Return the held jobs."""
        sql = f"SELECT kind, name FROM {self._schema}.holds ORDER BY kind, name"
        found = answered_by(self._operations.read("read holds", sql))
        return converted(found, lambda rows: tuple((decoded(row[0]), decoded(row[1])) for row in rows))

    def set_hold(self, job: Job, hold: Hold, /) -> FutureResult[Literal["changed", "unchanged"], StoreError]:
        """Hold or release a job."""
        operations = self._operations
        sql = f"SELECT {self._schema}.set_hold($1, $2, $3, $4, $5)"
        values = (operations.epoch, operations.durability, *map(encoded, job), hold)
        found = answered_by(operations.write("hold", sql, *values))
        return converted(found, lambda rows: "changed" if rows[0][0] else "unchanged")

    # ------------------------------------------------------------ pages
    async def readable(
        self,
        fetch: Callable[[Row, int], Awaitable[Result[Any, Any]]],
        decode: Callable[[Row], T],
        place: Callable[[Row], Row],
        start: Row,
        limit: int,
    ) -> Result[tuple[T, ...], StoreError]:
        """Read up to `limit` rows that decode, and skip the others.

        Args:
            fetch: returns a number of rows after a position.
            decode: decodes a row.
            place: returns the position of a row in the order of the statement.
            start: the position to start after.
            limit: maximum number of rows.
        """
        found: list[T] = []
        while wanted := limit - len(found):
            answer = await fetch(start, wanted)
            if not isinstance(answer, Success):
                return Failure(answer.failure())
            rows = [tuple(row) for row in answer.unwrap()]
            for row in rows:
                try:
                    found.append(decode(row))
                except StoreCorrupt as error:
                    self._operations.damage.note(error)
            if len(rows) < wanted:
                break
            start = place(rows[-1])
        return Success(tuple(found))

    def _page(
        self, operation: str, sql: str, decode: Callable[[Row], T], start: Row, limit: int, *values: object
    ) -> FutureResult[tuple[T, ...], StoreError]:
        """Read pages by the first column."""

        def fetch(after: Row, wanted: int) -> Awaitable[Result[Any, Any]]:
            return self._operations.read(operation, sql, *after, wanted, *values)

        return asked(self.readable(fetch, decode, lambda row: row[:1], start, limit))

    def _value(self, operation: str, sql: str, *values: object) -> FutureResult[Any, StoreError]:
        return converted(answered_by(self._operations.read(operation, sql, *values)), lambda rows: rows[0][0])


def _jobs(codes: Mapping[Job, str]) -> tuple[list[Any], list[str]]:
    return [encoded(f"{kind}:{name}") for kind, name in codes], list(codes.values())


def due_row(row: Row) -> Instance:
    """Decode a row with ``due_ms`` at its end."""
    return instance_from(row[:-1])


def due_place(row: Row) -> Row:
    """Return the position of a row in the order of ``due``."""
    return row[-1], row[0]


def _bodies(address: Address, first: int, rows: Sequence[Row]) -> Result[tuple[str, ...], StoreError]:
    for expected, row in enumerate(rows, first):
        if row[0] != expected:
            reason = f"expected a row at place {expected}, found the next at {row[0]}"
            return Failure(StoreCorrupt(f"journal of {address}", reason))
    return Success(tuple(decoded(row[1]) for row in rows))


def _up_to(limit: int, numbers: Sequence[int]) -> tuple[int, ...]:
    counts: list[int] = []
    for number in numbers:
        counts.append(min(number, limit))
        limit -= counts[-1]
    return tuple(counts)
