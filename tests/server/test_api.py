"""The ASGI application of an engine, without a socket."""

import asyncio

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from perdure import App, Task, succeed
from perdure.examples.order_processor import Order, OrderEvent, decide_order
from perdure.server.api import asgi

ORDERS = Task(
    "orders", state=Order, event=OrderEvent, initial=Order(), decide=decide_order, execute=lambda _: succeed(None)
)
PLACED = {"type": "OrderPlaced", "owner": "ada", "amount": 4}
INSTANCES = "/v1/jobs/task/orders/instances"
ODD_ID = "a%2Fb%20%3F%23%25%C3%A9%2F.."  # everything that a path has another use for


def client_of(application):
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(application), base_url="http://localhost")


def play(scenario, mounted_at=None):
    async def main():
        api = asgi(App(None).with_jobs(ORDERS), "memory://")
        served = api if mounted_at is None else Starlette(routes=[Mount(mounted_at, api)], lifespan=api.lifespan)
        async with api.lifespan(), client_of(served) as client:
            return await scenario(client)

    return asyncio.run(main())


def test_it_says_so_before_it_is_open_and_after_it_was_closed():
    async def main():
        api = asgi(App(None).with_jobs(ORDERS), "memory://")
        async with client_of(api) as client:
            codes = [(await client.get("/v1/health")).json()["code"]]
            async with api.lifespan():
                assert (await client.get("/v1/health")).json()["state"] == "ok"
            return [*codes, (await client.get("/v1/health")).json()["code"]]

    assert asyncio.run(main()) == ["engine_closed", "engine_closed"]


@pytest.mark.parametrize("mounted_at", [None, "/jobs", "/a b/c"])
def test_an_id_of_any_characters_is_one_part_of_the_path(mounted_at):
    prefix = (mounted_at or "").replace(" ", "%20")

    async def scenario(client):
        sent = await client.post(f"{prefix}{INSTANCES}/{ODD_ID}/send", json=PLACED)
        found = await client.get(f"{prefix}/v1/instances")
        return sent.json()["created"], [row["address"]["id"] for row in found.json()["instances"]]

    assert play(scenario, mounted_at) == (True, ["a/b ?#%é/.."])


def test_errors_are_problems_with_a_stable_code():
    async def scenario(client):
        await client.post(f"{INSTANCES}/a/send", json=PLACED)
        replies = [
            await client.post(f"{INSTANCES}/a/send", json=PLACED),
            await client.post(f"{INSTANCES}/a/send", json={"type": "Unknown"}),
            await client.post(f"{INSTANCES}/a/send", content=b"\xff"),
            await client.post(f"{INSTANCES}/a/fly"),
            await client.get("/v1/jobs/task/other/instances/a"),
            await client.get("/v1/instances?limit=0"),
            await client.get("/v1/instances?status=weird&colour=red"),
            await client.get("/v1/nowhere"),
            await client.get("/v1/calls"),
        ]
        assert {reply.headers["content-type"] for reply in replies} == {"application/problem+json"}
        assert [reply.status_code for reply in replies] == [reply.json()["status"] for reply in replies]
        return [(reply.status_code, reply.json()["code"]) for reply in replies]

    assert play(scenario) == [
        (409, "rejected"),
        (422, "invalid_input"),
        (422, "invalid_input"),
        (404, "unknown_action"),
        (404, "unknown_job"),
        (422, "invalid_argument"),
        (422, "invalid_argument"),
        (404, "no_route"),
        (405, "no_route"),
    ]


@pytest.mark.parametrize(
    ("dashboard", "path", "hint"),
    [
        (False, "/dashboard", "this server has no dashboard: it needs pip install 'perdure[dashboard]'"),
        (True, "/", "the dashboard is at /dashboard"),
    ],
)
def test_a_path_that_no_route_takes_leads_to_the_dashboard(dashboard, path, hint):
    async def main():
        api = asgi(App(None).with_jobs(ORDERS), "memory://", dashboard=dashboard)
        async with api.lifespan(), client_of(api) as client:
            return (await client.get(path)).json()["detail"]

    assert hint in asyncio.run(main())


def test_a_batch_with_a_bad_line_is_refused_as_a_whole():
    good = b'{"n":0,"kind":"task","job":"orders","id":"a","action":"trigger"}'

    async def scenario(client):
        for bad in (b"", b"{", b"[]", b'{"n":-1}', good, b'{"n":1,"colour":1}'):
            reply = await client.post("/v1/calls", content=bad if bad == b"" else good + b"\n" + bad)
            assert (reply.status_code, reply.json()["code"]) == (422, "invalid_input"), bad
        return (await client.get("/v1/instances")).json()["instances"]

    assert play(scenario) == []


def test_a_lifespan_inside_another_one_opens_and_closes_nothing():
    async def main():
        api = asgi(App(None).with_jobs(ORDERS), "memory://")
        async with api.lifespan(), client_of(api) as client:
            states = []
            for _ in range(2):
                async with api.lifespan():
                    states.append((await client.get("/v1/health")).json()["state"])
            return [*states, (await client.get("/v1/health")).json()["state"]]

    assert asyncio.run(main()) == ["ok", "ok", "ok"]
