"""Serves the scene in a process of its own: ``python served.py STORE PORT``. It seeds an empty store."""

import asyncio
import logging
import os
import sys

import scene
from returns.result import Result, Success

from perdure import Do, Workflow, WorkflowContext, attribute, effect, program
from perdure.server.access import Tokens
from perdure.server.http_limits import HttpLimits
from perdure.server.serving import serving


@effect
def reserve(_: object, item: str) -> Result[str, str]:
    return Success(item)


@effect
def ship(_: object, item: str) -> Result[str, str]:
    return Success(f"{item} to Lima")


@program
def sell(ctx: WorkflowContext[str]) -> Do[str, str, object]:
    item = yield from reserve((yield from ctx.state))
    return (yield from ship(item))


@attribute
def item(state: str) -> str:
    return state


sale = Workflow("sale", state=str, run=sell, attributes=(item,))


async def main(store: str, port: str) -> None:
    tokens = Tokens.parse(os.environ["TOKENS"]) if os.environ.get("TOKENS") else None
    limits = HttpLimits(live_pages=int(os.environ.get("LIVE_PAGES", "20")))
    async with scene.app.with_jobs(sale).open(store) as jobs:
        if not await jobs.list(limit=1):
            await scene.seed(jobs)
        if os.environ.get("BUSY"):
            await scene.watch_services(jobs)
        async with serving(jobs, [f"127.0.0.1:{port}"], tokens=tokens, dashboard=True, limits=limits):
            sys.stdout.write("serving\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main(*sys.argv[1:]))
