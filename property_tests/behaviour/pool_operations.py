"""The operations of a worker pool, for the crash sweep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from crash_sweep import KEY, Operation
from world import HasOutside, Refused, World, say

from perdure import App, Backoff, Do, ItemContext, PoolBatch, Retry, WorkerPool, program, tell
from perdure.client.local_gateway import engine_of
from perdure.kinds.worker_pool import Done


@frozen
class Work:
    """Attributes:
    word: the word that the work says.
    then: the id of an item that the work puts with its end; empty for none.
    """

    word: str
    then: str = ""


@program
def work(ctx: ItemContext[Work]) -> Do[str, Refused, HasOutside]:
    item = yield from ctx.item
    word = f"{item.word}#{ctx.attempt}.{ctx.delivery}"
    yield from say(word)
    if item.then:
        yield from tell(pool, item.then).put(Work("y"))
    return item.word


@program
def report(ctx: ItemContext[Work], error: object) -> Do[None, Refused, HasOutside]:
    yield from say(f"dead#{ctx.attempt}.{ctx.delivery}")


def word(item: Work) -> str:
    return item.word


def pool_with(**options: Any) -> WorkerPool[Work, str, Refused, HasOutside]:
    retry = Retry(max_attempts=2, delay=Backoff.constant("5 s"), jitter=False)
    return WorkerPool("pool", item=Work, work=work, **{"retry": retry, "keep": "1 hour", "key": word, **options})


pool = pool_with()
dropping = pool_with(keep="0 ms")
reporting = pool_with(on_error=report)


async def looks(world: World) -> Any:
    """Return the end of each item."""
    handle = world.jobs.handle(engine_of(world.jobs).jobs["pool", "pool"])
    found = []
    for id_ in ("a", "b"):
        status = await world.run(handle.status(id_))
        outcome = await world.run(handle.outcome(id_))
        shown = outcome if isinstance(outcome, Done) else type(outcome)  # an error names its delivery
        found.append((id_, status.status, shown, status.run_count))
    return found


def putting(
    name: str, item: Work, *, job: Any = pool, refusals: int = 0, wait_ms: int = 20_000, **given: Any
) -> Operation:
    async def arrange(world: World) -> None:
        for attempt in range(1, refusals + 1):
            for delivery in (1, 2, 3):
                world.outside.refusals[f"{item.word}#{attempt}.{delivery}"] = 1

    return Operation(
        name=f"pool: {name}",
        app=lambda world: App(world.outside).with_jobs(job),
        arrange=arrange,
        request=lambda world: world.jobs.handle(job).put("a", item, idempotency_key=KEY, **given),
        wait_ms=wait_ms,
        looks=looks,
    )


def calling(name: str, call: str, *, job: Any = pool) -> Operation:
    """Call a method about an item that is parked, or waits."""

    async def arrange(world: World) -> None:
        handle = world.jobs.handle(job)
        if call == "cancel":
            await world.run(handle.put("a", Work("x"), after="1 hour"))
            return
        for attempt in (1,) if call == "trigger" else (1, 2):
            world.outside.refusals[f"x#{attempt}.1"] = 1
        await world.run(handle.put("a", Work("x")))
        await world.advance(s=1 if call == "trigger" else 10)

    return Operation(
        name=f"pool: {name}",
        app=lambda world: App(world.outside).with_jobs(job),
        arrange=arrange,
        request=lambda world: getattr(world.jobs.handle(job), call)("a", idempotency_key=KEY),
        wait_ms=20_000,
        looks=looks,
    )


def requesting(
    name: str, request: Callable[[World], Any], *, before: Callable[[World], Any] | None = None, **options: Any
) -> Operation:
    """Make a call that is about more than one item; the caller repeats it without a key."""
    job = pool_with(**options)

    async def arrange(world: World) -> None:
        if before is not None:
            await before(world)

    return Operation(
        name=f"pool: {name}",
        app=lambda world: App(world.outside).with_jobs(job),
        arrange=arrange,
        request=request,
        wait_ms=20_000,
        looks=looks,
    )


def handle_of(world: World) -> Any:
    return world.jobs.handle(engine_of(world.jobs).jobs["pool", "pool"])


async def two_wait(world: World) -> None:
    for id_ in ("a", "b"):
        await world.run(handle_of(world).put(id_, Work(id_), after="1 hour"))


async def one_is_held(world: World) -> None:
    await world.run(handle_of(world).hold())
    await world.run(handle_of(world).put("a", Work("x")))


async def one_has_begun(world: World) -> None:
    await world.run(handle_of(world).put("b", Work("y")))


watching = PoolBatch("watching", pool=pool)


def watch(name: str, *, after: str | None) -> Operation:
    """Watch the pool, which has an item that is delayed, or none."""

    async def arrange(world: World) -> None:
        if after is not None:
            await world.run(handle_of(world).put("a", Work("x"), after=after))

    async def watched(world: World) -> Any:
        handle = world.jobs.handle(watching)
        status, end = await world.run(handle.status("w")), await world.run(handle.get_state("w"))
        return await looks(world), status.status, None if end is None else (end.sealed, end.put)

    return Operation(
        name=f"pool: {name}",
        app=lambda world: App(world.outside).with_jobs(pool, watching),
        arrange=arrange,
        request=lambda world: world.jobs.handle(watching).watch_pool("w", idempotency_key=KEY),
        wait_ms=20_000,
        looks=watched,
    )


FURTHER = (
    watch("a watch of a pool without work", after=None),
    watch("a watch of a pool that has work", after="5 s"),
    requesting("many items at once", lambda world: handle_of(world).put_many((id_, Work(id_)) for id_ in "ab")),
    requesting("a drain", lambda world: handle_of(world).drain(), before=two_wait),
    requesting("a release of a held pool", lambda world: handle_of(world).release(), before=one_is_held),
    requesting(
        "an item behind a rate",
        lambda world: handle_of(world).put("a", Work("x"), idempotency_key=KEY),
        before=one_has_begun,
        rate=(1, "10 s"),
    ),
    requesting(
        "an item behind another of its key",
        lambda world: handle_of(world).put("a", Work("x"), head_start="1 hour", idempotency_key=KEY),
        before=one_has_begun,
        workers_per_key=1,
        key=lambda _: "one",
    ),
)

OPERATIONS = (
    putting("an item, its work and its result", Work("x")),
    putting("an item whose result is not kept", Work("x"), job=dropping),
    putting("an item that puts another", Work("x", then="b")),
    putting("a delayed item", Work("x"), after="1 s"),
    putting("an item that is tried again", Work("x"), refusals=1),
    putting("an item that dies", Work("x"), refusals=2),
    putting("an item that on_error takes", Work("x"), refusals=2, job=reporting),
    putting("an item whose result expires", Work("x"), wait_ms=3_700_000),
    calling("a cancel of a delayed item", "cancel"),
    calling("a retry now", "trigger"),
    calling("a resume of a parked item", "resume"),
)
