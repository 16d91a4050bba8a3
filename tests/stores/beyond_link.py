"""Opens a store beyond a link: ``beyond_link.py STORE``.

After a line of its input an engine that shares the store sends a heartbeat; an owner waits until its lock is in doubt.
"""

from __future__ import annotations

import asyncio
import sys

from perdure.programs.future import answer_of
from perdure.stores.postgres import open_postgres


async def main(url: str) -> None:
    """Say how the heartbeat ended, or the state of the lock."""
    store = await open_postgres(url)
    print("open", flush=True)  # noqa: T201 - the test waits for it
    if store.sharing is not None:
        await asyncio.to_thread(sys.stdin.readline)
        print(type(await answer_of(store.sharing.heartbeat({}))).__name__, flush=True)  # noqa: T201
    if store.watch_ownership is not None:
        store.watch_ownership(lambda state: print(state, flush=True))  # noqa: T201
        await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
