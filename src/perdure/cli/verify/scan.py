"""The complete check of a store: the file, its tables, every row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from perdure.cli.check import tables as pages
from perdure.cli.check.finding import Finding, Topic
from perdure.cli.check.report import CheckReport
from perdure.cli.check.row_reader import PostgresRows, RowReader, SqliteRows
from perdure.cli.check.scan import Progress, scan
from perdure.cli.verify import schema_tables, tables
from perdure.cli.verify.rows import SoundRows
from perdure.stores.sqlite.reader import Reader
from perdure.values.errors import StoreCorrupt

if TYPE_CHECKING:
    from perdure.stores.postgres.reader import PostgresReader

_SCHEMA_TABLES = (
    schema_tables.schema,
    schema_tables.order,
    schema_tables.numbers,
    schema_tables.journals,
    schema_tables.derived,
)
_TABLES = (tables.schema, tables.order, tables.numbers, tables.history, tables.journals)


def look_at(reader: Reader, *, max_log_growth_bytes: int, progress: Progress) -> CheckReport:
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
        lambda: report.add(tables.findings_of_sqlite(reader.findings(max_log_growth_bytes=max_log_growth_bytes))),
        *(lambda look=look: report.add(look(reader)) for look in _TABLES),
        lambda: _rows(SqliteRows(reader), report, progress),
    )
    return _looked(looks, report, "SQLite finds damage")


def look_at_schema(reader: PostgresReader, *, progress: Progress) -> CheckReport:
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
        *(lambda look=look: report.add(look(reader)) for look in _SCHEMA_TABLES),
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


def _rows(reader: RowReader, report: CheckReport, progress: Progress) -> None:
    rows = SoundRows()
    scan(reader, rows, now_ms=0, progress=progress, into=report)
    for page in pages.events(reader):
        report.count("events", len(page))
        for row in page:
            report.add(rows.event(row))
        progress(report)
