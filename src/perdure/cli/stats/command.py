"""``perdure stats``: show counts and file size."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import orjson
from cyclopts import Parameter

from perdure.cli.exit_code import ExitCode
from perdure.cli.standard_output import write_lines
from perdure.cli.stats.counts import Counts, count
from perdure.cli.stats.schema_counts import count_schema
from perdure.cli.stats.text import json_of, lines_of
from perdure.cli.store_option import StoreOption
from perdure.cli.usage_error import UsageError
from perdure.stores.postgres import check_driver
from perdure.stores.postgres.settings import is_postgres, settings_of, shown_url
from perdure.stores.sqlite.reader import read_from_outside
from perdure.stores.url import sqlite_path
from perdure.values.errors import DefinitionError, StoreError


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
