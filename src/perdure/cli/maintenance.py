"""The commands that copy, rebuild or upgrade a complete store.

``perdure backup`` copies a store's file or ships its changes, with or without an engine, ``restore`` and ``backups``
read those from object storage, and ``vacuum`` reclaims the file's space. ``migrate``
creates or upgrades a PostgreSQL store's tables. ``copy`` moves, for example, a SQLite file into PostgreSQL. ``token``
and ``key`` make a client's token, and the key that encrypts a store.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import Annotated, Final

import attrs
from cyclopts import Parameter

from perdure.cli.options import JsonOption, StoreOption
from perdure.cli.output import MIB, Steps, Table, line_on_stderr, open_bar, size_text, write_json, write_table
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.server.access import NAME, RESERVED, SCOPES
from perdure.stores.encryption import Encryption, Key
from perdure.stores.encryption.keys import ENVIRONMENT
from perdure.stores.postgres import migrate_schema
from perdure.stores.postgres.schema import migrations, script_from
from perdure.stores.postgres.settings import settings_of
from perdure.stores.sqlite import backup as compact
from perdure.stores.sqlite.backup import copy_from_outside
from perdure.stores.sqlite.object_storage import BackupBucket
from perdure.stores.sqlite.shipping import ShippedSnapshot, Shipper, ShippingServices, restore_from
from perdure.stores.transfer import OnCopyProgress, Phase, StoreCopy, compare_stores, copy_store, copying_of
from perdure.stores.url import sqlite_path
from perdure.stores.values import BackupProgress
from perdure.values.errors import BackupFailed, DefinitionError, StoreError, StoreUnavailable
from perdure.values.times import duration_ms, to_ms


def backup(
    *,
    store: StoreOption,
    output: Path | None = None,
    to: str | None = None,
    every: str | None = None,
    keep: str = "7d",
    keys_file: Path | None = None,
    adopt: Annotated[bool, Parameter(negative="")] = False,
    max_wal_mib: int = 256,
) -> int:
    """Copy a store into a new file, or ship its changes to object storage.

    It takes no lock and writes nothing to the store: an engine that owns it continues. The engine's write-ahead log
    grows until the copy is complete. On a store with constant writes, let the engine make the
    backup: jobs.backup(path), or ship the changes with --to and --every.

    Exit code: 0 the backup is complete and stored, 1 the newest changes are not stored, 2 it cannot start, or another
    writer took over. No file is left.

    Parameters
    ----------
    store
        Where instances live: sqlite:///jobs.db.
    output
        The file to write. It must not exist.
    to
        Instead of a file: s3://bucket/path, gs://bucket/path, az://account/container/path or file:///path.
    every
        With --to: ship the changes this often until SIGINT or SIGTERM, such as 1s. Without it: once.
    keep
        With --to: how long whole copies are kept after newer ones replaced them.
    keys_file
        With --to: encrypt with the first of these keys, as `perdure key` prints them. Else with PERDURE_KEYS, if set.
    adopt
        With --to: continue the backups at the URL although the file beside the store does not say that they are its.
    max_wal_mib
        Stop when the engine's write-ahead log has grown by more than this many MiB. With --to: compare all pages
        instead, when the endpoint works again.
    """
    if max_wal_mib < 0:
        raise UsageError(f"--max-wal-mib {max_wal_mib}: expected a number from 0")
    if (output is None) == (to is None):
        raise UsageError("pass either --output, a file, or --to, a URL of object storage")
    if to is not None:
        return _ship(store, to, every, keep, keys_file, adopt=adopt, max_log_bytes=max_wal_mib * MIB)
    assert output is not None  # noqa: S101 - for the type checker
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


# ---------------------------------------------------------------- object storage
_TOLD_MS: Final = 60_000


def _ship(
    store: str, to: str, every: str | None, keep: str, keys_file: Path | None, *, adopt: bool, max_log_bytes: int
) -> int:
    stopping = Event()

    def stop(_number: int, _frame: object) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    services = ShippingServices(
        now_ms=_now_ms,
        new_id=lambda: secrets.token_hex(16),
        wait=stopping.wait,
        report=lambda text: _tell(f"warning: {text}"),
    )
    try:
        pause_s = None if every is None else duration_ms(every, what="--every") / 1_000
        keep_ms = duration_ms(keep, what="--keep", minimum_ms=0)
        encryption = _encryption(keys_file)
        shipper = Shipper(
            Path(sqlite_path(store)),
            BackupBucket(to),
            services,
            encryption=encryption,
            keep_ms=keep_ms,
            max_log_bytes=max_log_bytes,
            adopt=adopt,
        )
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{to}: {error}", exit_code=ExitCode.FAILED) from error
    with closing(shipper):
        return _shipped_until(shipper, stopping, pause_s)


def _shipped_until(shipper: Shipper, stopping: Event, pause_s: float | None) -> int:
    told_ms = total = 0

    def is_stopping() -> bool:
        return pause_s is None or stopping.is_set()

    def shipped(done: ShippedSnapshot) -> None:
        nonlocal told_ms, total
        total += done.size_bytes
        if _now_ms() - told_ms > _TOLD_MS or is_stopping():
            behind_s = (_now_ms() - done.moment_ms) / 1_000
            _tell(f"shipped {size_text(total)}, {behind_s:.1f} s behind")
            told_ms = _now_ms()

    try:
        shipper.ship_until(is_stopping, pause_s or 0, shipped)
    except StoreUnavailable as error:
        raise UsageError(str(error), exit_code=ExitCode.FAILED) from error
    except BackupFailed as error:
        code = ExitCode.FAILED if stopping.is_set() else ExitCode.MISCONFIGURED
        raise UsageError(str(error), exit_code=code) from error
    except (StoreError, OSError) as error:
        raise UsageError(str(error), exit_code=ExitCode.FAILED) from error
    return ExitCode.DONE


def restore(
    *,
    from_: Annotated[str, Parameter(name="--from")],
    store: StoreOption,
    at: str | None = None,
    keys_file: Path | None = None,
) -> int:
    """Restore a store from object storage into a new file, which is verified before it gets its name.

    Exit code: 0 the file is complete and on the disk, 1 the endpoint did not answer, 2 there is no file.

    Parameters
    ----------
    from_
        The URL that `perdure backup --to` ships to.
    store
        Where the file is to be: sqlite:///jobs.db. It must not exist.
    at
        Restore the last moment that is not after this one, such as 2026-11-25T12:00:00Z. Else the newest.
    keys_file
        The keys of an encrypted backup. Else PERDURE_KEYS, if set.
    """
    try:
        at_ms = None if at is None else to_ms(datetime.fromisoformat(at), what="--at")
        path = Path(sqlite_path(store))
        done = restore_from(BackupBucket(from_), path, encryption=_encryption(keys_file), at_ms=at_ms)
    except ValueError as error:
        raise UsageError(f"--at {at}: expected an instant such as 2026-11-25T12:00:00Z") from error
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{from_}: {error}", exit_code=ExitCode.FAILED) from error
    for each in done.incomplete:
        _tell(f"warning: {each}")
    write_lines([f"{path}: {size_text(done.backup.size_bytes)}, as of {_instant(done.moment_ms)}"])
    return ExitCode.DONE


def backups(*, of: str, max_age: str | None = None, json: JsonOption = False) -> int:
    """List the backups at a URL: when each whole copy began, its newest object, and the size with its changes.

    Exit code: 0 done, 1 the newest object is older than --max-age, or the endpoint did not answer, 2 a wrong option.

    Parameters
    ----------
    of
        The URL that `perdure backup --to` ships to.
    max_age
        Fail if the newest object is older, such as 5m. An idle store ships one a minute.
    json
        Print JSON instead of text, one object a line.
    """
    try:
        age_ms = None if max_age is None else duration_ms(max_age, what="--max-age")
        found = BackupBucket(of).objects()
    except DefinitionError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{of}: {error}", exit_code=ExitCode.FAILED) from error
    rows = [
        (_instant(int(name[:13])), _instant(objects[-1].stored_ms), len(objects), sum(o.size_bytes for o in objects))
        for name, objects in ((name, list(each)) for name, each in groupby(found, key=lambda each: each.generation))
    ]
    if json:
        write_json([dict(zip(("began", "newest", "objects", "size_bytes"), row, strict=True)) for row in rows])
    else:
        cells = tuple((began, newest, str(count), size_text(size)) for began, newest, count, size in rows)
        write_table(Table(("BEGAN", "NEWEST", "OBJECTS", "SIZE"), cells))
    newest_ms = max((each.stored_ms for each in found), default=0)
    return ExitCode.FAILED if age_ms is not None and _now_ms() - newest_ms > age_ms else ExitCode.DONE


def _encryption(keys_file: Path | None) -> Encryption | None:
    if keys_file is not None:
        return Encryption.from_file(keys_file)
    return Encryption.from_environment() if ENVIRONMENT in os.environ else None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _instant(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1_000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _tell(text: str) -> None:
    write_lines([text])
    sys.stdout.flush()


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
