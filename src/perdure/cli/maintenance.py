"""The commands that copy, rebuild or upgrade a complete store.

``perdure backup`` copies a store's file, with or without an engine, and ``vacuum`` reclaims its space. ``migrate``
creates or upgrades a PostgreSQL store's tables. ``copy`` moves, for example, a SQLite file into PostgreSQL. ``token``
and ``key`` make a client's token, and the key that encrypts a store.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import attrs
from cyclopts import Parameter

from perdure.cli.options import JsonOption, StoreOption
from perdure.cli.output import MIB, Steps, line_on_stderr, open_bar, size_text, write_json
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.server.access import NAME, RESERVED, SCOPES
from perdure.stores.encryption import Key
from perdure.stores.postgres import migrate_schema
from perdure.stores.postgres.schema import migrations, script_from
from perdure.stores.postgres.settings import settings_of
from perdure.stores.sqlite import backup as compact
from perdure.stores.sqlite.backup import copy_from_outside
from perdure.stores.transfer import OnCopyProgress, Phase, StoreCopy, compare_stores, copy_store, copying_of
from perdure.stores.url import sqlite_path
from perdure.stores.values import BackupProgress
from perdure.values.errors import DefinitionError, StoreError


def backup(
    *,
    store: StoreOption,
    output: Path,
    max_wal_mib: int = 256,
) -> int:
    """Copy a store into a new file, as of the moment of the call. The copy opens as a store.

    It takes no lock and writes nothing to the store: an engine that owns it continues. The engine's write-ahead log
    grows until the copy is complete. On a store with constant writes, let the engine make the
    backup: jobs.backup(path).

    Exit code: 0 the backup is complete and on the disk, 2 there is none, and no file is left.

    Parameters
    ----------
    store
        Where instances live: sqlite:///jobs.db.
    output
        The file to write. It must not exist.
    max_wal_mib
        Stop when the engine's write-ahead log has grown by more than this many MiB.
    """
    if max_wal_mib < 0:
        raise UsageError(f"--max-wal-mib {max_wal_mib}: expected a number from 0")
    line = line_on_stderr()

    def tell(progress: BackupProgress) -> None:
        line.show(f"copied {size_text(progress.copied_bytes)} of {size_text(progress.total_bytes)}")

    try:
        made = copy_from_outside(sqlite_path(store), output, tell, max_log_growth_bytes=max_wal_mib * MIB)
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    finally:
        line.clear()
    write_lines([f"{output}: {size_text(made.size_bytes)}"])
    return ExitCode.DONE


def vacuum(*, store: StoreOption) -> int:
    """Rebuild the file to reclaim space. Stop the engine first.

    It holds the store lock until it is done. It needs space for a second copy on the file's disk, and for another copy
    where SQLite puts temporary files. If it is interrupted, the file is unchanged. `perdure stats` says whether it is
    worth it.

    Exit code: 0 done, 2 an engine owns the store, there is too little space, or no such file.

    Parameters
    ----------
    store
        Where instances live: sqlite:///jobs.db.
    """
    line = line_on_stderr()
    try:
        path = sqlite_path(store)
        line.show(f"rebuilding {path}")
        done = compact.vacuum(path)
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    finally:
        line.clear()
    write_lines([f"{store}: {size_text(done.before_bytes)} before, {size_text(done.after_bytes)} now"])
    if done.reader:
        write_lines(["a reader keeps the file from shrinking; it shrinks when the reader closes it"])
    return ExitCode.DONE


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
        With --print-sql: the version that the tables have. 0 if there are none.
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
        """Show a phase's progress."""
        if phase != self._shown or self._steps is None:
            self._bars.close()
            self._shown, self._steps = phase, self._bars.enter_context(open_bar(_TITLES[phase], rows))
        self._steps(done, rows)


# ---------------------------------------------------------------- tokens and keys
_RANDOM_BYTES: Final = 32


def token(
    name: Annotated[str, Parameter(name="NAME")],
    /,
    *,
    scopes: str = "read,call",
) -> int:
    """Make a random token for a client of a server: its secret, and the line for the server's tokens file.

    The line has only the secret's SHA-256. The secret is shown once and stored nowhere. Append the line to a file with
    mode 0600 and pass it to `perdure serve --tokens-file`, or put it into `PERDURE_TOKENS`.

    Exit code: 0 done, 2 the name or a scope is not valid.

    Parameters
    ----------
    name
        The client, as the access log shows it: 1 to 64 letters, digits, `.`, `_` or `-`.
    scopes
        Its permissions, separated by commas: read, call, operate.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"NAME {name!r}: expected 1 to 64 letters, digits, '.', '_' or '-'")
    if name in RESERVED:
        raise UsageError(f"NAME {name!r}: expected another name: events call callers without a token so")
    if not set(scopes.split(",")) <= set(SCOPES):
        raise UsageError(f"--scopes {scopes!r}: expected some of {', '.join(SCOPES)}, separated by commas")
    secret = secrets.token_urlsafe(_RANDOM_BYTES)
    line = f"{name} {scopes} sha256:{hashlib.sha256(secret.encode()).hexdigest()}"
    write_lines([f"secret for the client: {secret}", f"line for the server:   {line}"])
    return ExitCode.DONE


def key(key_id: Annotated[str, Parameter(name="ID")], /) -> int:
    """Make a random key that encrypts stored data, as a line for `PERDURE_KEYS` or a file of keys.

    The key is shown once and stored nowhere. Without it, the data that is encrypted with it cannot be read.

    Exit code: 0 done, 2 the id is not valid.

    Parameters
    ----------
    key_id
        The key's name, which is stored with each text: 1 to 64 letters, digits, `.`, `_` or `-`.
    """
    try:
        write_lines([Key.new(key_id).line])
    except DefinitionError as error:
        raise UsageError(str(error)) from error
    return ExitCode.DONE
