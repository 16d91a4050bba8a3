"""``perdure vacuum``: give back the space that deleted rows left."""

from __future__ import annotations

import sys

from perdure.cli.exit_code import ExitCode
from perdure.cli.progress_line import line_on_stderr
from perdure.cli.size import shown
from perdure.cli.store_option import StoreOption
from perdure.cli.usage_error import UsageError
from perdure.stores.sqlite import vacuum as compact
from perdure.stores.url import sqlite_path
from perdure.values.errors import DefinitionError, StoreError


def vacuum(*, store: StoreOption) -> int:
    """Write a store's file anew, without the space that deleted rows left. Stop the engine first.

    It holds the lock until it is done. It needs room for the file once more on its disk, and once more where SQLite
    puts temporary files. If it is interrupted, the file is as it was. `perdure stats` says whether it is worth it.

    Exit code: 0 done, 2 it cannot be done: an engine owns the store, or there is too little room.

    Parameters
    ----------
    store
        Where instances live: sqlite:///jobs.db.
    """
    line = line_on_stderr()
    try:
        path = sqlite_path(store)
        line.show(f"writing {path} anew")
        done = compact.vacuum(path)
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    finally:
        line.clear()
    sys.stdout.write(f"{store}: {shown(done.before_bytes)} before, {shown(done.after_bytes)} now\n")
    if done.reader:
        sys.stdout.write("somebody reads the file and keeps it from shrinking; it does when they have ended\n")
    return ExitCode.DONE
