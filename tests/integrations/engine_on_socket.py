"""An engine in a thread of its own, on a Unix socket, for clients without an event loop."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perdure import App
from perdure.server.access import Access
from perdure.server.api import asgi_of
from perdure.server.listening import listening


@contextmanager
def engine_on(socket: Path, app: App[Any], access: Access = "owner_socket") -> Iterator[None]:
    """Serve an app on the store in memory while the block runs."""
    ready = threading.Event()
    ends: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        end = asyncio.Event()
        async with app.open("memory://") as jobs, listening(asgi_of(jobs, access=access), [f"unix:{socket}"]):
            ends.append((asyncio.get_running_loop(), end))
            ready.set()
            await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(120)
    try:
        yield
    finally:
        ((loop, end),) = ends
        loop.call_soon_threadsafe(end.set)
        thread.join(120)
