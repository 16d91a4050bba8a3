"""The tracker over real sockets: whatever the endpoint does to a connection, every event arrives once it heals."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from fake_endpoint import job
from http_endpoint import HttpEndpoint

from perdure import App
from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.programs.future import answer_of
from perdure.stores.encryption import Encryption, Key
from perdure.telemetry.tracker import tracker
from perdure.values.retry import Backoff

KEY = "a-very-secret-key"
PATIENCE_S = 120


def app_of(endpoint: HttpEndpoint, **options: Any) -> App[Any]:
    quick: dict[str, Any] = {
        "flush_interval": "5 ms",
        "timeout": "200 ms",
        "shutdown_timeout": "200 ms",
        "service_key": KEY,
        "backoff": Backoff.exponential("5 ms", max="20 ms"),
    }
    return App(None).with_jobs(job).with_sinks(tracker(endpoint.url, **quick | options))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the state of other tasks
            await asyncio.sleep(0.005)


async def sent(jobs: Client, *ids: str) -> None:
    for id_ in ids:
        await jobs.handle(job).send(id_, 1)


async def stored_ids(jobs: Client) -> list[str]:
    found = (await answer_of(engine_of(jobs).store.events(0, 1_000))).unwrap()
    return [each.event.event_id for each in found]


def problem(jobs: Client) -> str:
    return engine_of(jobs).sinks.lags()["tracker"].problem


@pytest.mark.parametrize("mood", ["hang", "reset", "drip", "garbage", "500", "503", "429", "404"])
def test_every_event_arrives_once_the_endpoint_heals(mood: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with HttpEndpoint(mood).listening() as endpoint, app_of(endpoint).open("memory://") as jobs:
            await sent(jobs, "a", "b")
            await until(lambda: len(endpoint.requests) > 1)
            assert problem(jobs) != ""
            endpoint.mood = "ok"
            await sent(jobs, "c")
            stored = await stored_ids(jobs)
            await until(lambda: endpoint.ids == stored)
            assert problem(jobs) == ""

    caplog.set_level(logging.DEBUG)
    asyncio.run(scenario())
    assert KEY not in caplog.text


def test_an_endpoint_that_is_down_gets_its_events_when_it_starts() -> None:
    async def scenario() -> None:
        endpoint = HttpEndpoint()
        async with endpoint.listening():
            pass  # the port is free again
        async with app_of(endpoint).open("memory://") as jobs:
            await sent(jobs, "a")
            await until(lambda: "ConnectError" in problem(jobs))
            async with endpoint.listening(endpoint.port):
                stored = await stored_ids(jobs)
                await until(lambda: endpoint.ids == stored)

    asyncio.run(scenario())


@pytest.mark.parametrize("mood", ["ok", "flood"])
def test_an_accepted_batch_is_sent_once(mood: str) -> None:
    async def scenario() -> None:
        async with HttpEndpoint(mood).listening() as endpoint:
            async with app_of(endpoint, timeout="10s", shutdown_timeout="10s").open("memory://") as jobs:
                await sent(jobs, *"abcdef")
                stored = await stored_ids(jobs)
            assert [event["event_id"] for event in endpoint.events] == stored

    asyncio.run(scenario())


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_a_request_has_its_headers(compression: str) -> None:
    async def scenario() -> None:
        async with HttpEndpoint().listening() as endpoint:
            headers = {"X-Tenant": "shop"}
            async with app_of(endpoint, headers=headers, compression=compression).open("memory://") as jobs:
                await sent(jobs, "a")
            request = endpoint.requests[0]
            assert request.get("content-encoding") == ("gzip" if compression == "gzip" else None)
            assert (request["authorization"], request["x-tenant"]) == (f"Bearer {KEY}", "shop")
            assert request["content-type"] == "application/json"
            assert request["user-agent"].startswith("perdure/")

    asyncio.run(scenario())


def test_an_encrypted_store_exports_plain_events() -> None:
    async def scenario() -> None:
        async with HttpEndpoint().listening() as endpoint:
            app = app_of(endpoint)
            encrypted = App(None, encryption=Encryption(primary=Key.new("k"))).with_jobs(job).with_sinks(*app.sinks)
            async with encrypted.open("memory://") as jobs:
                await sent(jobs, "a")
                await jobs.handle(job).terminate("a", "a reason in clear")
            assert endpoint.events[-1]["reason"] == "a reason in clear"

    asyncio.run(scenario())


def test_a_redirect_is_not_followed() -> None:
    async def scenario() -> None:
        async with HttpEndpoint("307").listening() as endpoint, app_of(endpoint).open("memory://") as jobs:
            await sent(jobs, "a")
            await until(lambda: "redirect" in problem(jobs))
            assert {request["path"] for request in endpoint.requests} == {"/v1"}

    asyncio.run(scenario())
