"""A client of another process waits for a status: by requests that the server answers late, and not by polling."""

import asyncio
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
from returns.result import Failure, Success

from perdure import App, Decision, Do, Limits, Task, Workflow, WorkflowContext, program
from perdure.client.client import Client, gateway_of
from perdure.client.gateway import attempt
from perdure.client.local_gateway import engine_of
from perdure.remote import connect, connect_sync
from perdure.remote.connecting import settings
from perdure.server.http_limits import HttpLimits
from perdure.server.serving import serving
from perdure.values.answer import Done
from perdure.values.errors import EngineClosed, InvalidArgument, Overloaded
from perdure.values.status import InstanceStatus
from perdure.values.status_wait import Reached, WaitOver

task = Task("task", state=int, event=int, initial=0, decide=lambda count, by: Success(Decision(count + by)))
NOT_FOUND = InstanceStatus(status="not_found")


async def waiting(local: Any, callers: int = 1) -> None:
    """Return once so many callers wait in the engine."""
    waits = engine_of(local).waits
    while waits.count < callers:  # noqa: ASYNC110 - of another task of this loop, which needs no time
        await asyncio.sleep(0)


def test_a_wait_longer_than_a_request_continues_with_the_next_one():
    async def main():
        async with (
            App(None, limits=Limits(history_events=0)).with_jobs(task).open("memory://") as local,
            serving(local, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], task) as connected,
        ):
            jobs = Client(attrs.evolve(gateway_of(connected), longest_wait_ms=200))
            handle = jobs.handle(task)
            await attempt(handle.send("a", 1))
            late = await attempt(jobs.until(task, "a", timeout="700 ms"))
            wait = asyncio.ensure_future(attempt(jobs.until(task, "a", timeout="1 hour")))
            await waiting(local)
            await attempt(handle.terminate("a"))
            return late, await wait

    late, ended = asyncio.run(main())
    assert isinstance(late.failure(), WaitOver)
    assert late.failure().status.status == "idle"
    assert ended == Success(Reached(NOT_FOUND))


@pytest.mark.parametrize(
    ("timeout", "wait_timeout", "expected"),
    [("10 s", "60 s", (10_000, 60_000)), ("60 s", "10 s", (60_000, 60_000)), ("10 s", "10 s", (10_000, 10_000))],
)
def test_a_call_that_waits_for_a_run_has_at_least_the_time_of_any_other(timeout, wait_timeout, expected):
    given = settings(
        "http://127.0.0.1:9",
        [task],
        token=None,
        timeout=timeout,
        wait_timeout=wait_timeout,
        max_connections=1,
        draw_keys=False,
    )
    assert (given.timeout_ms, given.wait_timeout_ms) == expected


@pytest.mark.parametrize("key", [" k", "k ", "k\n", "\u2028k", "\tk"])
def test_a_key_that_a_header_would_change_is_refused_where_it_goes_in_one(key):
    """A server would see another key, and perform the request a second time."""

    async def main():
        async with connect("http://127.0.0.1:9") as jobs:  # no server listens there
            named = jobs.handle_by_name("task", "task")
            calls = (
                named.call_and_wait("send", "a", "1", idempotency_key=key),
                named.explain("send", "a", "1", idempotency_key=key),
            )
            return [(await attempt(call)).failure() for call in calls]

    for error in asyncio.run(main()):
        assert isinstance(error, InvalidArgument)
        assert error.what == "idempotency_key in a header"


def test_the_server_bounds_the_requests_that_wait():
    async def main():
        async with (
            App(None).with_jobs(task).open("memory://") as local,
            serving(local, ["127.0.0.1:0"], limits=HttpLimits(waits=1)) as (server,),
            connect(server.urls[0], task) as jobs,
        ):
            first = asyncio.ensure_future(attempt(jobs.until(task, "a", "idle", timeout="1 hour")))
            await waiting(local)
            refused = await attempt(jobs.until(task, "b", "idle", timeout="1 hour"))
            await attempt(jobs.handle(task).send("a", 1))
            return refused, await first, await attempt(jobs.until(task, "a", "idle"))

    refused, first, again = asyncio.run(main())
    assert isinstance(refused, Failure)
    assert isinstance(refused.failure(), Overloaded)
    assert refused.failure().limit == 1
    assert [each.unwrap().status.status for each in (first, again)] == ["idle"] * 2


def test_an_engine_that_stops_answers_the_requests_that_wait():
    """So that a server can stop at once; the client asks again until its own time is over."""

    async def main():
        async with (
            App(None).with_jobs(task).open("memory://") as local,
            serving(local, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], task, timeout="200 ms") as jobs,
        ):
            wait = asyncio.ensure_future(attempt(jobs.until(task, "a", "idle", timeout="1 hour")))
            await waiting(local)
            engine_of(local).begin_stop()
            return await wait

    stopped = asyncio.run(main())
    assert isinstance(stopped.failure(), EngineClosed)


def test_any_program_can_wait_over_http():
    async def main():
        async with App(None).with_jobs(task).open("memory://") as local, serving(local, ["127.0.0.1:0"]) as (server,):
            await attempt(local.handle(task).send("a", 1))
            base = f"{server.urls[0]}/v1/jobs/task/task/instances"
            queries = (
                "a/wait?until=idle&until=parked",
                "a/wait?timeout=0+ms",
                "a/wait?phase=a&phase=b&timeout=1+ms",
                "nowhere/wait",
                "a/wait?until=soon",
                "a/wait?timeout=5",
                "a/wait?timeout=1+ms&timeout=2+ms",
            )
            async with httpx2.AsyncClient() as client:
                return [await client.get(f"{base}/{query}") for query in queries]

    answers = asyncio.run(main())
    assert [answer.status_code for answer in answers] == [200] * 4 + [422] * 3
    assert [answer.json()["form"] for answer in answers[:4]] == [
        "reached",
        "not_reached",
        "not_reached",
        "never_stored",
    ]


def test_a_client_without_an_event_loop_waits_too():
    def ask(url: str) -> Any:
        with connect_sync(url, task) as jobs:
            jobs.run(jobs.handle(task).send("a", 1))
            return jobs.run(jobs.until(task, "a", "idle"))

    async def main():
        async with App(None).with_jobs(task).open("memory://") as local, serving(local, ["127.0.0.1:0"]) as (server,):
            return await asyncio.to_thread(ask, server.urls[0])

    assert asyncio.run(main()).status.status == "idle"


@program
def repeat(ctx: WorkflowContext[int]) -> Do[str, str]:
    size = yield from ctx.state
    return "\u00e4" * size


repeats = Workflow("repeats", state=int, run=repeat)


@pytest.mark.parametrize("size", [0, 131_071, 131_072, 2_000_000])  # one row holds 131,071 of two bytes, and quotes
def test_a_value_of_any_size_is_the_same_in_process_and_over_http(size: int, tmp_path: Path):
    async def main():
        async with (
            App(None).with_jobs(repeats).open(f"sqlite:///{tmp_path}/jobs.db") as local,
            serving(local, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], repeats) as jobs,
        ):
            waited = await jobs.handle(repeats).start_and_wait("a", size)
            read = await jobs.handle(repeats).outcome("a")
            return [waited, read, await local.handle(repeats).outcome("a")]

    assert asyncio.run(main()) == [Done("\u00e4" * size)] * 3
