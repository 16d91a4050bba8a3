"""``perdure backup`` and ``perdure vacuum``: copy a store's file, with or without an engine, and reclaim its space."""

from __future__ import annotations

from pathlib import Path

from perdure.cli.options import StoreOption
from perdure.cli.output import MIB, size_text
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.cli.progress import line_on_stderr
from perdure.stores.sqlite import offline as compact
from perdure.stores.sqlite.offline import copy_from_outside
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

    It holds the store lock until it is done. It needs space for a second copy of the file on its disk, and for another
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
