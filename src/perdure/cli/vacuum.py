"""``perdure vacuum``: rebuild the file to reclaim space."""

from __future__ import annotations

from perdure.cli.exit_code import ExitCode
from perdure.cli.progress_line import line_on_stderr
from perdure.cli.size import shown
from perdure.cli.standard_output import write_lines
from perdure.cli.store_option import StoreOption
from perdure.cli.usage_error import UsageError
from perdure.stores.sqlite import offline as compact
from perdure.stores.url import sqlite_path
from perdure.values.errors import DefinitionError, StoreError


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
    write_lines([f"{store}: {shown(done.before_bytes)} before, {shown(done.after_bytes)} now"])
    if done.reader:
        write_lines(["a reader keeps the file from shrinking; it shrinks when the reader closes it"])
    return ExitCode.DONE
