"""Serves the scene in a process of its own: ``python served.py STORE PORT``. It seeds an empty store."""

import asyncio
import logging
import os
import sys
from typing import Annotated

import scene
from returns.result import Result, Success
from typing_extensions import TypedDict

from perdure import Do, KeepHistory, Secret, Stream, Workflow, WorkflowContext, attribute, effect, program
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


class Said(TypedDict):
    word: str
    to: Annotated[str, Secret]


words = Stream("words", str)
notes = Stream("notes", Said, max_chunks=150)


@effect
async def answer(_: object, question: str) -> Result[str, str]:
    """Answer in the process that may; another one thinks until it is killed."""
    for word in (f"{question}: ", "Red" if not os.environ.get("ANSWERS") else "Green", " tea <b>is</b> hot"):
        words.emit_now(word)
    for number in range(400):
        notes.emit_now({"word": f"note {number}", "to": "ada@example.com"})
    if not os.environ.get("ANSWERS"):
        await asyncio.Event().wait()
    words.emit_now(", and good.")
    return Success(question)


@program
def talk(ctx: WorkflowContext[str]) -> Do[str, str, object]:
    yield from words.emit("Hello. ")
    return (yield from answer((yield from ctx.state)))


chat = Workflow("chat", state=str, run=talk, streams=(words, notes))


@attribute
def item(state: str) -> str:
    return state


sale = Workflow("sale", state=str, run=sell, attributes=(item,), history=KeepHistory(age="90 days"))


async def main(store: str, port: str) -> None:
    tokens = Tokens.parse(os.environ["TOKENS"]) if os.environ.get("TOKENS") else None
    limits = HttpLimits(live_pages=int(os.environ.get("LIVE_PAGES", "20")))
    async with scene.app.with_jobs(sale, chat).open(store) as jobs:
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
