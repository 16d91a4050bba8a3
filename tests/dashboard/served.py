"""Serves the scene in a process of its own: ``python served.py STORE PORT``. It seeds an empty store."""

import asyncio
import logging
import os
import sys

import scene

from perdure import unwrap
from perdure.server.serving import serving
from perdure.server.tokens import Tokens


async def main(store: str, port: str) -> None:
    tokens = Tokens.parse(os.environ["TOKENS"]) if os.environ.get("TOKENS") else None
    async with scene.app.open(store) as jobs:
        if not await unwrap(jobs.list(limit=1)):
            await scene.seed(jobs)
        if os.environ.get("BUSY"):
            await scene.watch_services(jobs)
        async with serving(jobs, [f"127.0.0.1:{port}"], tokens=tokens, dashboard=True):
            sys.stdout.write("serving\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main(*sys.argv[1:]))
