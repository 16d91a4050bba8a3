"""``perdure verify``: verify file and row integrity."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import orjson
from cyclopts import Parameter

from perdure.cli.check.progress import Progress
from perdure.cli.check.report import CheckReport
from perdure.cli.check.text import json_of, lines_of
from perdure.cli.exit_code import ExitCode
from perdure.cli.progress_line import line_on_stderr
from perdure.cli.size import MIB
from perdure.cli.standard_output import write_lines
from perdure.cli.store_option import StoreOption
from perdure.cli.usage_error import UsageError
from perdure.cli.verify.scan import look_at, look_at_schema
from perdure.stores.postgres import check_driver
from perdure.stores.postgres.settings import is_postgres, settings_of, shown_url
from perdure.stores.sqlite.reader import read_from_outside
from perdure.stores.url import sqlite_path
from perdure.values.errors import DefinitionError, StoreError

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
            return look_at(reader, max_log_growth_bytes=max_log_growth_bytes, progress=Progress(line).show)
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    finally:
        line.clear()


def _of_schema(store: str, progress: Callable[[CheckReport], None]) -> CheckReport:
    check_driver(settings_of(store))
    from perdure.stores.postgres.reader import check_migrated, read_postgres  # noqa: PLC0415 - the driver is an extra

    with read_postgres(store) as reader:
        check_migrated(reader)
        return look_at_schema(reader, progress=progress)
