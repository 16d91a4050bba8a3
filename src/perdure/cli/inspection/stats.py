"""``perdure stats``: show counts and sizes of a store, as text or as JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import attrs
import orjson
from cyclopts import Parameter

from perdure.cli.inspection.row_counts import Counts, FileSize, SchemaSize, count, count_schema
from perdure.cli.options import StoreOption
from perdure.cli.output import size_text
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.stores.postgres import check_driver
from perdure.stores.postgres.settings import is_postgres, settings_of, shown_url
from perdure.stores.sqlite.reader import read_from_outside
from perdure.stores.url import sqlite_path
from perdure.values.errors import DefinitionError, StoreError


def lines_of(counts: Counts, store: str) -> Iterator[str]:
    """Print the counts and the file size."""
    yield f"{store}  opened {counts.openings:,} {'time' if counts.openings == 1 else 'times'}"
    yield ""
    yield f"instances     {sum(sum(by_status.values()) for by_status in counts.instances.values()):,}"
    for job, by_status in counts.instances.items():
        yield f"  {job}  {', '.join(f'{number:,} {status}' for status, number in by_status.items())}"
    if counts.journal_rows:
        yield f"journal rows  {counts.journal_rows:,}"
    if counts.encrypted:
        yield f"encrypted     {', '.join(_encrypted(key, number) for key, number in counts.encrypted.items())}"
    yield f"due           {counts.due:,}{_since(counts.due_since_ms)}"
    yield f"messages      {counts.messages:,}{_since(counts.oldest_message_ms)}"
    yield f"dead letters  {counts.dead_letters:,}"
    yield f"keys          {counts.keys:,}, {counts.expired_keys:,} expired"
    yield f"events        {counts.events:,}{_since(counts.oldest_event_ms)}"
    yield ""
    yield from _size(counts.size)


def _size(size: FileSize | SchemaSize) -> Iterator[str]:
    if isinstance(size, SchemaSize):
        for table in size.tables:
            vacuumed = "never vacuumed" if table.vacuumed_ms is None else f"vacuumed{_at(table.vacuumed_ms)}"
            sizes = f"{size_text(table.table_bytes)} and {size_text(table.index_bytes)} of indexes"
            yield f"{table.table:<13} {sizes}, {table.dead_rows:,} dead rows, {vacuumed}"
        bloated = ", ".join(table.table for table in size.tables if table.is_bloated)
        yield f"vacuum        {f'falls behind: {bloated}; see perdure doctor' if bloated else 'keeps up'}"
        return
    yield f"file          {size_text(size.file_bytes)}, {size_text(size.free_bytes)} free"
    yield f"wal           {size_text(size.wal_bytes)}"
    yield f"vacuum        {_advice(size)}"


def json_of(counts: Counts, store: str) -> dict[str, Any]:
    """Return the same as plain data for JSON."""
    worth = counts.size.is_worth_a_vacuum
    return {"store": store, **attrs.asdict(counts), "vacuum": "worth it" if worth else "not needed"}


def _encrypted(key: str, number: int) -> str:
    """Print the number of instances that a key encrypts, or that none does.

    >>> _encrypted("plain", 5), _encrypted("k1", 2)
    ('5 plain', '2 with k1')
    """
    return f"{number:,} plain" if key == "plain" else f"{number:,} with {key}"


def _advice(size: FileSize) -> str:
    if size.is_worth_a_vacuum:
        part = size.free_bytes / size.file_bytes
        return f"worth it: reclaims {size_text(size.free_bytes)} ({part:.0%}); stop the engine and run perdure vacuum"
    return "not needed: free pages will be reused"


def _since(instant_ms: int | None) -> str:
    if instant_ms is None:
        return ""
    return f", since{_at(instant_ms)}"


def _at(instant_ms: int) -> str:
    return f" {datetime.fromtimestamp(instant_ms / 1_000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def stats(
    *,
    store: StoreOption,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show counts and sizes: instances by job and status, messages, keys and events.

    It runs beside an engine that owns the store or without one, takes no lock and writes nothing.

    Exit code: 0 done, 2 the store cannot be read.

    Parameters
    ----------
    store
        Where instances live: sqlite:///jobs.db, or postgresql://user@host/database.
    json
        Print one JSON object instead of text.
    """
    counts = _counts(store)
    if json:
        sys.stdout.write(orjson.dumps(json_of(counts, shown_url(store)), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        write_lines(lines_of(counts, shown_url(store)))
    return ExitCode.DONE


def _counts(store: str) -> Counts:
    try:
        if is_postgres(store):
            return _of_schema(store)
        with read_from_outside(sqlite_path(store)) as reader:
            return count(reader, now_ms=time.time_ns() // 1_000_000)
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error


def _of_schema(store: str) -> Counts:
    check_driver(settings_of(store))
    from perdure.stores.postgres.reader import check_migrated, read_postgres  # noqa: PLC0415 - the driver is an extra

    with read_postgres(store) as reader:
        check_migrated(reader)
        return count_schema(reader, now_ms=time.time_ns() // 1_000_000)
