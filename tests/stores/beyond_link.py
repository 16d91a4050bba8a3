"""Opens a store beyond a link: ``beyond_link.py STORE``. After a line of its input it sends a heartbeat."""

from __future__ import annotations

import asyncio
import sys

from perdure.programs.future import answer_of
from perdure.stores.postgres import open_postgres


async def main(url: str) -> None:
    """Say how the heartbeat ended."""
    store = await open_postgres(url)
    assert store.sharing is not None
    print("open", flush=True)  # noqa: T201 - the test waits for it
    await asyncio.to_thread(sys.stdin.readline)
    print(type(await answer_of(store.sharing.heartbeat({}))).__name__, flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
