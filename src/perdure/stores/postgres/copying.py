"""A PostgreSQL schema as a copy's source or target."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Final

import attrs
import orjson

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.stores.copying import (
    COLUMNS,
    PAGE_ROWS,
    CopiedCursor,
    CopyPage,
    CopyPosition,
    CopySource,
    CopyTarget,
    Numbers,
    Row,
    Table,
    claim_owner,
)
from perdure.stores.postgres.connections import DRIVER_ERRORS, UNSENDABLE, connect, is_pooled, unavailable
from perdure.stores.postgres.encoding import decoded, encoded
from perdure.stores.postgres.ownership import OwnerLock, sharers
from perdure.stores.postgres.schema import in_schema, migrate, migrations, no_schema, version_of
from perdure.stores.postgres.settings import PostgresSettings, settings_of
from perdure.stores.shares import bucket_of_printed
from perdure.values.errors import CopyFailed, StoreLocked, StoreMissing, StoreTooNew, StoreUnavailable

_SHARING: Final = "SELECT count(*) FROM perdure.engines WHERE state = 'open' AND lease_until > clock_timestamp()"
# The number is that of `enter` in the migrations: another one would exclude no writer.
_NO_WRITERS: Final = "SELECT pg_advisory_xact_lock(1885692516, 'perdure.instances'::regclass::oid::int)"
"""Waits for the statements in which engines write or join: see the functions ``enter`` and ``join_members``."""

_END: Final = "UPDATE perdure.engines SET epoch = -epoch WHERE state = 'open' AND epoch > 0"
"""Ends openings without a successor: no engine has a negative number. The row stays open, so that the next owner knows
that an engine died, and claims job code before it runs."""

_UNFINISHED: Final = "SELECT source, moment, position FROM perdure.copying"
# `greatest`: the target's sequences may be ahead, and must never return a number twice.
_BEGIN: Final = """
DELETE FROM perdure.engines;
SELECT setval('perdure.epochs', greatest({epoch}, (SELECT last_value FROM perdure.epochs)));
SELECT setval('perdure.incarnations', greatest({incarnation}, (SELECT last_value FROM perdure.incarnations)));
SELECT setval('perdure.message_ids', greatest({message_id}, (SELECT last_value FROM perdure.message_ids)));
"""
_CURSORS: Final = """
SELECT name, sequence, deleted, (SELECT count(*) FROM perdure.events AS e WHERE e.sequence > c.sequence)
FROM perdure.cursors AS c ORDER BY name
"""
_NUMBERS: Final = """
SELECT (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM perdure.epochs),
  (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM perdure.incarnations),
  (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM perdure.message_ids),
  greatest((SELECT max(sequence) FROM perdure.events), pruned_to), pruned_to FROM perdure.counters
"""
# An estimate is instant: a count reads the complete table.
_ESTIMATE: Final = "SELECT reltuples::bigint FROM pg_class WHERE oid = 'perdure.{table}'::regclass"

_FREE_TEXTS: Final[Mapping[Table, tuple[str, ...]]] = {
    "instances": ("kind", "name", "id", "state", "data", "alarm_trace", "lane"),
    "journal": ("body",),
    "streams": ("stream", "body"),
    "messages": ("sender", "target", "action", "payload", "trace"),
    "dead_letters": ("sender", "target", "action", "payload", "trace"),
    "keys": ("address", "key", "action", "fingerprint", "answer"),
    "histories": ("job",),
    "kept_events": ("address", "job"),
    "events": ("address",),
    "holds": ("kind", "name"),
}
"""The columns that may hold any text. The others are JSON, or this library's words, without control characters."""


async def open_source(url: str) -> CopySource:
    """Lock a schema, and read it.

    Raises:
        DefinitionError: the URL is not valid.
        StoreLocked: an engine has it open.
        StoreMissing: there is no schema.
        StoreUnavailable: the server cannot be reached, its tables are older, or an unfinished copy.
        StoreTooNew: a newer version of the library migrated it.
    """
    settings = settings_of(url)
    operation = f"copy {settings.name}"
    with _errors(operation):
        connection = await connect(settings.dsn)
        try:
            await _check_direct(connection, operation)
            tables = _Tables(settings, connection)
            await _check_source(tables, operation)
        except BaseException:  # or a cancelled opening leaves the connection open
            connection.terminate()
            raise
    return tables.source


async def _check_direct(connection: Any, operation: str) -> None:
    if await is_pooled(connection):
        reason = (
            "a pooler is between this process and the server, and the lock of a copy belongs to a connection; pass the "
            "address of the server itself"
        )
        raise StoreUnavailable(operation, reason)


async def _check_source(tables: _Tables, operation: str) -> None:
    settings, connection = tables.settings, tables.connection
    version = await version_of(connection, settings.schema)
    if version > len(migrations()):
        raise StoreTooNew(settings.name, version, len(migrations()))
    if not version:
        raise StoreMissing(settings.name, no_schema(settings.schema))
    if version < len(migrations()):
        reason = f"its tables have the version {version}, and a copy needs {len(migrations())}; run perdure migrate"
        raise StoreUnavailable(operation, reason)
    # After the versions are checked: the number of the lock is that of a table, which a missing schema lacks.
    await tables.lock()
    unfinished = await connection.fetchval(tables.sql(_UNFINISHED))
    # An unfinished copy has only some of the rows, and a copy of it would look complete.
    if unfinished is not None:
        raise StoreUnavailable(operation, f"it is an unfinished copy of {decoded(unfinished)}; finish that first")


async def open_target(url: str) -> CopyTarget:
    """Lock a schema, and create its tables if they do not exist.

    Raises:
        DefinitionError: the URL is not valid.
        StoreLocked: an engine has it open.
        StoreUnavailable: the server cannot be reached.
        StoreTooNew: a newer version of the library migrated it.
    """
    settings = settings_of(url)
    operation = f"copy to {settings.name}"
    with _errors(operation):
        connection = await connect(settings.dsn)
        try:
            await _check_direct(connection, operation)
            # A crash of the server may undo the last pages, with the position that belongs to them.
            await connection.execute("SET synchronous_commit = off")
            await migrate(connection, store=settings.name, schema=settings.schema)
            tables = _Tables(settings, connection)
            await tables.lock()
        except BaseException:  # as above, and its lock on the tables
            connection.terminate()
            raise
    return _Target(tables).target


CLOSE_S: Final = 5
"""How long the end of a copy waits for the server, in seconds."""


@attrs.frozen
class _Tables:
    """The tables in a schema that this connection has locked."""

    settings: PostgresSettings
    connection: Any

    @property
    def source(self) -> CopySource:
        """The schema as a source."""
        return CopySource(
            name=self.settings.name, numbers=self.numbers, sizes=self.sizes, pages=self.pages, close=self.close
        )

    def sql(self, text: str) -> str:
        """Return a statement for this schema."""
        return in_schema(text, self.settings.schema)

    async def lock(self) -> None:
        """Take an owner's lock, which keeps other engines out.

        Raises:
            StoreLocked: an engine owns the schema, or engines share it.
        """
        lock = OwnerLock(self.connection, self.settings.quoted, self.settings.dsn)
        await lock.acquire(store=self.settings.name, on_locked="raise", runtime=asyncio_runtime())
        await self._check_not_shared()  # first without the lock of the writers, which would delay engines
        # An owner that lost only the connection of its lock could still write, and so could a member whose lease has
        # ended: nothing ends it before another member sends a heartbeat.
        async with self.connection.transaction():
            await self.connection.execute(self.sql(_NO_WRITERS))
            # Inside the lock of the writers: a commit that is under way would otherwise land between the pages of the
            # copy.
            await self.connection.execute(self.sql(_END))
            await self._check_not_shared()  # one may have joined, or renewed its lease

    async def _check_not_shared(self) -> None:
        sharing = await self.connection.fetchval(self.sql(_SHARING))
        if sharing:
            raise StoreLocked(self.settings.name, sharers(sharing))

    async def numbers(self) -> Numbers:
        """Read the numbers."""
        with _errors(f"read {self.settings.name}"):
            row = await self.connection.fetchrow(self.sql(_NUMBERS))
            cursors = await self.connection.fetch(self.sql(_CURSORS))
        epoch, incarnation, message_id, sequence, pruned_to = row
        return Numbers(
            epoch=epoch,
            incarnation=incarnation,
            message_id=message_id,
            sequence=sequence,
            pruned_to=pruned_to,
            events="sparse",
            cursors=tuple(
                CopiedCursor(name=decoded(name), sequence=at, deleted=deleted, remaining=remaining)
                for name, at, deleted, remaining in cursors
            ),
        )

    async def sizes(self) -> Mapping[Table, int]:
        """Estimate the rows, as the server does. Count them in a table without an estimate."""
        found: dict[Table, int] = {}
        with _errors(f"read {self.settings.name}"):
            for table in COLUMNS:
                estimate = await self.connection.fetchval(self.sql(_ESTIMATE.format(table=table)))
                # -1 without statistics, and wrong for small tables: count those.
                if estimate < PAGE_ROWS:
                    estimate = await self.connection.fetchval(self.sql(f"SELECT count(*) FROM perdure.{table}"))  # noqa: S608 - constants
                found[table] = estimate
        return found

    async def pages(self, table: Table, after: Row, /) -> AsyncGenerator[Sequence[Row]]:
        """Read a table's rows, as they are at one moment."""
        columns = COLUMNS[table]
        key = ", ".join(columns.names[: columns.key])
        marks = ", ".join(f"${place}" for place in range(1, columns.key + 1))
        # Behind the last row that the target stored: the copy continues there after an interruption.
        where = f"WHERE ({key}) > ({marks})" if after else ""
        sql = f"SELECT {', '.join(columns.names)} FROM perdure.{table} {where} ORDER BY {key}"  # noqa: S608 - constants
        free = _places(table)
        values = [encoded(value) if isinstance(value, str) else value for value in after]
        with _errors(f"read {self.settings.name}"):
            async with self.connection.transaction(isolation="repeatable_read", readonly=True):
                cursor = await self.connection.cursor(self.sql(sql), *values)
                page, count = CopyPage(), columns.fetch
                # Until fewer come: otherwise each table costs one more round trip, for no row.
                while count == columns.fetch:
                    rows = await cursor.fetch(columns.fetch)
                    count = len(rows)
                    for row in rows:
                        if page.add(_decoded(row, free)):
                            yield page.rows
                            page = CopyPage()
                if page.rows:
                    yield page.rows

    async def close(self) -> None:
        """Release the lock, and wait until the server has: the next one who copies asks once."""
        try:
            await self.connection.close(timeout=CLOSE_S)
        except DRIVER_ERRORS:
            self.connection.terminate()


@attrs.frozen
class _Target:
    """A schema that is written."""

    tables: _Tables

    @property
    def target(self) -> CopyTarget:
        """The schema as a target."""
        return CopyTarget(
            name=self.tables.settings.name,
            begin=self.begin,
            write=self.write,
            finish=self.finish,
            written=self.tables.source,
            close=self.tables.close,
        )

    async def begin(self, source: str, numbers: Numbers, /) -> CopyPosition | None:
        """Mark the tables as a copy, or continue."""
        connection, sql = self.tables.connection, self.tables.sql
        with self._errors():
            mark = await connection.fetchrow(sql(_UNFINISHED))
            if mark is not None:
                return self._begun(mark, source, numbers)
            # Only an empty schema becomes a copy: rows of another store would mix with those of the source.
            for table in (*COLUMNS, "cursors"):
                if await connection.fetchval(sql(f"SELECT EXISTS (SELECT FROM perdure.{table})")):  # noqa: S608 - constants
                    reason = f"the schema {self.tables.settings.schema} has rows in {table}; choose another schema"
                    raise CopyFailed(self.tables.settings.name, reason)
            # One transaction: with numbers and no mark, an engine could open the empty tables as its store.
            async with connection.transaction():
                # A sequence's last value is at least 1.
                assigned = {name: max(1, getattr(numbers, name)) for name in ("epoch", "incarnation", "message_id")}
                await connection.execute(sql(_BEGIN.format(**assigned)))
                insert = "INSERT INTO perdure.copying (source, moment) VALUES ($1, $2)"
                await connection.execute(sql(insert), encoded(source), numbers.moment)
        return None

    def _begun(self, mark: Sequence[Any], source: str, numbers: Numbers) -> CopyPosition | None:
        found, moment, position = decoded(mark[0]), mark[1], mark[2]
        schema = self.tables.settings.schema
        # The moment as well: a source that changed since has rows that the first pages lack.
        if (found, moment) != (source, numbers.moment):
            reason = f"the schema {schema} is an unfinished copy of {found} at {moment}; drop the schema to begin again"
            raise CopyFailed(self.tables.settings.name, reason)
        if position is None:
            return None
        table, *key = orjson.loads(position)
        return CopyPosition(table, tuple(key))

    async def write(self, position: CopyPosition, rows: Sequence[Row], /) -> None:
        """Insert rows, with the position."""
        table, connection = position.table, self.tables.connection
        free = _places(table)
        records, more = [_encoded(row, free) for row in rows], _MORE.get(table)
        names = COLUMNS[table].names
        if more is not None:
            names = (*names, *more[0])
            records = [(*record, *more[1](record, row)) for record, row in zip(records, rows, strict=True)]
        with self._errors():
            # One transaction for rows and position: after a crash, a page would be missing or inserted twice.
            async with connection.transaction():
                await connection.copy_records_to_table(
                    table, schema_name=self.tables.settings.schema, columns=names, records=records
                )
                mark = orjson.dumps([table, *position.key]).decode()
                await connection.execute(self.tables.sql("UPDATE perdure.copying SET position = $1"), mark)

    async def finish(self, numbers: Numbers, /) -> None:
        """Set the numbers, and let engines open the schema."""
        connection, sql = self.tables.connection, self.tables.sql
        cursors = [(encoded(each.name), each.sequence, each.deleted) for each in numbers.cursors]
        with self._errors():
            # Estimates first: an engine that opens the schema before would plan its first statements for empty tables.
            for table in COLUMNS:
                await connection.execute(sql(f"ANALYZE perdure.{table}"))
            async with connection.transaction():
                await connection.execute("SET LOCAL synchronous_commit = on")  # with it all earlier ones are durable
                await connection.execute(sql("UPDATE perdure.counters SET pruned_to = $1"), numbers.pruned_to)
                insert = "INSERT INTO perdure.cursors (name, sequence, deleted) VALUES ($1, $2, $3)"
                await connection.executemany(sql(insert), cursors)
                # Last: until this row is gone, no engine can open the schema (`check_complete`).
                await connection.execute(sql("DELETE FROM perdure.copying"))

    def _errors(self) -> Any:
        return _errors(f"write {self.tables.settings.name}")


def _digest(one: str, other: str) -> bytes:
    """Compute the schema's function ``digest``."""
    # The length separates the two texts: "a" + "bc" and "ab" + "c" must differ. The SQL function computes the same.
    return sha256(f"{len(one)}:{one}{other}".encode()).digest()[:16]


def _of_instance(_: Row, row: Row) -> Row:
    claim, event_claim = row[_CLAIM], row[_CLAIM + 1]
    return bucket_of_printed(":".join(row[2:5])), claim_owner(claim), claim_owner(event_claim)


def _of_message(record: Row, row: Row) -> Row:
    return _digest(record[1], record[2]), bucket_of_printed(row[2]), _NO_ORIGIN


def _of_dead_letter(record: Row, row: Row) -> Row:
    return _digest(record[1], record[2]), bucket_of_printed(row[2])


def _of_key(record: Row, _: Row) -> Row:
    return _digest(record[0], ""), _digest(record[1], "")


_CLAIM: Final = COLUMNS["instances"].names.index("claim")
_NO_ORIGIN: Final = -1
"""An epoch that no engine has, so that the engine whose share it is in delivers the message immediately."""

_MORE: Final[Mapping[Table, tuple[tuple[str, ...], Callable[[Row, Row], Row]]]] = {
    "instances": (("bucket", "owner", "event_owner"), _of_instance),
    "messages": (("pair", "bucket", "origin"), _of_message),
    "dead_letters": (("pair", "bucket"), _of_dead_letter),
    "keys": (("holder", "id"), _of_key),
}
"""The columns that only this store has, and their values for an encoded row and for the row itself."""


def _places(table: Table) -> tuple[int, ...]:
    return tuple(COLUMNS[table].names.index(name) for name in _FREE_TEXTS[table])


def _decoded(row: Sequence[Any], places: tuple[int, ...]) -> Row:
    for place in places:
        # Most texts hold no escape: the row is then returned as it is.
        if "\1" in (row[place] or ""):
            values = list(row)
            for each in places:
                values[each] = None if row[each] is None else decoded(row[each])
            return tuple(values)
    return tuple(row)


def _encoded(row: Row, places: tuple[int, ...]) -> Row:
    for place in places:
        text = row[place]
        if text is not None and ("\0" in text or "\1" in text):
            values = list(row)
            for each in places:
                values[each] = encoded(row[each])
            return tuple(values)
    return row


@contextmanager
def _errors(operation: str) -> Generator[None]:
    try:
        yield
    except (*DRIVER_ERRORS, *UNSENDABLE) as error:
        raise unavailable(operation, error) from error
