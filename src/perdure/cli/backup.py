"""``perdure backup``: copy a store's file, with or without a running engine."""

from __future__ import annotations

from pathlib import Path

from perdure.cli.exit_code import ExitCode
from perdure.cli.progress_line import line_on_stderr
from perdure.cli.size import MIB, shown
from perdure.cli.standard_output import write_lines
from perdure.cli.store_option import StoreOption
from perdure.cli.usage_error import UsageError
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
        line.show(f"copied {shown(progress.copied_bytes)} of {shown(progress.total_bytes)}")

    try:
        made = copy_from_outside(sqlite_path(store), output, tell, max_log_growth_bytes=max_wal_mib * MIB)
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    finally:
        line.clear()
    write_lines([f"{output}: {shown(made.size_bytes)}"])
    return ExitCode.DONE
