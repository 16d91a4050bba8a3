"""``perdure verify``: check the file, its tables and every row of a store, without the user's code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import attrs
import orjson
from cyclopts import Parameter

from perdure.cli import stored_rows
from perdure.cli.inspection import findings, postgres_checks, sqlite_checks
from perdure.cli.inspection.findings import (
    CheckReport,
    Finding,
    Progress,
    ShowProgress,
    Topic,
    finding_at,
    json_of,
    lines_of,
    scan,
)
from perdure.cli.options import StoreOption
from perdure.cli.output import MIB, line_on_stderr
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.cli.stored_rows import PostgresRows, RememberedAnswer, RowReader, SqliteRows, StoredInstance
from perdure.stores.postgres import check_driver
from perdure.stores.postgres.settings import is_postgres, settings_of, shown_url
from perdure.stores.sqlite.reader import Reader, read_from_outside
from perdure.stores.url import sqlite_path
from perdure.stores.values import LoggedEvent, UnreadEvent
from perdure.values.errors import DefinitionError, StoreCorrupt, StoreError
from perdure.values.message import StoredMessage
from perdure.values.secret import key_of

if TYPE_CHECKING:
    from perdure.stores.postgres.reader import PostgresReader


@attrs.frozen
class RowIntegrity:
    """Checks what holds for rows of any code."""

    def instance(self, row: StoredInstance, /) -> Iterator[Finding]:
        """Return the findings about an instance."""
        yield from findings.check_instance(row)
        found = row.instance
        if isinstance(found, StoreCorrupt):
            return
        texts = {"state": found.state, "data": found.data}
        for name, text in texts.items():
            if text and not _is_json(text):
                yield finding_at(Topic.DAMAGED, row.address, f"its {name} is not JSON")

    def message(self, row: StoredMessage | StoreCorrupt, topic: Topic, /) -> Iterator[Finding]:
        """Return the findings about a message or a dead letter."""
        yield from findings.check_message(row)
        if not isinstance(row, StoreCorrupt) and not _is_json(row.message.payload):
            reason, example = "its payload is not JSON", f"message {row.message_id} to {row.message.target}"
            yield Finding(topic=Topic.DAMAGED, job="messages", reason=reason, example=example)

    def answer(self, row: RememberedAnswer, /) -> Iterator[Finding]:
        """Return the findings about the answer of an idempotency key."""
        yield from findings.check_answer(row)
        if not isinstance(row.address, StoreCorrupt) and not _is_json(row.answer):
            reason = f"the answer of key {row.key!r} is not JSON"
            yield finding_at(Topic.DAMAGED, row.address, reason)

    def event(self, row: LoggedEvent | StoreCorrupt, /) -> Iterator[Finding]:
        """Return a finding if an event cannot be decoded: most often a newer version wrote it."""
        if isinstance(row, StoreCorrupt):
            yield Finding(topic=Topic.DAMAGED, job="events", reason=row.reason, example=row.what)
            return
        if isinstance(row.event, UnreadEvent):
            job, _, _ = row.event.address.rpartition(":")
            reason = f"{row.event.type}: {row.event.reason}"
            yield Finding(topic=Topic.EVENT, job=job, reason=reason, example=f"event {row.sequence}")


def _is_json(text: str) -> bool:
    """Return whether a text is JSON, or encrypted: its contents are then not checked."""
    if key_of(text) is not None:
        return True
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


_POSTGRES_CHECKS = (
    postgres_checks.schema,
    postgres_checks.order,
    postgres_checks.numbers,
    postgres_checks.journals,
    postgres_checks.derived,
)
_SQLITE_CHECKS = (
    sqlite_checks.schema,
    sqlite_checks.order,
    sqlite_checks.numbers,
    sqlite_checks.history,
    sqlite_checks.journals,
)


def verify_file(reader: Reader, *, max_log_growth_bytes: int, progress: ShowProgress) -> CheckReport:
    """Check everything in a store that does not depend on the code of its jobs.

    Args:
        reader: the store.
        max_log_growth_bytes: how much the owner's write-ahead log may grow while SQLite checks the file.
        progress: called after every page of rows.

    Returns:
        The report.

    Raises:
        StoreUnavailable: the log grew by more, or SQLite could not check the file now.
    """
    report = CheckReport()
    looks: tuple[Callable[[], None], ...] = (
        lambda: report.add(
            sqlite_checks.findings_of_sqlite(reader.findings(max_log_growth_bytes=max_log_growth_bytes))
        ),
        *(lambda look=look: report.add(look(reader)) for look in _SQLITE_CHECKS),
        lambda: _rows(SqliteRows(reader), report, progress),
    )
    return _looked(looks, report, "SQLite finds damage")


def verify_schema(reader: PostgresReader, *, progress: ShowProgress) -> CheckReport:
    """Check everything in a PostgreSQL store that does not depend on the code of its jobs.

    Args:
        reader: the store.
        progress: called after every page of rows.

    Returns:
        The report.

    Raises:
        StoreUnavailable: the server does not answer.
    """
    report = CheckReport()
    looks: tuple[Callable[[], None], ...] = (
        *(lambda look=look: report.add(look(reader)) for look in _POSTGRES_CHECKS),
        lambda: _rows(PostgresRows(reader), report, progress),
    )
    return _looked(looks, report, "the server finds damage")


def _looked(looks: Iterable[Callable[[], None]], report: CheckReport, reason: str) -> CheckReport:
    for look in looks:
        try:
            look()
        except StoreCorrupt as damage:  # the other checks may still find more
            report.add([Finding(topic=Topic.FILE, job="SQLite", reason=reason, example=damage.reason)])
    return report


def _rows(reader: RowReader, report: CheckReport, progress: ShowProgress) -> None:
    rows = RowIntegrity()
    scan(reader, rows, now_ms=0, progress=progress, into=report)
    for page in stored_rows.events(reader):
        report.count("events", len(page))
        for row in page:
            report.add(rows.event(row))
        progress(report)


SOUND = "the file and every row are intact"
SOUND_ROWS = "every row is intact"


def verify(
    *,
    store: StoreOption,
    max_wal_mib: int = 256,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Verify file and row integrity: SQLite checks the file, the library every row. It needs none of your code.

    It runs beside an engine that owns the store, without one, or on a backup. It takes no lock and writes nothing.
    While SQLite checks the file, the engine's write-ahead log grows. Of a PostgreSQL store it checks the rows and the
    schema, each table as of one moment; the server's own files are for pg_amcheck.

    Exit code: 0 it is intact, 1 there are problems, 2 it cannot start or stopped.

    Parameters
    ----------
    store
        Where instances live: sqlite:///jobs.db, or postgresql://user@host/database.
    max_wal_mib
        Stop when the engine's write-ahead log has grown by more than this many MiB.
    json
        Print one JSON object instead of text.
    """
    if max_wal_mib < 0:
        raise UsageError(f"--max-wal-mib {max_wal_mib}: expected a number from 0")
    report = _report(store, max_wal_mib * MIB)
    if json:
        data = json_of(report, shown_url(store), frozenset())
        sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        write_lines(lines_of(report, shown_url(store), frozenset(), fine=SOUND_ROWS if is_postgres(store) else SOUND))
    return ExitCode.FAILED if report.problems(frozenset()) else ExitCode.DONE


def _report(store: str, max_log_growth_bytes: int) -> CheckReport:
    line = line_on_stderr()
    try:
        if is_postgres(store):
            return _of_schema(store, Progress(line).show)
        with read_from_outside(sqlite_path(store)) as reader:
            line.show("SQLite checks every page")
            return verify_file(reader, max_log_growth_bytes=max_log_growth_bytes, progress=Progress(line).show)
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    finally:
        line.clear()


def _of_schema(store: str, progress: Callable[[CheckReport], None]) -> CheckReport:
    check_driver(settings_of(store))
    from perdure.stores.postgres.reader import check_migrated, read_postgres  # noqa: PLC0415 - the driver is an extra

    with read_postgres(store) as reader:
        check_migrated(reader)
        return verify_schema(reader, progress=progress)
