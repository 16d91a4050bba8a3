"""A process that puts a batch, works on its items and waits for its end; the test kills it at any moment.

``python batch_worker.py STORE ITEMS``: it prints ``open``, and at the end a line of JSON.
"""

import asyncio
import json
import sys
from typing import Any

from returns.result import Result, Success

from perdure import (
    App,
    BatchContext,
    Decision,
    Do,
    ItemContext,
    PoolBatch,
    Task,
    WorkerPool,
    Workflow,
    WorkflowContext,
    effect,
    program,
    tell,
)

CHUNK = 50


@effect
def work(services: object, number: int) -> Result[int, str]:
    return Success(number if services is None else 0)


@program
def on_item(ctx: ItemContext[int]) -> Do[int, str]:
    return (yield from work((yield from ctx.item)))


def note(ends: tuple[int, ...], end: int) -> Success[Decision[tuple[int, ...]]]:
    return Success(Decision((*ends, end)))


numbers = WorkerPool("numbers", item=int, work=on_item, workers=16, keep="0 ms")
ends = Task("ends", state=tuple[int, ...], event=int, initial=(), decide=note)


@program
def on_done(ctx: BatchContext) -> Do[None]:
    yield from tell(ends, ctx.id).send((yield from ctx.state).done)


batches = PoolBatch("batches", pool=numbers, on_done=on_done)


@program
def wait_for_it(ctx: WorkflowContext[int]) -> Do[int, Any]:
    return (yield from batches.done(ctx.id)).done


waiting = Workflow("waiting", state=int, run=wait_for_it)


@program
def wait_for_the_pool(ctx: WorkflowContext[int]) -> Do[bool, Any]:
    end = yield from batches.pool_empty(ctx.id)
    return end.ended_at is not None


emptied = Workflow("emptied", state=int, run=wait_for_the_pool)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(store: str, items: int) -> None:
    async with App(None).with_jobs(numbers, batches, ends, waiting, emptied).open(store) as client:
        say("open")
        await client.handle(waiting).start("b", 0)
        # Delayed, so that the pool has work until the watch has begun, whatever is killed.
        await client.handle(numbers).put("first", 0, after="1 s")
        await client.handle(emptied).start("w", 0)
        handle = client.handle(batches)
        for first in range(0, items, CHUNK):
            some = {f"i{n}": n for n in range(first, min(items, first + CHUNK))}
            await handle.put("b", some, idempotency_key=f"put-{first}")
        end = await handle.seal_and_wait("b", timeout="2 minutes")
        found: Any = await client.handle(waiting).start_and_wait("b", 0)
        watched: Any = await client.handle(emptied).start_and_wait("w", 0)
        told: list[tuple[int, ...] | None] = [None]
        while None in told:
            told = [await client.handle(ends).get_state(id_) for id_ in ("b", "w")]
            await asyncio.sleep(0.01)
        counts = {"put": end.put, "done": end.done, "rest": end.failed + end.cancelled + end.existed}
        say(json.dumps({**counts, "told": told, "workflow": found.value, "watched": watched.value}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
