"""A process with workflows that emit, and with readers that continue after offsets; the test kills it at any moment.

``python stream_worker.py STORE ROUND AFTER AFTER AFTER``: it prints a line of JSON for each item.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any

import attrs
from returns.result import Result, Success

from perdure import App, Do, Stream, Workflow, WorkflowContext, effect, program
from perdure.client.client import Client

IDS = ("a", "b", "c")
WORDS = 30
tokens = Stream("tokens", str)


@effect
async def say(_: object, name: str) -> Result[int, str]:
    for word in range(WORDS):
        tokens.emit_now(f"{name}{word}")
        await asyncio.sleep(0.003)
    return Success(WORDS)


@effect(on="thread")
def say_in_a_thread(_: object, name: str) -> Result[int, str]:
    for word in range(WORDS):
        tokens.emit_now(f"{name}{word}")
        time.sleep(0.003)
    return Success(WORDS)


@program
def talk(ctx: WorkflowContext[int]) -> Do[str, str, object]:
    yield from ctx.state
    yield from tokens.emit("begin")
    yield from say("x")
    yield from say_in_a_thread("y")
    yield from tokens.emit("end")
    return "done"


talker = Workflow("talker", state=int, run=talk, streams=[tokens])
ALL = ("begin", *(f"{name}{word}" for name in "xy" for word in range(WORDS)), "end")


def write(line: dict[str, Any]) -> None:
    """In one call, so that no line is half: a reader has it, or reads it again."""
    os.write(1, json.dumps(line).encode() + b"\n")


def shown(item: Any) -> dict[str, Any]:
    return {"form": type(item).__name__, **attrs.asdict(item)}


async def follow(client: Client, id_: str, after: int) -> None:
    async for item in client.handle(talker).stream(id_, tokens, after=after):
        write({"id": id_, **shown(item)})


async def main(store: str, number: str, offsets: list[int]) -> None:
    async with App(None).with_jobs(talker).open(store) as client:
        write({"form": "open"})
        ids = [f"{number}{each}" for each in IDS]
        for id_ in ids:
            await client.handle(talker).start(id_, 0)
        await asyncio.gather(*(follow(client, id_, after) for id_, after in zip(ids, offsets, strict=True)))
        again = {id_: [shown(item) async for item in client.handle(talker).stream(id_, tokens)] for id_ in ids}
        write({"form": "end", "again": again})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], [int(offset) for offset in sys.argv[3:]]))
