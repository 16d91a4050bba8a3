"""An engine that is served from another thread, for clients that block."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from raw_http import serving

from perdure import App
from perdure.server.api import asgi_of


@contextmanager
def engine_served(app: App[Any], store: str = "memory://") -> Iterator[str]:
    """Serve an engine on a real socket within the block; return its URL."""
    ready: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        async with app.open(store) as client, serving(asgi_of(client)) as served:
            ready.set_result((f"http://127.0.0.1:{served.port}", asyncio.get_running_loop(), stop))
            await stop.wait()

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, serve())
        running.add_done_callback(lambda done: ready.done() or ready.set_exception(done.exception()))
        url, loop, stop = ready.result(30)
        try:
            yield url
        finally:
            loop.call_soon_threadsafe(stop.set)
            running.result(30)
