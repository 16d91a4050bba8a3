"""The complete check of a store: the file, its tables, every row."""

from __future__ import annotations

from collections.abc import Callable

from perdure.cli.check import tables as pages
from perdure.cli.check.finding import Finding, Topic
from perdure.cli.check.report import CheckReport
from perdure.cli.check.scan import Progress, scan
from perdure.cli.verify import tables
from perdure.cli.verify.rows import SoundRows
from perdure.stores.sqlite.reader import Reader
from perdure.values.errors import StoreCorrupt

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
        lambda: _rows(reader, report, progress),
    )
    for look in looks:
        try:
            look()
        except StoreCorrupt as damage:  # the other checks may still find more
            report.add([Finding(topic=Topic.FILE, job="SQLite", reason="SQLite finds damage", example=damage.reason)])
    return report


def _rows(reader: Reader, report: CheckReport, progress: Progress) -> None:
    rows = SoundRows()
    scan(reader, rows, now_ms=0, progress=progress, into=report)
    for page in pages.events(reader):
        report.count("events", len(page))
        for row in page:
            report.add(rows.event(row))
        progress(report)
