"""A store with instances of many statuses, and an app that serves them, for the tests of the commands for operators."""

from __future__ import annotations

import asyncio
import pty
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
import pytest
from attrs import frozen
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Decision,
    Do,
    Limit,
    Program,
    Secret,
    Task,
    TaskContext,
    every,
    fail,
    program,
)
from perdure.runtime.record import Runtime
from perdure.server.access import Tokens
from perdure.server.api import asgi_of
from perdure.server.listening import listening
from perdure.stores.contract import Store, commit_one
from perdure.stores.sqlite import open_sqlite
from perdure.stores.sqlite.files import owner_socket
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import message
from perdure.values.address import Address
from perdure.values.event import JobPaused, JobStarted
from perdure.values.instance import Instance, PendingRetry
from perdure.values.message import DeadLettered
from perdure.values.status import FailureRecord
from perdure.values.transition import Put, Transition

NEW_YEAR_MS = 4_102_444_800_000
"""2100-01-01T00:00:00Z: no alarm of the store is due in a test."""

ERROR = FailureRecord(form="failure", error_type="NoStock", message="none left", traceback="Traceback\n  line 1")


# ---------------------------------------------------------------- the app
MOST = 100
TOKEN = "tMkZ2WZlOTG0yq0KTwmaT-iEBpnGpRZtPu4lTg3Vxfw"  # noqa: S105 - of a server of the tests


@frozen
class Paid:
    paid: int


@frozen
class Order:
    paid: int = 0
    card: Annotated[str, Secret] = "4111-1111"


def decide(state: Order, event: Paid) -> Result[Decision[Order], str]:
    if event.paid > MOST:
        return Failure("too much")
    return Success(Decision(state=Order(state.paid + event.paid)))


@program
def deliver(ctx: TaskContext[Order]) -> Do[None]:
    yield from ctx.set_state(Order())


@program
def tick(ctx: ContinuousContext[Paid]) -> Do[None, str, None]:
    yield from ctx.update_state(lambda state: Paid(state.paid + 1))


def flush(ctx: DebounceContext[Paid]) -> Program[None]:
    return ctx.set_state(Paid(0))


LEAK = "tok-4242-4242"
"""A secret that no command prints."""


@frozen
class Keys:
    main: Annotated[str, Secret]
    others: dict[str, Annotated[str, Secret]]


def change_keys(_: Keys, event: Keys) -> Result[Decision[Keys], str]:
    return Success(Decision(state=event))


@program
def expire(ctx: TaskContext[Keys]) -> Do[None]:
    yield from ctx.terminate("expired")


@frozen
class Login:
    k: int
    tok: Annotated[str, Secret]


@frozen
class Denied:
    why: str
    tok: Annotated[str, Secret]


def refuse(state: Order, event: Login) -> Result[Decision[Order], Denied]:
    return Failure(Denied(f"no user {event.k} with {state.paid}", event.tok))


@program
def deny(ctx: ContinuousContext[Login]) -> Do[None, Denied, None]:
    login = yield from ctx.state
    yield from fail(Denied("no", login.tok))


CALLS = Limit("calls", concurrency=20)
APP = App(None).with_jobs(
    Continuous("tick", state=Paid, schedule=every("1 hour"), execute=tick),
    Debounce("batch", event=Paid, flush_after="1 hour", execute=flush),
    Continuous("deny", state=Login, schedule=every("1 hour"), execute=deny, errors=Denied),
    Task("login", state=Order, event=Login, initial=Order(), decide=refuse, execute=deliver, errors=Denied),
    Task("keys", state=Keys, event=Keys, initial=Keys("", {}), decide=change_keys, execute=expire),
    Task("order", state=Order, event=Paid, initial=Order(), decide=decide, execute=deliver, limits=[CALLS]),
)


# ---------------------------------------------------------------- the store
def instance(kind: str, name: str, id_: str, **fields: Any) -> Instance:
    data = '{"collecting":null,"flushing":null}' if kind == "debounce" else ""
    given = {"state": '{"paid":1}', "data": data, "created_ms": 1_000, "updated_ms": 2_000, **fields}
    return Instance(address=Address(kind, name, id_), **given)


RETRY = PendingRetry(
    run_id="run-1", cause="alarm", attempt=2, first_failed_ms=1_000, at_ms=NEW_YEAR_MS + 60_000, error=ERROR
)
PAID = '{"paid":1,"card":"4111-1111"}'
TICKS = f'{{"anchor_ms":{NEW_YEAR_MS},"last":[{NEW_YEAR_MS},"failed"]}}'
INSTANCES = [
    instance("continuous", "tick", "c-1", alarm_ms=NEW_YEAR_MS + 1_000, run_count=3, data=TICKS),
    instance("task", "order", "o-1", alarm_ms=NEW_YEAR_MS - 1_000),
    instance("task", "order", "o-2"),
    instance("task", "order", "o-3", alarm_ms=NEW_YEAR_MS, pending_retry=RETRY, last_error=ERROR),
    instance("task", "order", "p-1", suspension="retries_exhausted", pending_retry=RETRY, last_error=ERROR, state=PAID),
    instance("task", "order", "q-1", suspension="paused", alarm_ms=NEW_YEAR_MS),
    instance("task", "other", "o-1", alarm_ms=NEW_YEAR_MS + 120_000),
]
ORDER = Address("task", "order", "o-1")
OTHER = Address("task", "other", "o-1")


def write_store(path: Path, *further: Instance) -> str:
    """Write the instances, two events and two dead letters, and return the URL of the store."""

    async def main() -> None:
        store = await open_sqlite(path)
        for each in (*INSTANCES, *further):
            await value(commit_one(store, Transition(address=each.address, write=Put(each))))
        events = (
            JobStarted(event_id="e-1", at_ms=1_000, address=str(ORDER)),
            JobPaused(event_id="e-2", at_ms=NEW_YEAR_MS, address=str(ORDER), run_count=1),
        )
        sent = (message(ORDER, OTHER, '"a"'), message(ORDER, OTHER, '"b"'))
        await value(commit_one(store, Transition(address=ORDER, events=events, messages=sent)))
        for _ in sent:
            (head,) = await value(store.messages(NEW_YEAR_MS, 10))
            fate = DeadLettered(message_id=head.message_id, deliveries=10, error=ERROR)
            await value(commit_one(store, Transition(address=OTHER, inbound=fate)))
        await value(store.close())

    asyncio.run(main())
    return f"sqlite:///{path}"


def write_failed(path: Path) -> str:
    """Write an instance whose typed error has a secret, and return the URL of the store."""
    data = orjson.dumps({"why": "no", "tok": LEAK}).decode()
    error = FailureRecord(form="failure", error_type="Denied", message="Denied(why='no', tok=<secret>)", data=data)
    failed = instance("continuous", "deny", "a", state='{"k":1,"tok":"x"}', last_error=error)

    async def main() -> None:
        store = await open_sqlite(path)
        await value(commit_one(store, Transition(address=failed.address, write=Put(failed))))
        await value(store.close())

    asyncio.run(main())
    return f"sqlite:///{path}"


@contextmanager
def serving(
    path: Path,
    app: App[Any] = APP,
    store: str | Callable[[], Store] | None = None,
    runtime: Runtime | None = None,
) -> Iterator[dict[str, list[str]]]:
    """Serve the app on the file, or another store, in a thread; yield the options that name its engine in each way."""
    started: queue.Queue[dict[str, list[str]] | BaseException] = queue.Queue()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        tokens = Tokens.parse(f"operator read {TOKEN}")
        opened = f"sqlite:///{path}" if store is None else store if isinstance(store, str) else store()
        async with (
            app.open(opened, runtime=runtime) as jobs,
            listening(asgi_of(jobs, access="owner_socket"), [f"unix:{owner_socket(path)}"]),
            listening(asgi_of(jobs, dashboard=True), ["127.0.0.1:0"]) as local,
            listening(asgi_of(jobs, access=tokens), ["127.0.0.1:0"]) as guarded,
        ):
            named = {
                "store": ["--store", f"sqlite:///{path}"],
                "socket": ["--server", f"http+unix://{owner_socket(path)}"],
                "server": ["--server", f"http://{local.binds[0]}"],
                "guarded": ["--server", f"http://{guarded.binds[0]}"],
            }
            started.put(named)
            await stop.wait()

    def serve() -> None:
        try:
            loop.run_until_complete(main())
        except BaseException as error:  # noqa: BLE001 - the test waits for it
            started.put(error)
        finally:
            loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        named = started.get(timeout=120)
        if isinstance(named, BaseException):
            raise named
        yield named
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join(120)


def json_of(printed: str) -> list[dict[str, Any]]:
    """Parse JSON lines."""
    return [orjson.loads(line) for line in printed.splitlines()]


def open_terminal() -> tuple[int, int]:
    """Open a pseudo-terminal: its two ends. A container without `/dev/pts` has none, and the test is skipped."""
    try:
        return pty.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo-terminal can be opened here: {error}")
