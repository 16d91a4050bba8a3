"""Tracebacks, and the stored answers of other clients' requests, reach no client without the scope for them."""

import asyncio
from typing import Any

import httpx2
import orjson
import pytest

from perdure import (
    App,
    Continuous,
    Do,
    ItemContext,
    Retry,
    Task,
    WorkerPool,
    Workflow,
    WorkflowContext,
    effect,
    every,
    program,
    succeed,
)
from perdure.examples.order_processor import Order, OrderEvent, decide_order
from perdure.server.access import SCOPES, Tokens
from perdure.server.api import EngineApi, asgi_of

SCOPES_OF = {**{scope: scope for scope in SCOPES}, "both": "read,call", "all": "read,call,operate"}
SECRETS = {name: f"{name}-".ljust(32, "x") for name in SCOPES_OF}
TOKENS = Tokens.parse("\n".join(f"{name} {SCOPES_OF[name]} {secret}" for name, secret in SECRETS.items()))
MARKS = ("Traceback (most", "test_tracebacks.py")
PLACED = {"type": "OrderPlaced", "owner": "ada", "amount": 4}


@effect
def failing(services: Any, value: int) -> int:
    raise KeyError(value)


@program
def work(ctx: ItemContext[int]) -> Do[int, Any, Any]:
    return (yield from failing(1))


@program
def steps(ctx: WorkflowContext[int]) -> Do[int, Any, Any]:
    return (yield from failing(2))


@program
def execute(ctx: Any) -> Do[None, Any, Any]:
    yield from failing(3)


ONCE = Retry(max_attempts=1)
POOL = WorkerPool("pool", item=int, work=work, retry=ONCE)
FLOW = Workflow("flow", state=int, run=steps, retry_defects=ONCE)
ROUNDS = Continuous("rounds", state=int, schedule=every("1 hour"), execute=execute)
ORDERS = Task(
    "orders", state=Order, event=OrderEvent, initial=Order(), decide=decide_order, execute=lambda _: succeed(None)
)
BAD = Task("bad", state=int, event=int, initial=0, on_event=lambda ctx, event: execute(ctx))
ADDRESSES = (("pool", "pool"), ("workflow", "flow"), ("continuous", "rounds"))
READS = ("status", "steps", "shown_outcome", "load")


async def asked(api: EngineApi, name: str, method: str, path: str, content: bytes = b"", key: str = "") -> Any:
    """Send a request with a token."""
    headers = {"Authorization": f"Bearer {SECRETS[name]}", **({"Idempotency-Key": key} if key else {})}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(api), base_url="http://jobs.example") as client:
        return await client.request(method, path, headers=headers, content=content)


async def replies(api: EngineApi, name: str) -> dict[str, str]:
    """Return everything that a token is answered about instances whose code has failed."""
    found = dict[str, str]()
    for kind, job in ADDRESSES:
        one = f"/v1/jobs/{kind}/{job}/instances/a"
        for path in (one, f"{one}/steps", f"{one}/history", f"{one}/wait?timeout=0+ms"):
            found[path] = (await asked(api, name, "GET", path)).text
        for action in ("alarm", "start", "put"):
            found[f"{one} {action}"] = (await asked(api, name, "POST", f"{one}/explain/{action}", b"1")).text
        for action in (*READS, "outcome", "trigger"):
            line = {"n": 0, "kind": kind, "job": job, "id": "a", "action": action}
            found[f"{one} {action} of a batch"] = (await asked(api, name, "POST", "/v1/calls", orjson.dumps(line))).text
            if action in {"outcome", "trigger"}:
                found[f"{one} {action}"] = (await asked(api, name, "POST", f"{one}/{action}")).text
    found["list"] = (await asked(api, name, "GET", "/v1/instances")).text
    bad = "/v1/jobs/task/bad/instances/a"
    for path in (f"{bad}/send", f"{bad}/explain/send"):
        found[path] = (await asked(api, name, "POST", path, b"1")).text
    return found


def replied(name: str) -> dict[str, str]:
    """Return the replies that show a traceback."""

    async def main() -> dict[str, str]:
        app = App(None).with_jobs(POOL, FLOW, ROUNDS, ORDERS, BAD)
        async with app.open("memory://") as jobs:
            await jobs.handle(POOL).put("a", 1)
            await jobs.handle(FLOW).start("a", 1)
            await jobs.handle(ROUNDS).start("a", 1)
            await jobs.until(POOL, "a", "parked", timeout="20 seconds")
            return await replies(asgi_of(jobs, access=TOKENS), name)

    return {path: text for path, text in asyncio.run(main()).items() if any(mark in text for mark in MARKS)}


@pytest.mark.parametrize("name", ["read", "call", "both"])
def test_a_traceback_reaches_operators_alone(name: str):
    assert replied(name) == {}


def test_an_operator_reads_tracebacks():
    """The tracebacks that the others are not shown exist: the test above would prove nothing without them."""
    found = replied("all")
    one = "/v1/jobs/{}/instances/a"
    expected = {
        "list",
        "/v1/jobs/task/bad/instances/a/send",
        f"{one.format('pool/pool')} outcome",
        f"{one.format('pool/pool')} outcome of a batch",
        f"{one.format('pool/pool')} shown_outcome of a batch",
        f"{one.format('workflow/flow')}/steps",
        f"{one.format('workflow/flow')} load of a batch",
        *(one.format("/".join(address)) for address in ADDRESSES),
        *(f"{one.format('/'.join(address))}/history" for address in ADDRESSES),
    }
    assert expected <= found.keys(), sorted(expected - found.keys())


# ------------------------------------------------------------ stored answers
def explained(name: str, key: str) -> list[Any]:
    """Return the answers to a token for an explanation of a request that another client sent with a key."""

    async def main() -> list[Any]:
        async with App(None).with_jobs(ORDERS).open("memory://") as jobs:
            api = asgi_of(jobs, access=TOKENS)
            one = "/v1/jobs/task/orders/instances/a"
            sent = await asked(api, "call", "POST", f"{one}/send", orjson.dumps(PLACED), "guessed")
            assert sent.status_code == 200
            line = {"n": 0, "kind": "task", "job": "orders", "id": "a", "action": "load"}
            batch = await asked(api, name, "POST", "/v1/calls", orjson.dumps({**line, **({"key": key} if key else {})}))
            route = await asked(api, name, "POST", f"{one}/explain/send", orjson.dumps(PLACED), key)
            return [batch.json().get("problem", {}).get("scope"), route.json().get("scope")]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "key", "refused"),
    [("read", "", None), ("read", "guessed", "call"), ("read", "other", "call"), ("both", "guessed", None)],
)
def test_an_explanation_with_a_key_needs_the_scope_of_the_request(name: str, key: str, refused: str | None):
    assert explained(name, key) == [refused, refused]


def test_an_idempotency_key_that_is_sent_twice_is_refused():
    async def main() -> tuple[list[int], int]:
        async with App(None).with_jobs(ORDERS).open("memory://") as jobs:
            api, one = asgi_of(jobs, access=TOKENS), "/v1/jobs/task/orders/instances/a"
            headers = [
                ("Authorization", f"Bearer {SECRETS['all']}"),
                ("Idempotency-Key", "a"),
                ("Idempotency-Key", "a"),
            ]
            async with httpx2.AsyncClient(
                transport=httpx2.ASGITransport(api), base_url="http://jobs.example"
            ) as client:
                found = [
                    (await client.post(f"{one}{path}/send", headers=headers, content=orjson.dumps(PLACED))).status_code
                    for path in ("", "/explain")
                ]
            return found, len(await jobs.list())

    assert asyncio.run(main()) == ([422, 422], 0)
