"""``perdure migrate`` and ``perdure copy``: bring a store to the present version, or into another store.

``migrate`` creates or upgrades the tables of a PostgreSQL store. ``copy`` moves, for example, a SQLite file into
PostgreSQL.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Annotated

import attrs
from cyclopts import Parameter

from perdure.cli.options import JsonOption, StoreOption
from perdure.cli.output import write_json
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.cli.progress import Steps, open_bar
from perdure.stores.postgres import migrate_schema
from perdure.stores.postgres.schema import migrations, script_from
from perdure.stores.postgres.settings import settings_of
from perdure.stores.transfer import OnCopyProgress, Phase, StoreCopy, compare_stores, copy_store, copying_of
from perdure.values.errors import DefinitionError, StoreError


def migrate(*, store: StoreOption, print_sql: bool = False, from_version: int = 0) -> int:
    """Create the tables of a PostgreSQL store, or bring them to the version of this code.

    An engine does the same when it opens the store. Use this command where the engine's role may not create tables,
    or to run the statements yourself.

    Exit code: 0 the tables have the present version, 2 they could not be migrated, and are unchanged.

    Parameters
    ----------
    store
        Where instances live: postgresql://user@host:5432/database.
    print_sql
        Print the statements for psql, and connect to nothing.
    from_version
        With --print-sql: the version of the tables as they are; 0 if there are none.
    """
    try:
        settings = settings_of(store)
        if print_sql:
            _check_version(from_version)
            script = script_from(from_version, settings.schema)
            write_lines(script.splitlines() or [f"-- the tables have version {from_version}: nothing to do"])
            return ExitCode.DONE
        before = asyncio.run(migrate_schema(store))
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    now = len(migrations())
    write_lines([f"{settings.name}: version {now}" + (", nothing to do" if before == now else f", was {before}")])
    return ExitCode.DONE


def _check_version(version: int) -> None:
    if not 0 <= version <= len(migrations()):
        raise UsageError(f"--from-version {version}: expected a number from 0 to {len(migrations())}")


_TITLES = {"copy": "copying rows", "compare": "comparing rows"}


def copy(
    source: str,
    target: str,
    /,
    *,
    compare: Annotated[bool, Parameter(negative="")] = False,
    json: JsonOption = False,
) -> int:
    """Copy a store into another one, of any kind, and compare every row. Stop the engines first.

    Repeat the command after an interruption: it continues. The target opens as a store only after the comparison. The
    source is unchanged. Rows are copied as they are stored, also encrypted ones.

    Exit code: 0 both stores are equal, 1 they differ, 2 the copy cannot start or stopped.

    Parameters
    ----------
    source
        The store to read, such as sqlite:///jobs.db.
    target
        The store to write, such as postgresql://user@host:5432/database. It must not exist, or have no rows.
    compare
        Write nothing: compare two stores that exist.
    json
        Print one JSON object instead of text.
    """
    try:
        with ExitStack() as bars:
            done = asyncio.run(_done(source, target, compare=compare, progress=_Bars(bars).show))
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    except KeyboardInterrupt:
        sys.stderr.write("perdure: interrupted; repeat the command to continue\n")
        return ExitCode.INTERRUPTED
    if json:
        equal = not done.differences
        write_json([{**attrs.asdict(done), "rows": done.rows, "equal": equal}])
    else:
        write_lines(list(_lines(done, "compared" if compare else "copied")))
    return ExitCode.FAILED if done.differences else ExitCode.DONE


async def _done(source: str, target: str, *, compare: bool, progress: OnCopyProgress) -> StoreCopy:
    read, written = copying_of(source), copying_of(target)
    opened = await read.open_source(source)
    try:
        if compare:
            other = await written.open_source(target)
            try:
                return await compare_stores(opened, other, progress)
            finally:
                await other.close()
        into = await written.open_target(target)
        try:
            return await copy_store(opened, into, progress)
        finally:
            await into.close()
    finally:
        await opened.close()


def _lines(done: StoreCopy, verb: str) -> Iterator[str]:
    for table in done.tables:
        if table.source_rows or table.target_rows:
            state = "equal" if not table.difference else f"DIFFERENT, {table.target_rows:,} in the target"
            yield f"{table.table:<12}  {table.source_rows:>11,} rows  {table.source_digest[:16]}  {state}"
    for difference in done.differences:
        yield f"PROBLEM: {difference}"
    again = ", continued" if done.resumed else ""
    if not done.differences:
        yield f"{done.source} and {done.target} are equal: {verb} {done.rows:,} rows{again}"
    elif verb == "copied":
        yield f"{done.target} does not open as a store; the source is unchanged"


class _Bars:
    """One bar for each phase, on a terminal."""

    def __init__(self, bars: ExitStack) -> None:
        self._bars = bars
        self._shown: Phase | None = None
        self._steps: Steps | None = None

    def show(self, phase: Phase, done: int, rows: int) -> None:
        """Show the progress of a phase."""
        if phase != self._shown or self._steps is None:
            self._bars.close()
            self._shown, self._steps = phase, self._bars.enter_context(open_bar(_TITLES[phase], rows))
        self._steps(done, rows)
