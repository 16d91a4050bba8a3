"""The functions that read: lists, lanes, journals, searches, counts, health, and holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeVar, cast

import orjson
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import answer_of, answered_by, asked, converted
from perdure.runtime.record import Runtime
from perdure.stores.attributes import AttributeSearch, Statement, first_id, numbered
from perdure.stores.postgres.encoding import (
    DEAD_LETTER_COLUMNS,
    HOLD_CHANGED,
    INSTANCE_COLUMNS,
    MESSAGE_COLUMNS,
    Row,
    decoded,
    encoded,
    instance_from,
    message_from,
    prefixed,
)
from perdure.stores.postgres.operations import PostgresOperations
from perdure.stores.rows import after_prefix
from perdure.stores.values import (
    WITHOUT_WORK,
    DuePosition,
    Found,
    Health,
    JobWork,
    Query,
    QueuedLane,
    StoredWork,
)
from perdure.values.address import Address, Job
from perdure.values.errors import StoreCorrupt, StoreError
from perdure.values.instance import Instance
from perdure.values.listings import MAX_COUNTED, StatusCount, StoreCounts
from perdure.values.message import StoredMessage
from perdure.values.status import Hold
from perdure.values.stream import StoredGroup, StreamGroup

# ruff: noqa: S608 - the texts are made of constants and the checked name of the schema; values are always bound

T = TypeVar("T")

_FIRST: Final = -(2**63)


class InstanceQueries:
    """Lists through a store's statements."""

    def __init__(self, operations: PostgresOperations) -> None:
        self._operations = operations
        self._schema = operations.schema

    # ------------------------------------------------------------ instances
    def due(
        self, now_ms: int, limit: int, after: DuePosition | None = None, except_jobs: tuple[Job, ...] = (), /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return the due instances."""
        kinds, names = [encoded(kind) for kind, _ in except_jobs], [encoded(name) for _, name in except_jobs]
        sql = f"""
            SELECT {INSTANCE_COLUMNS}, due_ms
            FROM {self._schema}.due($1, $2, $3, $4, $5::text[], $6::text[])
        """

        def fetch(place: Row, wanted: int) -> Awaitable[Result[Any, Any]]:
            return self._operations.read("read due instances", sql, now_ms, *place, wanted, kinds, names)

        # Below any instant: an alarm may be due before 1970.
        start = after or (_FIRST, 0)
        return asked(self.readable(fetch, due_row, due_place, start, limit))

    def next_alarm(self, after_ms: int, /) -> FutureResult[int | None, StoreError]:
        """Return the earliest due instant after an instant."""
        return self._value("read the next alarm", f"SELECT {self._schema}.next_alarm($1)", after_ms)

    def claimed(self, after_incarnation: int, limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return instances with a claim."""
        sql = f"SELECT {INSTANCE_COLUMNS} FROM {self._schema}.claimed($1, $2)"
        return self._page("read claims", sql, instance_from, (after_incarnation,), limit)

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

    def messages(
        self, now_ms: int, limit: int, except_jobs: tuple[Job, ...] = (), /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return the messages that may be delivered."""
        sql = f"SELECT {MESSAGE_COLUMNS} FROM {self._schema}.heads($1, $3, $2, $4::text[], $5::text[])"
        kinds, names = [encoded(kind) for kind, _ in except_jobs], [encoded(name) for _, name in except_jobs]
        return self._page("read messages", sql, message_from, (_FIRST,), limit, now_ms, kinds, names)

    def next_message(self, after_ms: int, /) -> FutureResult[int | None, StoreError]:
        """Return the earliest instant, after an instant, that a message waits for."""
        # "> 0": most messages wait for nothing and have 0, which a partial index leaves out.
        sql = f"SELECT min(not_before_ms) FROM {self._schema}.messages WHERE not_before_ms > 0 AND not_before_ms > $1"
        return self._value("read the next message", sql, after_ms)

    def dead_letters(self, after_id: int, limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        """Return dead letters."""
        # Pages continue behind the last id: with OFFSET, a letter that is redriven between two pages would shift the
        # others.
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
        # One statement: the server sends the notification when the hold is committed, and only then.
        sql = f"""
            SELECT {self._schema}.set_hold($1, $2, $3, $4, $5),
              pg_notify('perdure_' || '{self._schema}.instances'::regclass::oid, '{HOLD_CHANGED}')
        """
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
            fetch: returns rows after a position, up to a number.
            decode: decodes a row.
            place: returns a row's position in the statement's order.
            start: the position to start after.
            limit: the maximum number of rows.
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
            # Count the rows that were read, not those that decode: a page of damaged rows would look like the end.
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
    """Return a row's position in the order that ``due`` has."""
    return row[-1], row[0]


def _bodies(address: Address, first: int, rows: Sequence[Row]) -> Result[tuple[str, ...], StoreError]:
    for expected, row in enumerate(rows, first):
        # A gap is corruption: a workflow that replays without one row would take the next step's outcome for it.
        if row[0] != expected:
            reason = f"expected a row at place {expected}, found the next at {row[0]}"
            return Failure(StoreCorrupt(f"journal of {address}", reason))
    return Success(tuple(decoded(row[1]) for row in rows))


def _up_to(limit: int, numbers: Sequence[int]) -> tuple[int, ...]:
    counts: list[int] = []
    for number in numbers:
        # The limit is for all pairs together, as the contract says, and each subquery stops at it alone.
        counts.append(min(number, limit))
        limit -= counts[-1]
    return tuple(counts)


# ruff: noqa: S608 - the texts are made of constants and the checked name of the schema; values are always bound

_BEFORE_ALL: Final = -(2**63)
_LANE: Final = INSTANCE_COLUMNS.split(", ").index("lane")


class PostgresJournal:
    """Reads journals through a store's statements."""

    def __init__(self, operations: PostgresOperations) -> None:
        self._operations = operations

    def read(
        self, address: Address, incarnation: int, first: int, limit: int, /
    ) -> FutureResult[tuple[str, ...], StoreError]:
        """Return a journal's rows."""
        # By incarnation: an instance that was purged and started again must not read the former journal.
        sql = f"""
            SELECT place, body FROM {self._operations.schema}.journal WHERE incarnation = $1 AND place >= $2
            ORDER BY place LIMIT $3
        """

        async def work() -> Result[tuple[str, ...], StoreError]:
            found = await self._operations.read("read a journal", sql, incarnation, first, limit)
            return _bodies(address, first, found.unwrap()) if isinstance(found, Success) else found

        return asked(work())


class PostgresStreams:
    """Appends to streams, and reads them, through a store's statements."""

    def __init__(self, operations: PostgresOperations) -> None:
        self._operations = operations
        given = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(_GROUP_TYPES, 3))
        self._append = f"SELECT n, began FROM {operations.schema}.append_streams($1::bigint, $2::text, {given})"

    def append(self, groups: Sequence[StreamGroup], /) -> FutureResult[tuple[int | None, ...], Any]:
        """Append groups in one statement."""

        async def work() -> Result[tuple[int | None, ...], Any]:
            columns = zip(*map(_group_row, groups), strict=True)
            stored = await self._operations.repeated("append to a stream", self._append, *map(list, columns))
            if not isinstance(stored, Success):
                return Failure(stored.failure())
            began = {row[0]: row[1] for row in stored.unwrap()}
            return Success(tuple(began.get(number) for number in range(len(groups))))

        return asked(work())

    def read(
        self, _: Address, incarnation: int, stream: str, after: int, limit: int, max_bytes: int, /
    ) -> FutureResult[tuple[StoredGroup, ...], StoreError]:
        """Return groups."""
        # `last`, because a group holds several chunks: one that begins before the offset may end behind it.
        table = f"{self._operations.schema}.streams"
        sql = f"""
            WITH next AS (SELECT last, total FROM {table}
              WHERE incarnation = $1 AND stream = $2 AND last > $3 ORDER BY last LIMIT $4)
            SELECT first, last, body FROM {table} WHERE incarnation = $1 AND stream = $2 AND last > $3
              AND last <= (SELECT max(last) FROM next WHERE total <= $5 + (SELECT min(total) FROM next)) ORDER BY last
        """
        found = self._operations.read("read a stream", sql, incarnation, encoded(stream), after, limit, max_bytes)
        return converted(
            answered_by(found), lambda rows: tuple(StoredGroup(row[0], row[1], decoded(row[2])) for row in rows)
        )

    def last(self, _: Address, incarnation: int, stream: str, /) -> FutureResult[int, StoreError]:
        """Return the newest offset."""
        sql = f"SELECT max(last) FROM {self._operations.schema}.streams WHERE incarnation = $1 AND stream = $2"
        found = self._operations.read("read a stream", sql, incarnation, encoded(stream))
        return converted(answered_by(found), lambda rows: -1 if rows[0][0] is None else int(rows[0][0]))


_GROUP_TYPES: Final = (
    *("bigint", "bigint", "text", "int", "int", "text", "bigint", "int", "bigint", "text"),
    *("bigint", "bigint"),
)
"""The argument types for ``append_streams``."""


def _group_row(group: StreamGroup) -> Row:
    return (
        *(group.incarnation, group.owner, group.run_id, group.attempt, group.deliveries, encoded(group.stream)),
        *(group.skipped, group.count, group.size, encoded(group.body), group.max_chunks, group.max_bytes),
    )


class PostgresLanes:
    """Reads lanes through a store's statements."""

    def __init__(self, operations: PostgresOperations, queries: InstanceQueries) -> None:
        self._operations = operations
        self._queries = queries

    def names(self, job: Job, after: str | None, limit: int, /) -> FutureResult[tuple[str, ...], StoreError]:
        """Return a job's next lanes."""
        sql = f"SELECT * FROM {self._operations.schema}.lanes($1, $2, $3, $4)"
        found = self._operations.read("read lanes", sql, *map(encoded, job), encoded(after), limit)
        return converted(answered_by(found), lambda rows: tuple(decoded(row[0]) for row in rows))

    def queued(self, job: Job, lanes: Sequence[str], limit: int, /) -> FutureResult[tuple[QueuedLane, ...], StoreError]:
        """Return the first queued instances in each lane."""
        # Rounded up: with more lanes than the limit, each lane still returns one.
        return asked(self._queued(job, lanes, -(-limit // len(lanes)) if lanes else 0))

    def last_rank(self, job: Job, /) -> FutureResult[int | None, StoreError]:
        """Return the greatest rank."""
        schema = self._operations.schema
        sql = f"SELECT max(rank_ms) FROM {schema}.instances WHERE kind = $1 AND name = $2 AND rank_ms IS NOT NULL"
        found = self._operations.read("read the last rank", sql, *map(encoded, job))
        return converted(answered_by(found), lambda rows: cast("int | None", rows[0][0]))

    async def _queued(self, job: Job, lanes: Sequence[str], share: int) -> Result[tuple[QueuedLane, ...], StoreError]:
        # One more than the share: whether there is a further one is the answer's `rest`.
        answer = await self._read(job, lanes, (_BEFORE_ALL, 0), share + 1)
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
        """Decode a lane's rows. If one does not decode, the lane is read on, for a full page."""
        try:
            return Success(tuple(map(due_row, rows)))
        # Only then row by row: one corrupt row must not hide the rest of its lane, and is rare.
        except StoreCorrupt:
            pass

        def fetch(place: Row, more: int) -> Awaitable[Result[Any, Any]]:
            return self._read(job, [lane], place, more)

        return await self._queries.readable(fetch, due_row, due_place, (_BEFORE_ALL, 0), wanted)


def _queued_lane(lane: str, found: tuple[Instance, ...], share: int) -> QueuedLane:
    return QueuedLane(lane=lane, instances=found[:share], rest="none" if len(found) <= share else "some")


# ruff: noqa: S608 - the texts are made of constants and the checked name of the schema; values are always bound

_OF_STATUS: Final = {
    "paused": "suspension IS NOT NULL AND status = 'paused'",
    "parked": "suspension IS NOT NULL AND status = 'parked'",
    "left": "left_by IS NOT NULL",
    "retrying": "pending_retry IS NOT NULL AND status = 'retrying'",
    "queued": "rank_ms IS NOT NULL AND status = 'queued'",
    "running": "owner IS NOT NULL AND status = 'running'",
}
"""Conditions for the rare statuses that an index serves."""


class InstanceSearch(InstanceQueries):
    """Lists and searches through a store's statements."""

    def find(self, query: Query, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        """Return a page of instances."""
        if query.where:
            return converted(asked(self._search_by_attributes(query, None)), lambda found: found.instances)
        conditions, schema = Conditions(query), self._operations.schema

        def fetch(after: Row, wanted: int) -> Awaitable[Result[Any, Any]]:
            values = (*conditions.values, *after)
            # Ordered by the index of addresses: the next page begins behind the last row of this one.
            page = f"ORDER BY kind, name, id LIMIT ${len(values) + 1}"
            source = conditions.source(schema, INSTANCE_COLUMNS, (*conditions.by_row, conditions.after()), page)
            sql = f"SELECT {INSTANCE_COLUMNS} FROM {source} {page}"
            return self._operations.read("find", sql, *values, wanted)

        start = _start(query)
        return asked(self.readable(fetch, instance_from, lambda row: row[2:5], start, query.limit))

    def search(self, query: Query, max_scanned: int, /) -> FutureResult[Found, StoreError]:
        """Return a page of instances, or what the next ``max_scanned`` hold."""
        return asked(self._search(query, max_scanned))

    async def _search_by_attributes(self, query: Query, max_scanned: int | None) -> Result[Found, StoreError]:
        begun = await begin_search(self._operations, query)
        if not isinstance(begun, Success):
            return Failure(begun.failure())
        search: AttributeSearch | None = begun.unwrap()
        found: tuple[Instance, ...] = ()
        after, scanned = first_id(query), 0
        while search is not None and after is not None and (max_scanned is None or scanned < max_scanned):
            wanted = query.limit - len(found)
            answer = await self._operations.read("find", *numbered_marks(search.portion(after, wanted)))
            if not isinstance(answer, Success):
                return Failure(answer.failure())
            rows = answer.unwrap()
            # Cut to the page: the portion may hold more matches, and the next page begins behind the last one of this
            # page.
            matching = [row for row in rows if row[2]][:wanted]
            page = await self._of_incarnations([row[1] for row in matching])
            if not isinstance(page, Success):
                return Failure(page.failure())
            found, scanned = found + page.unwrap(), scanned + len(rows)
            if len(found) == query.limit:
                return Success(Found(instances=found, after=found[-1].address))
            # A row that does not decode leaves room: the search goes on behind the last match that was read.
            is_cut = len(matching) == wanted
            last = matching[-1] if is_cut else rows[-1] if len(rows) == search.taken(wanted) else None
            after = None if last is None else decoded(last[0])
        at_end = search is None or not after
        end = None if at_end else Address(query.kind or "", query.name or "", after or "")
        return Success(Found(instances=found, after=end))

    async def _of_incarnations(self, incarnations: Sequence[int]) -> Result[tuple[Instance, ...], StoreError]:
        """Return the instances with these incarnations, by address."""
        if not incarnations:
            return Success(())
        sql = f"""
            SELECT {INSTANCE_COLUMNS} FROM {self._operations.schema}.instances
            WHERE incarnation = ANY($1::bigint[]) ORDER BY kind, name, id
        """
        answer = await self._operations.read("find", sql, list(incarnations))
        if not isinstance(answer, Success):
            return Failure(answer.failure())
        rows = [tuple(row) for row in answer.unwrap()]

        async def fetched(_: Row, __: int) -> Result[Any, Any]:
            return Success(rows)

        # One more than there are rows: for a row that does not decode, a second page would return all of them again.
        return await self.readable(fetched, instance_from, lambda row: row[:1], (), len(rows) + 1)

    async def _search(self, query: Query, max_scanned: int) -> Result[Found, StoreError]:
        if query.where:
            return await self._search_by_attributes(query, max_scanned)
        is_met_by_all = query.status is None and query.due_before_ms is None and query.limit <= max_scanned
        if is_met_by_all or query.status in _OF_STATUS:  # an index holds only such instances
            found: Result[tuple[Instance, ...], StoreError] = await answer_of(self.find(query))
            return found.map(lambda instances: Found(instances=instances, after=_end(instances, query.limit)))
        conditions = Conditions(query)
        values = (*conditions.values, *_start(query))
        last, schema = len(values), self._operations.schema
        columns = "incarnation, kind, name, id, status, due_ms"
        page = f"ORDER BY kind, name, id LIMIT ${last + 1}::bigint"
        source = conditions.source(schema, columns, (conditions.after(),), page)
        # MATERIALIZED: inlined, the planner would apply the conditions first, and scan the table for a rare match.
        # LEFT JOIN: a page without a match still returns the address from which the next one continues.
        sql = f"""
            WITH scanned AS MATERIALIZED (
              SELECT {columns}, row_number() OVER (ORDER BY kind, name, id) AS place
              FROM {source} {page}
            ), wanted AS MATERIALIZED (
              SELECT incarnation FROM scanned
              WHERE {" AND ".join(conditions.by_row) or "true"} ORDER BY place LIMIT ${last + 2}::bigint
            ), rest AS (SELECT kind, name, id FROM scanned WHERE place = ${last + 1}::bigint)
            SELECT e.kind, e.name, e.id, {prefixed("i", INSTANCE_COLUMNS)} FROM (SELECT) AS one
            LEFT JOIN rest AS e ON true
            LEFT JOIN ({schema}.instances AS i JOIN wanted USING (incarnation)) ON true
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

        read = await self.readable(fetched, instance_from, lambda row: row[:1], (), len(matching) + 1)
        # Full: continue behind the last match. Otherwise behind the last row that was scanned.
        end = matching[-1][2:5] if len(matching) == query.limit else rows[0][:3]
        after = None if end[0] is None else Address(*(decoded(part) for part in end))
        return Found(instances=read.value_or(()), after=after)


class Conditions:
    """A query's conditions as SQL texts.

    Attributes:
        values: the parameter values, in order.
    """

    def __init__(self, query: Query) -> None:
        self.values: list[Any] = []
        self.by_address = self._of_address(query)
        self.by_job = f"(kind, name) NOT IN {self._jobs(query.except_jobs)}" if query.except_jobs else "true"
        is_of_some_jobs = query.except_jobs or (query.id_prefix and None in (query.kind, query.name))
        self._seeks: Literal["rows", "jobs"] = "jobs" if is_of_some_jobs else "rows"
        self.by_row = self._of_row(query)

    def source(self, schema: str, columns: str, further: Sequence[str], page: str) -> str:
        """Return the rows at the wanted addresses that meet further conditions, as a table.

        For a prefix in no certain job, or for all jobs but some, that is one seek in the index for each job that has
        instances: the conditions alone would read the index entries of all other instances as well.

        Args:
            schema: the schema.
            columns: the columns that are needed.
            further: conditions besides those on the address.
            page: the order and the limit, in each job.
        """
        rows = f"SELECT {columns} FROM {schema}.instances WHERE {' AND '.join((*self.by_address, *further))}"
        if self._seeks == "rows":
            return f"({rows}) AS wanted"
        first = f"SELECT kind, name FROM {schema}.instances"
        return f"""(
            WITH RECURSIVE jobs (kind, name) AS (
              ({first} ORDER BY kind, name LIMIT 1) UNION ALL SELECT next.* FROM jobs,
              LATERAL ({first} WHERE (kind, name) > (jobs.kind, jobs.name) ORDER BY kind, name LIMIT 1) AS next
            ) SELECT found.* FROM (SELECT * FROM jobs WHERE {self.by_job}) AS job,
            LATERAL ({rows} AND instances.kind = job.kind AND instances.name = job.name {page}) AS found
        ) AS wanted"""

    def after(self) -> str:
        """Return the condition for the position, whose parameters follow the values."""
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
        # An empty list matches no instance, and None matches all jobs.
        if query.jobs is not None:
            found.append(f"(kind, name) IN {self._jobs(query.jobs)}")
        return found

    def _of_row(self, query: Query) -> list[str]:
        found: list[str] = []
        if query.status is not None:
            # Word for word the condition of a partial index, which the planner would not use otherwise.
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
        # Below every address: no kind is empty.
        return "", "", ""
    return encoded(query.after.kind), encoded(query.after.name), encoded(query.after.id)


def _end(instances: tuple[Instance, ...], limit: int) -> Address | None:
    # A short page is the last one.
    return instances[-1].address if len(instances) == limit else None


def numbered_marks(statement: Statement) -> tuple[Any, ...]:
    """Return a statement's text with numbered parameters, and its values, encoded."""
    sql, values = statement
    # No literal in these texts contains a question mark.
    parts = sql.split("?")
    text = "".join(f"{part}${number}" for number, part in enumerate(parts[:-1], 1)) + parts[-1]
    return text, *(encoded(value) if isinstance(value, str) else value for value in values)


async def begin_search(operations: PostgresOperations, query: Query) -> Result[AttributeSearch | None, StoreError]:
    """Return the search of a query by attributes. None if nothing matches."""
    sql = f"SELECT attribute, number FROM {operations.schema}.attributes WHERE kind = $1 AND name = $2"
    answer = await operations.read("find", sql, encoded(query.kind), encoded(query.name))
    if not isinstance(answer, Success):
        return Failure(answer.failure())
    ranges = numbered(query.where, {decoded(name): number for name, number in answer.unwrap()})
    if ranges is None:
        return Success(None)
    size = operations.portion
    search = AttributeSearch(query=query, ranges=ranges, prefix=f"{operations.schema}.", size=size)
    lengths = await operations.read("find", *numbered_marks(search.lengths(search.most)))
    return lengths.map(lambda rows: search.led_by(rows[0]))


QUICK_MS: Final = 50
"""A count that takes less is made for each caller."""

SELDOM: Final = 20
"""A slow count is kept for this many times as long as it took: counting takes 5 % of a backend, for all engines."""

_COUNTING: Final = 1885692520

# ruff: noqa: S608 - the texts are made of constants and the checked name of the schema


class PostgresCounts:
    """Counts messages and instances. The keeper, for a replica its primary, keeps a slow count for all engines."""

    def __init__(self, operations: PostgresOperations, runtime: Runtime, keeper: PostgresOperations) -> None:
        self._operations = operations
        self._keeper = keeper
        self._runtime = runtime
        s = operations.schema
        # LEFT JOIN: the other numbers are returned without a kept count, too. Its age is by the server's clock, which
        # also dated it: the clocks of engines differ.
        self._rest = f"""
            SELECT {s}.next_alarm(-1), (SELECT count(*) FROM (SELECT FROM {s}.messages LIMIT {MAX_COUNTED}) AS few),
              (SELECT count(*) FROM (SELECT FROM {s}.dead_letters LIMIT {MAX_COUNTED}) AS few), c.body, c.took_ms,
              (extract(epoch FROM clock_timestamp() - c.counted_at) * 1000)::bigint
            FROM (SELECT) AS one LEFT JOIN {s}.counted AS c ON true
        """
        # With a kept count, another engine that counts at the moment holds the lock: then there is no row.
        # Without a kept count there is no other answer, so each caller counts. The row without a kind marks that it
        # has: an empty store returns no other.
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

    def messages(
        self, pairs: Sequence[tuple[Address, Address]], limit: int, /
    ) -> FutureResult[tuple[int, ...], StoreError]:
        """Count messages for each sender and target."""
        s = self._operations.schema
        sql = f"""
            SELECT (SELECT count(*) FROM (SELECT FROM {s}.messages AS m
              WHERE m.pair = {s}.digest(p.sender, p.target) LIMIT $3) AS few)
            FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS p (sender, target, place) ORDER BY place
        """
        senders = [encoded(str(sender)) for sender, _ in pairs]
        targets = [encoded(str(target)) for _, target in pairs]
        found = self._operations.read("count messages", sql, senders, targets, limit)
        return converted(answered_by(found), lambda rows: _up_to(limit, [row[0] for row in rows]))

    def has_work(self, job: Job, /) -> FutureResult[bool, StoreError]:
        """Return whether a job has work."""
        s = self._operations.schema
        sql = f"""
            SELECT EXISTS (SELECT FROM {s}.instances WHERE kind = $1 AND name = $2 AND status NOT IN {WITHOUT_WORK})
              OR EXISTS (SELECT FROM {s}.messages WHERE starts_with(target, $3))
        """
        kind, name = map(encoded, job)
        found = self._operations.read("look for work", sql, kind, name, f"{kind}:{name}:")
        return converted(answered_by(found), lambda rows: bool(rows[0][0]))

    def work(self, jobs: Sequence[Job], until_ms: int, limit: int, /) -> FutureResult[StoredWork, StoreError]:
        """Count the jobs' work."""
        kinds, names = [encoded(kind) for kind, _ in jobs], [encoded(name) for _, name in jobs]
        sql = f"SELECT * FROM {self._operations.schema}.work($1, $2, $3::text[], $4::text[])"
        found = self._operations.read("count the work", sql, until_ms, limit, kinds, names)
        return converted(answered_by(found), partial(_work, jobs))

    def instances(self) -> FutureResult[StoreCounts, StoreError]:
        """Count instances and messages."""
        return asked(self._instances())

    async def _instances(self) -> Result[StoreCounts, StoreError]:
        answer = await self._operations.read("count", self._rest)
        if not isinstance(answer, Success):
            return answer
        ((oldest_due_ms, messages, dead_letters, body, took_ms, age_ms),) = answer.unwrap()
        rest: dict[str, Any] = {"oldest_due_ms": oldest_due_ms, "messages": messages, "dead_letters": dead_letters}
        if body is not None and age_ms < took_ms * SELDOM:
            # A server's clock that was set back makes a count younger than nothing.
            return Success(StoreCounts(instances=_kept(body), age_ms=max(0, age_ms), **rest))
        began_ms = self._runtime.monotonic_ms()
        counted = await self._operations.read("count", self._count, body is not None)
        if not isinstance(counted, Success):
            return counted
        rows = counted.unwrap()
        if not rows:
            # Another engine counts at the moment: its former count is the answer, whatever its age.
            return Success(StoreCounts(instances=_kept(body or "[]"), age_ms=max(0, age_ms), **rest))
        instances = _counted(rows)
        took_ms = int(self._runtime.monotonic_ms() - began_ms)
        if took_ms < QUICK_MS:
            # While a kept count exists, a caller that meets another's count returns the old one.
            if body is not None:
                await self._keeper.write("forget a count", self._forget)
        else:
            kept = orjson.dumps([(one.kind, one.name, one.status, one.number) for one in instances]).decode()
            await self._keeper.write("keep a count", self._keep, took_ms, kept)  # a failure is one more count
        return Success(StoreCounts(instances=instances, **rest))


def _work(jobs: Sequence[Job], rows: Sequence[Row]) -> StoredWork:
    found = tuple(
        JobWork(
            kind=kind,
            name=name,
            queued=queued,
            due=due,
            messages=messages,
            running=running,
            next_alarm_ms=next_alarm_ms,
        )
        for (kind, name), (queued, due, messages, running, next_alarm_ms, _) in zip(jobs, rows, strict=True)
    )
    # All rows carry the same bound: one scan of alarms serves all jobs.
    return StoredWork(jobs=found, alarms_to_ms=rows[0][-1] if rows else None)


def _counted(rows: Sequence[Row]) -> tuple[StatusCount, ...]:
    found = (StatusCount(decoded(kind), decoded(name), status, number) for kind, name, status, number in rows if kind)
    return tuple(sorted(found))


def _kept(body: str) -> tuple[StatusCount, ...]:
    return tuple(StatusCount(*one) for one in orjson.loads(body))


# ruff: noqa: S608 - the texts are made of constants and the checked name of the schema


async def measured(operations: PostgresOperations) -> Result[Health, StoreError]:
    """Measure the tables, and report corrupt rows."""
    sql = f"""
        SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class AS c JOIN pg_class AS i USING (relnamespace)
        WHERE i.oid = '{operations.schema}.instances'::regclass AND c.relkind = 'r'
    """
    answer = await operations.read("check its health", sql)
    if not isinstance(answer, Success):
        # A server that does not answer is a finding of a health check, not an error of it.
        return Success(Health(state="failed", detail=str(answer.failure())))
    detail = str(operations.damage)
    health = Health(
        state="degraded" if detail else "ok",
        detail=detail,
        file_bytes=int(answer.unwrap()[0][0]),
    )
    return Success(health)
