"""Which scope each route and each request of a batch needs."""

import asyncio

import httpx2
import orjson
import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from perdure import App, Task, succeed
from perdure.examples.order_processor import Order, OrderEvent, decide_order
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.server.access import SCOPES, Tokens
from perdure.server.api import EngineApi, asgi
from perdure.stores.contract import overlay
from perdure.stores.url import open_store

ORDERS = Task(
    "orders", state=Order, event=OrderEvent, initial=Order(), decide=decide_order, execute=lambda _: succeed(None)
)
SECRETS = {scope: f"{scope}-".ljust(32, "x") for scope in SCOPES}
TOKENS = Tokens.parse("\n".join(f"{scope} {scope} {secret}" for scope, secret in SECRETS.items()))
ONE = "/v1/jobs/task/orders/instances/a"
PLACED = {"type": "OrderPlaced", "owner": "ada", "amount": 4}

NEEDED = {
    "GET /v1/jobs": "read",
    "GET /v1/health": "read",
    "GET /v1/counts": "read",
    "GET /metrics": "read",
    "GET /v1/in-flight": "operate",
    "GET /v1/limits": "read",
    "POST /v1/limits/phones": "operate",
    "POST /v1/limits/phones/reset": "operate",
    "GET /v1/instances": "read",
    "GET /v1/dead-letters": "operate",
    "POST /v1/dead-letters/7/redrive": "operate",
    "GET /v1/left-messages": "operate",
    "POST /v1/left-messages/7/bury": "operate",
    "POST /v1/jobs/task/orders/hold": "operate",
    "POST /v1/jobs/task/orders/release": "operate",
    "GET /v1/jobs/task/orders/count": "read",
    "POST /v1/jobs/task/orders/fork-many": "operate",
    f"GET {ONE}": "read",
    f"GET {ONE}/wait": "read",
    f"GET {ONE}/state": "read",
    f"GET {ONE}/replies/1.2.3": "call",
    f"GET {ONE}/history": "read",
    f"POST {ONE}/keys/pay-1/forget": "operate",
    f"POST {ONE}/explain/send": "read",
    f"POST {ONE}/future": "read",
    f"POST {ONE}/send": "call",
    f"POST {ONE}/no_such_action": "call",
    f"POST {ONE}/pause": "operate",
    f"POST {ONE}/resume": "operate",
    f"POST {ONE}/terminate": "operate",
    f"POST {ONE}/t%65rminate": "operate",
}


def api() -> EngineApi:
    return asgi(App(None).with_jobs(ORDERS), "memory://", access=TOKENS)


async def ask(served: EngineApi, line: str, scope: str | None, content: bytes = b"") -> httpx2.Response:
    """Send a request with the token of a scope, or without one."""
    method, path = line.split(" ")
    headers = {} if scope is None else {"Authorization": f"Bearer {SECRETS[scope]}"}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(served), base_url="http://jobs.example") as client:
        return await client.request(method, path, headers=headers, content=content)


@pytest.mark.parametrize("line", NEEDED)
def test_a_route_needs_its_scope_and_no_other(line: str):
    async def main() -> None:
        served = api()
        async with served.lifespan():
            for scope in SCOPES:
                response = await ask(served, line, scope, orjson.dumps(PLACED))
                expected = scope == NEEDED[line]
                assert (response.status_code != 403) == expected, (line, scope, response.text)
                if not expected:
                    problem = response.json()
                    assert (problem["code"], problem["scope"]) == ("access_denied", NEEDED[line])

    asyncio.run(main())


def test_every_route_is_in_the_table_or_needs_a_token_at_least():
    async def main() -> set[str]:
        served, found = api(), set[str]()
        async with served.lifespan():
            for route in served.routes:
                assert isinstance(route, Route)
                for method in route.methods or ():
                    response = await ask(served, f"{method} {route.path}", None)
                    if response.status_code != 401:
                        found.add(route.path)
        return found

    assert asyncio.run(main()) == {"/live", "/ready"}


def test_each_request_of_a_batch_needs_its_own_scope():
    actions = {
        "status": "read",
        "get_state": "read",
        "load": "read",
        "send": "call",
        "resume": "operate",
        "other": "call",
    }
    lines = [{"n": n, "kind": "task", "job": "orders", "id": "a", "action": action} for n, action in enumerate(actions)]
    body = b"\n".join(orjson.dumps({**line, "payload": PLACED} if line["action"] == "send" else line) for line in lines)

    async def main() -> None:
        served = api()
        async with served.lifespan():
            for scope in SCOPES:
                replies = {}
                for line in (await ask(served, "POST /v1/calls", scope, body)).content.splitlines():
                    reply = orjson.loads(line)
                    replies[reply["n"]] = reply.get("problem", {}).get("code")
                refused = {action for n, action in enumerate(actions) if replies[n] == "access_denied"}
                assert refused == {action for action, needed in actions.items() if needed != scope}

    asyncio.run(main())


def test_nothing_is_written_for_a_client_without_the_scope():
    async def main() -> list[object]:
        served = api()
        async with served.lifespan():
            await ask(served, f"POST {ONE}/send", "read", orjson.dumps(PLACED))
            await ask(served, f"POST {ONE}/send", None, orjson.dumps(PLACED))
            found = (await ask(served, "GET /v1/instances", "read")).json()["instances"]
            assert isinstance(found, list)
            return found

    assert asyncio.run(main()) == []


def test_a_page_of_another_origin_is_refused_without_tokens():
    with TestClient(
        asgi(App(None).with_jobs(ORDERS), "memory://"), base_url="http://localhost", client=("127.0.0.1", 1)
    ) as local:
        assert local.get("/v1/jobs").status_code == 200
        assert local.get("/v1/jobs", headers={"Origin": "https://evil.example"}).status_code == 403
        assert local.get("/v1/jobs", headers={"Host": "evil.example"}).json()["cause"] == "not_local"


def test_probes_without_a_token_query_the_store_twice_a_second_at_most():
    async def main() -> tuple[list[int], int]:
        queries: list[int] = []
        store = await open_store("memory://", runtime=asyncio_runtime())
        health = store.health

        def counted() -> object:
            queries.append(1)
            return health()

        served = asgi(App(None), overlay(store, health=counted), access=TOKENS)
        async with served.lifespan():
            queries.clear()
            replies = await asyncio.gather(*(ask(served, "GET /ready", None) for _ in range(20)))
        return [reply.status_code for reply in replies], len(queries)

    statuses, queries = asyncio.run(main())
    assert statuses == [200] * 20
    assert 1 <= queries <= 2
