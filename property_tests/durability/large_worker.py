"""A process with workflows whose steps have outcomes in parts; the test kills it while they are stored.

``python large_worker.py STORE ROUND``: it prints a line of JSON when a step is performed, and its findings at the end.
"""

import asyncio
import json
import os
import sys
from typing import Any

import orjson
from returns.result import Result, Success

from perdure import App, Do, Limits, Workflow, WorkflowContext, effect, program
from perdure.kinds.workflow.header import REFERENCE
from perdure.kinds.workflow.journal import row_of
from perdure.programs import gather, sleep
from perdure.programs.future import answer_of
from perdure.stores.contract import Store, load_one
from perdure.stores.snapshots import read_journal
from perdure.stores.url import open_store

IDS = ("a", "b", "c")
LIMITS = Limits(payload_bytes=8_192)
SIZE = 400_000
"""The number of characters: 49 parts, in 13 commits."""


def text_of(seed: str) -> str:
    return (seed + " " + "".join(f"{number} {seed}," for number in range(SIZE // len(seed))))[:SIZE]


def write(line: dict[str, Any]) -> None:
    """In one call, so that no line is half."""
    os.write(1, json.dumps(line).encode() + b"\n")


@effect
async def produce(_: object, name: str) -> Result[str, str]:
    """Return the same text each time for some names, and another one for others."""
    write({"form": "performed", "name": name})
    return Success(text_of(name if name.endswith("same") else f"{name} {os.urandom(4).hex()}"))


@program
def keep(ctx: WorkflowContext[str]) -> Do[bool, str, object]:
    id_ = yield from ctx.state
    first = yield from produce(f"{id_} same")
    yield from sleep("5 ms")
    texts = yield from gather(produce(f"{id_} one"), produce(f"{id_} two"))
    yield from sleep("5 ms")
    return all(text == text_of(" ".join(text.split(" ", 3)[:3])) for text in texts) and first == text_of(f"{id_} same")


keeper = Workflow("keeper", state=str, run=keep, keep=None)


async def audit(store: Store, id_: str) -> dict[str, int]:
    """Count the parts of an instance's journal, those that no row names, and the names without a part before them."""
    loaded = await answer_of(load_one(store, keeper.address(id_)))
    rows = map(row_of, (await read_journal(store, loaded.unwrap().instance, 1_000)).unwrap())
    stored, named, dangling = set[str](), set[str](), 0
    for row in rows:
        if row.form == "part":
            stored.add(row.name)
        elif row.value.startswith(REFERENCE):
            names = set(orjson.loads(row.value[1:])[1:])
            dangling += len(names - stored)
            named |= names
    return {"parts": len(stored), "orphans": len(stored - named), "dangling": dangling}


async def main(url: str, number: str) -> None:
    ids = [f"{number}{each}" for each in IDS]
    store = await open_store(url)
    async with App(None, limits=LIMITS).with_jobs(keeper).open(store) as client:
        write({"form": "open"})
        flow = client.handle(keeper)
        for id_ in ids:
            await flow.start(id_, id_)
        for id_ in ids:
            await client.until(keeper, id_)
        ends = [repr(await flow.outcome(id_)) for id_ in ids]
        write({"form": "end", "ends": ends, "found": [await audit(store, id_) for id_ in ids]})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
