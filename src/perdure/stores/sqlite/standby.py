"""Stand by for a file that another engine owns, and take over when that one ends, however it ends.

The lock is asked for again and again. A blocking request would need a thread that cannot be cancelled; one that is made
five times a second costs 0.1 % of a core at most, and is late by a fifth of a second at most.
"""

from __future__ import annotations

from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.sqlite.lock import FileLock, acquire
from perdure.values.errors import StoreLocked

POLL_MS = 200
"""How long the lock is left alone between two looks."""


async def stand_by(path: str, *, store: str, database: str, runtime: Runtime) -> FileLock:
    """Wait until nobody holds a lock, and take it. Cancelling the wait takes nothing.

    An owner that is alive and hangs holds its lock: it is not taken over.

    Args:
        path: the lock file.
        store: the store's name in the log.
        database: the database file.
        runtime: how to wait, and where to log who is waited for.

    Raises:
        StoreUnavailable: the lock file cannot be made or opened.
    """
    owner, since_ms = "", runtime.monotonic_ms()
    while True:
        try:
            lock = acquire(path, store=store, database=database)
        except StoreLocked as held:
            if held.owner != owner:
                owner = held.owner
                runtime.log(LogRecord("info", "waiting for store lock", {"store": store, "owner": owner}))
            await runtime.sleep(POLL_MS)
            continue
        if owner:
            waited_ms = round(runtime.monotonic_ms() - since_ms)
            runtime.log(
                LogRecord("info", "acquired store lock", {"store": store, "from": owner, "waited_ms": waited_ms})
            )
        return lock
