"""Ranges of options, arguments and values: each end is accepted, and one beyond it is refused with a typed error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from edge import Range

from perdure import (
    App,
    Backoff,
    Continuous,
    Debounce,
    KeepHistory,
    Migrations,
    PoolBatch,
    Promise,
    Published,
    Reply,
    Retry,
    Schedules,
    Signal,
    StateQuery,
    Task,
    Topic,
    Update,
    WorkerPool,
    Workflow,
    cron,
    every,
    succeed,
)
from perdure.programs import gather
from perdure.remote import connect
from perdure.server.access import Tokens
from perdure.stores.encryption import Encryption, Key
from perdure.telemetry.prometheus import prometheus
from perdure.telemetry.tracker import tracker
from perdure.testing import World
from perdure.values.errors import DefinitionError, InvalidArgument, InvalidId, InvalidInput, ServerUnreachable

YEARS_100 = timedelta(days=36_525)
MS = timedelta(milliseconds=1)
URL = "http://localhost:9/events"


def task(name: str = "t", **options: Any) -> Any:
    return Task(name, state=int, event=object, initial=0, on_event=lambda ctx, event: ctx.set_state(1), **options)


def continuous(name: str = "c", **options: Any) -> Any:
    return Continuous(name, state=int, schedule=every("1 hour"), execute=lambda ctx: succeed(None), **options)


def debounce(name: str = "d", **options: Any) -> Any:
    return Debounce(name, event=int, flush_after="1 hour", execute=lambda ctx: succeed(None), **options)


def pool(name: str = "p", **options: Any) -> Any:
    return WorkerPool(name, item=str, result=str, work=lambda ctx: ctx.item, **options)


def batch(name: str = "job", **options: Any) -> Any:
    return PoolBatch(name, pool=pool(), **options)


def schedules(name: str = "job") -> Any:
    return Schedules(name, targets=(pool(),))


def topic(name: str = "job", **options: Any) -> Any:
    return Topic(name, event=int, subscribers=(debounce(),), **options)


def workflow(name: str = "w", **options: Any) -> Any:
    return Workflow(name, state=int, result=int, run=lambda ctx: ctx.state, **options)


def caught_up(limit: int) -> object:
    return every("1 s", align="start", catch_up="all", catch_up_limit=limit)


def with_key(job: Any, key: str) -> Any:
    return job.send("a", 1, idempotency_key=key)


def option(make: Callable[..., Any], name: str) -> Callable[[Any], object]:
    return lambda value: make(**{name: value})


def call(make: Callable[[Any, Any], Any]) -> Callable[[Any], object]:
    """Return a function that makes a call of a client, and raises its error."""

    def called(value: Any) -> object:
        with World(App(None).with_jobs(task())) as world:
            return world.run(make(world.jobs, value))

    return called


def handle(action: Callable[[Any, Any], Any]) -> Callable[[Any], object]:
    return call(lambda jobs, value: action(jobs.handle(task_of(jobs)), value))


def task_of(jobs: Any) -> Any:
    ((_, definition),) = jobs._gateway.definitions.items()
    return definition


def nested(levels: int) -> object:
    """Return lists in lists, so many levels deep."""
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def tokens(count: int) -> str:
    return "\n".join(f"client{number} read {number:032}" for number in range(count))


def tokens_parsed(text: str) -> object:
    return Tokens.parse(text)


def key(id_: str, number: int = 0) -> Key:
    return Key(id_, number.to_bytes(64))


def keys(count: int) -> Encryption:
    made = [key(f"k{number}", number) for number in range(count)]
    return Encryption(primary=made[0], older=tuple(made[1:]))


def connected(url: Any = "http://localhost:9", **options: Any) -> None:
    """Connect to servers that do not answer: a valid client is created, and reaches none."""

    async def main() -> None:
        async with connect(url, timeout="1 ms", **options):
            pass

    with suppress(ServerUnreachable):
        asyncio.run(main())


def whole(name: str, make: Callable[[Any], object], least: int, most: int, error: Any = DefinitionError) -> Range:
    return Range(name, make, (least, most), (least - 1, most + 1), error)


def text(name: str, make: Callable[[Any], object], most: int, error: Any = DefinitionError) -> Range:
    return Range(name, make, ("a", "a" * most), ("", "a" * (most + 1)), error)


CONCURRENT = {"Task": task, "Continuous": continuous, "Debounce": debounce, "Workflow": workflow}
NAMED = {**CONCURRENT, "WorkerPool": pool, "PoolBatch": batch, "Schedules": schedules, "Topic": topic}
PAGED: dict[str, Callable[[Any, Any], Any]] = {
    "Client.list limit": lambda jobs, value: jobs.list(limit=value),
    "Client.history limit": lambda jobs, value: jobs.history(task_of(jobs), "a", limit=value),
    "Client.dead_letters limit": lambda jobs, value: jobs.dead_letters(limit=value),
    "Client.left_messages limit": lambda jobs, value: jobs.left_messages(limit=value),
}

RANGES = (
    *(text(f"{kind}.name", make, 128) for kind, make in NAMED.items()),
    text("Signal.name", lambda name: Signal(name, str), 128),
    text("Signal.key", lambda key: Signal("s", str, by_key=True, key=key), 512),
    text("Promise.name", lambda name: Promise(name, str), 128),
    text("Published.name", lambda name: Published(name, str), 128),
    text("Reply.name", lambda name: Reply(name, str), 128),
    text("Update.name", lambda name: Update(name, str, str), 128),
    text("StateQuery.name", lambda name: StateQuery(name, str, str, lambda state, _: str(state)), 128),
    *(whole(f"{kind}.runs", option(make, "runs"), 1, 100_000) for kind, make in CONCURRENT.items()),
    whole("Workflow.concurrency", option(workflow, "concurrency"), 1, 1_000),
    *(
        whole(f"{kind}.max_deaths", option(make, "max_deaths"), 1, 1_000)
        for kind, make in {**CONCURRENT, "WorkerPool": pool}.items()
    ),
    whole("PoolBatch.failures", option(batch, "failures"), 0, 100),
    whole("WorkerPool.workers", option(pool, "workers"), 1, 100_000),
    whole("WorkerPool.rate", lambda value: pool(rate=(value, "1 minute")), 1, 100_000),
    whole("WorkerPool.rate_per_key", lambda value: pool(key=str, rate_per_key=(value, "1 minute")), 1, 100_000),
    whole("WorkerPool.workers_per_key", lambda value: pool(key=str, workers_per_key=value), 1, 100_000),
    whole("Topic.max_subscribers", option(topic, "max_subscribers"), 1, 10_000),
    whole("Topic.max_waiting", option(topic, "max_waiting"), 1, 10_000),
    whole("KeepHistory.events", lambda value: KeepHistory(age="1 day", events=value), 1, 10_000_000),
    Range(
        "KeepHistory.age",
        lambda age: KeepHistory(age=age),
        (MS, YEARS_100),
        (timedelta(0), YEARS_100 + MS),
        DefinitionError,
    ),
    whole("Debounce.max_events", option(debounce, "max_events"), 1, 1_000_000),
    whole("Workflow.max_steps", option(workflow, "max_steps"), 1, 1_000_000),
    whole("Workflow.inbox", option(workflow, "inbox"), 1, 1_000_000),
    whole("Migrations.number", lambda value: Migrations(int, number=value), 1, 1_000_000),
    whole("Retry.max_attempts", lambda value: Retry(max_attempts=value, delay=Backoff.constant("1 s")), 1, 1_000),
    Range("every.interval", every, (MS, YEARS_100), (timedelta(0), YEARS_100 + MS), DefinitionError),
    Range(
        "Task.run_timeout",
        option(task, "run_timeout"),
        (MS, YEARS_100),
        (timedelta(0), YEARS_100 + MS),
        DefinitionError,
    ),
    whole(
        "every.catch_up_limit",
        lambda value: every("1 s", align="start", catch_up="all", catch_up_limit=value),
        1,
        1_000,
    ),
    whole("cron.catch_up_limit", lambda value: cron("* * * * *", catch_up="all", catch_up_limit=value), 1, 1_000),
    Range("cron.line", cron, ("* * * * *".ljust(200), "* * * * *"), ("* * * * *".ljust(201), ""), DefinitionError),
    Range(
        "Backoff.factor",
        lambda value: Backoff.exponential("1 s", factor=value),
        (1.001, 100),
        (1, 100.001),
        DefinitionError,
    ),
    Range("gather.limit", lambda value: gather(succeed(1), limit=value), (1, 10**9), (0, -1), DefinitionError),
    text("handle.id", handle(lambda job, value: job.send(value, 1)), 512, InvalidId),
    text(
        "handle.idempotency_key",
        handle(lambda job, value: job.send("a", 1, idempotency_key=value)),
        512,
        InvalidArgument,
    ),
    Range(
        "codec.nesting",
        handle(lambda job, value: job.send("a", value)),
        (nested(1), nested(64)),
        (nested(65),),
        InvalidInput,
    ),
    Range(
        "codec.int",
        handle(lambda job, value: job.send("a", value)),
        (-(2**63), 2**64 - 1),
        (-(2**63) - 1, 2**64),
        InvalidInput,
    ),
    *(whole(name, call(make), 1, 1_000, InvalidArgument) for name, make in PAGED.items()),
    Range(
        "Client.until phases",
        call(lambda jobs, value: jobs.until(task_of(jobs), "a", "not_found", phases=value)),
        (("p",) * 19,),
        (("p",) * 20,),
        InvalidArgument,
    ),
    whole("connect.max_connections", option(connected, "max_connections"), 1, 1_000),
    Range(
        "connect.url",
        connected,
        (["http://localhost:1"], [f"http://localhost:{port}" for port in range(1, 17)]),
        ([], [f"http://localhost:{port}" for port in range(1, 18)]),
        DefinitionError,
    ),
    Range("Encryption.older", keys, (1, 32), (33,), DefinitionError),
    text("Key.id", key, 64),
    Range("Tokens.tokens", tokens_parsed, (tokens(1), tokens(100)), ("", tokens(101)), DefinitionError),
    text("ClientToken.name", lambda name: tokens_parsed(f"{name} read {'s' * 32}"), 64),
    Range(
        "Tokens.secret",
        lambda secret: tokens_parsed(f"a read {secret}"),
        ("s" * 32, "s" * 512),
        ("s" * 31, "s" * 513),
        DefinitionError,
    ),
    whole("tracker.batch_size", lambda value: tracker(URL, batch_size=value), 1, 1_000),
    whole("tracker.max_batch_bytes", lambda value: tracker(URL, max_batch_bytes=value), 1, 16 * 1024 * 1024),
    text("tracker.name", lambda value: tracker(URL, name=value), 64),
    Range(
        "prometheus.buckets",
        lambda count: prometheus(buckets=[float(number) for number in range(1, count + 1)]),
        (1, 100),
        (0, 101),
        DefinitionError,
    ),
)
