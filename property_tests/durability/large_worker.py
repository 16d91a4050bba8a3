"""A process with outcomes, inputs, items and results in parts; the test kills it while they are stored.

``python large_worker.py STORE ROUND``: it prints a line of JSON when a step is performed, or an input is sent, and its
findings at the end.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from returns.result import Result, Success

from perdure import App, Client, Do, Limits, WorkerPool, Workflow, WorkflowContext, effect, program
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.parts import Reference
from perdure.kinds.worker_pool.items import ItemContext, data_of
from perdure.kinds.workflow.journal import row_of
from perdure.programs import gather, sleep
from perdure.programs.future import answer_of
from perdure.stores.contract import Store, load_one
from perdure.stores.snapshots import read_journal
from perdure.stores.url import open_store
from perdure.values.answer import Done
from perdure.values.excerpt import REFERENCE

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


@effect
async def note(_: object, name: str) -> Result[None, str]:
    write({"form": "performed", "name": name})
    return Success(None)


@program
def load(ctx: WorkflowContext[str]) -> Do[bool, str, object]:
    text = yield from ctx.state
    yield from note(f"{ctx.id} loaded")
    yield from sleep("5 ms")
    return text == text_of(ctx.id) and text == (yield from ctx.state)


@program
def work(ctx: ItemContext[str]) -> Do[bool, str, object]:
    yield from note(f"{ctx.id} worked on")
    return (yield from ctx.item) == text_of(ctx.id)


@program
def read(ctx: ItemContext[str]) -> Do[bool, str, object]:
    return (yield from ctx.item) == text_of(ctx.id)


@program
def write_down(ctx: ItemContext[str]) -> Do[str, str, object]:
    yield from note(f"{ctx.id} written")
    return text_of(f"result of {ctx.id}")


loader = Workflow("loader", state=str, run=load, keep=None)
pool = WorkerPool("pool", item=str, work=work, keep=None)
fleeting = WorkerPool("fleeting", item=str, work=read, keep="0 ms")
writer = WorkerPool("writer", item=str, work=write_down, keep=None)
JOBS = (keeper, loader, pool, fleeting, writer)


async def audit(store: Store, job: AnyDefinition, id_: str) -> dict[str, int]:
    """Count the parts of an instance's journal, those that no row names, and the names without a part before them."""
    instance = (await answer_of(load_one(store, job.address(id_)))).unwrap().instance
    rows = list(map(row_of, (await read_journal(store, instance, 1_000)).unwrap()))
    stored, named = set[str](), set[str]()
    values = [] if instance is None else [instance.state]
    if instance is not None and job is writer:
        values.append(data_of(instance).result or "")
    for value in values:
        if value.startswith(REFERENCE):
            named |= set(Reference.of(value).names)
    dangling = len(named - {row.name for row in rows if row.form == "part"})
    for row in rows:
        if row.form == "part" and row.name:  # not emptied
            stored.add(row.name)
        elif row.form != "part" and row.value.startswith(REFERENCE):
            names = set(Reference.of(row.value).names)
            dangling += len(names - stored)
            named |= names
    orphans = len(stored - named)
    return {"parts": len(stored), "orphans": orphans, "dangling": dangling, "instances": instance is not None}


async def audit_all(store: Store, ids: Sequence[str]) -> Counter[str]:
    """Add up the counts of `audit`."""
    found: Counter[str] = Counter()
    for job in JOBS:
        for id_ in ids:
            found.update(await audit(store, job, id_))
    return found


async def send(client: Client, ids: Sequence[str]) -> None:
    """Start and put all that do not exist. Each call may be the one at which the process is killed."""
    for id_ in ids:
        write({"form": "performed", "name": f"{id_} sent"})
        await client.handle(keeper).start(id_, id_)
        await client.handle(loader).start(id_, text_of(id_))
        await client.handle(pool).put(id_, text_of(id_))
        await client.handle(fleeting).put(id_, text_of(id_))
        await client.handle(writer).put(id_, "small")


async def purge_all(url: str, ids: Sequence[str]) -> Counter[str]:
    """Audit a store, delete every instance, and audit it again. Return the first findings."""
    store = await open_store(url)
    async with App(None, limits=LIMITS).with_jobs(*JOBS).open(store) as client:
        found = await audit_all(store, ids)
        for job in JOBS:
            for id_ in ids:
                await client.handle(job).terminate(id_)
        after = await audit_all(store, ids)
    assert not after.total(), after
    return found


async def main(url: str, number: str) -> None:
    ids = [f"{number}{each}" for each in IDS]
    store = await open_store(url)
    async with App(None, limits=LIMITS).with_jobs(*JOBS).open(store) as client:
        write({"form": "open"})
        await send(client, ids)
        for job in JOBS:
            for id_ in ids:
                await client.until(job, id_)
        ends = [repr(await client.handle(job).outcome(id_)) for id_ in ids for job in (keeper, loader, pool)]
        for id_ in ids:
            result = await client.handle(writer).outcome(id_)
            ends.append(f"Done(value={result == Done(value=text_of(f'result of {id_}'))})")
        write({"form": "end", "ends": ends, "found": await audit_all(store, ids)})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
