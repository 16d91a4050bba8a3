"""A process with workflows that emit and have large outcomes, and with readers; the test kills it at any moment.

Each effect emits words and a large chunk, and returns a text in parts, another one in each attempt.
``python stream_worker.py STORE ROUND AFTER AFTER AFTER``: it prints a line of JSON for each item.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import attrs
from large_worker import audit, text_of
from returns.result import Result, Success

from perdure import App, Do, Limits, Stream, Workflow, WorkflowContext, effect, program
from perdure.client.client import Client
from perdure.stores.contract import Store
from perdure.stores.url import open_store

IDS = ("a", "b", "c")
WORDS = 30
PICTURE = text_of("picture")
LIMITS = Limits(payload_bytes=8_192)
tokens = Stream("tokens", str)


@effect
async def say(_: object, name: str) -> Result[str, str]:
    for word in range(WORDS):
        tokens.emit_now(f"{name}{word}")
        await asyncio.sleep(0.003)
        if word == WORDS // 2:
            tokens.emit_now(name + PICTURE)
    return Success(text_of(f"{name} {os.urandom(4).hex()}"))


@effect(on="thread")
def say_in_a_thread(_: object, name: str) -> Result[str, str]:
    for word in range(WORDS):
        tokens.emit_now(f"{name}{word}")
        time.sleep(0.003)
        if word == WORDS // 2:
            tokens.emit_now(name + PICTURE)
    return Success(text_of(f"{name} {os.urandom(4).hex()}"))


@program
def talk(ctx: WorkflowContext[int]) -> Do[str, str, object]:
    yield from ctx.state
    yield from tokens.emit("begin")
    texts = [(yield from say("x")), (yield from say_in_a_thread("y"))]
    whole = all(text == text_of(" ".join(text.split(" ", 2)[:2])) for text in texts)
    yield from tokens.emit("end" if whole else "a text is not whole")
    return "done"


talker = Workflow("talker", state=int, run=talk, streams=[tokens], keep=None)


def write(line: dict[str, Any]) -> None:
    """In one call, so that no line is half: a reader has it, or reads it again."""
    os.write(1, json.dumps(line).encode() + b"\n")


def short(value: str) -> str:
    """A hash for a large chunk: no line is longer than a pipe takes at a time."""
    return value if len(value) < 100 else blake2b(value.encode(), digest_size=8).hexdigest()


def said(name: str) -> list[str]:
    words = [f"{name}{word}" for word in range(WORDS)]
    return [*words[: WORDS // 2 + 1], short(name + PICTURE), *words[WORDS // 2 + 1 :]]


ALL = ("begin", *said("x"), *said("y"), "end")


def shown(item: Any) -> dict[str, Any]:
    given = attrs.asdict(item)
    return {"form": type(item).__name__, **given, **({"value": short(given["value"])} if "value" in given else {})}


async def follow(client: Client, id_: str, after: int) -> None:
    async for item in client.handle(talker).stream(id_, tokens, after=after):
        write({"id": id_, **shown(item)})


async def audit_all(store: Store, ids: Sequence[str]) -> Counter[str]:
    """Add up the counts of parts."""
    found: Counter[str] = Counter()
    for id_ in ids:
        found.update(await audit(store, talker, id_))
    return found


async def main(url: str, number: str, offsets: list[int]) -> None:
    store = await open_store(url)
    async with App(None, limits=LIMITS).with_jobs(talker).open(store) as client:
        write({"form": "open"})
        ids = [f"{number}{each}" for each in IDS]
        for id_ in ids:
            await client.handle(talker).start(id_, 0)
        await asyncio.gather(*(follow(client, id_, after) for id_, after in zip(ids, offsets, strict=True)))
        again = {id_: [shown(item) async for item in client.handle(talker).stream(id_, tokens)] for id_ in ids}
        for id_ in ids:  # a reader has all chunks before the workflow has ended
            await client.until(talker, id_)
        write({"form": "end", "again": again, "found": await audit_all(store, ids)})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], [int(offset) for offset in sys.argv[3:]]))
