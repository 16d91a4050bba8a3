"""Every event that a request to a server causes names the caller, on each way that a request takes."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import orjson

from perdure import App, Do, Limits, Retry, Task, TaskContext, fail, program, tell
from perdure.client.client import Client
from perdure.engine.sinks import EventSink
from perdure.server.access import Access, Tokens
from perdure.server.api import asgi
from perdure.telemetry import on_event as calling
from perdure.values.event import MessageDeadLettered
from perdure.values.live_event import AnyEvent

SECRET = "ada-".ljust(32, "x")
TOKENS = Tokens.parse(f"ada read,call,operate {SECRET}")

BROKEN = 8
"""An event whose message becomes a dead letter."""


@program
def on_event(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from ctx.set_state(event)
    yield from ctx.schedule(after="1 hour")
    if ctx.id == "other" and event == BROKEN - 1:
        raise ZeroDivisionError
    if event:
        yield from tell(job, "other").send(event - 1)


@program
def execute(_ctx: TaskContext[int]) -> Do[None, str]:
    yield from fail("no")


job: Task[int, int, str, None] = Task(
    "job", state=int, event=int, errors=str, initial=0, on_event=on_event, execute=execute, retry=Retry(1)
)


@asynccontextmanager
async def serving(access: Access, *sinks: EventSink) -> AsyncGenerator[tuple[Client, httpx2.AsyncClient]]:
    """The client of an engine in this process, and one over HTTP."""
    served = asgi(
        App(None, limits=Limits(message_deliveries=1)).with_jobs(job).with_sinks(*sinks), "memory://", access=access
    )
    headers = {"Authorization": f"Bearer {SECRET}"}
    transport = httpx2.ASGITransport(served)
    async with (
        served.lifespan(),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client,
    ):
        yield served.client, client


async def callers(jobs: Client, id_: str) -> list[tuple[str, str | None]]:
    """For each event of an instance, its type and its caller, the oldest first."""
    history = await jobs.history(job, id_)
    return [(logged.event.type, getattr(logged.event, "by", None)) for logged in reversed(history)]


def test_events_name_the_token_of_a_call() -> None:
    async def main() -> None:
        async with serving(TOKENS) as (jobs, http):
            for action, payload in {
                "send": "1",
                "trigger": "",
                "resume": "",
                "pause": "",
                "terminate": '"over"',
            }.items():
                response = await http.post(f"/v1/jobs/task/job/instances/one/{action}", content=payload)
                assert response.status_code == 200, response.text
            assert await callers(jobs, "one") == [
                ("job.started", "ada"),
                ("task.scheduled", "ada"),
                ("job.failed", "ada"),
                ("job.retry_exhausted", "ada"),
                ("job.parked", "ada"),
                ("job.resumed", "ada"),
                ("job.paused", "ada"),
                ("job.terminated", "ada"),
            ]
            shown = (await http.get("/v1/jobs/task/job/instances/one/history")).json()
            assert {event["fields"]["by"] for event in shown} == {"ada"}
            assert await callers(jobs, "other") == [("job.started", None), ("task.scheduled", None)]

    asyncio.run(main())


def test_events_name_the_token_of_a_request_in_a_batch() -> None:
    line: dict[str, Any] = {"kind": "task", "job": "job", "action": "send", "payload": 0}
    batches = [[{"n": 1, "id": "one"}], [{"n": 1, "id": "two"}, {"n": 2, "id": "three"}]]

    async def main() -> None:
        async with serving(TOKENS) as (jobs, http):
            for batch in batches:
                body = b"\n".join(orjson.dumps(line | one) for one in batch)
                assert (await http.post("/v1/calls", content=body)).status_code == 200
            for id_ in ("one", "two", "three"):
                assert await callers(jobs, id_) == [("job.started", "ada"), ("task.scheduled", "ada")]

    asyncio.run(main())


def test_a_redrive_names_the_token() -> None:
    async def main() -> None:
        dead: asyncio.Future[MessageDeadLettered] = asyncio.get_running_loop().create_future()

        def note(event: AnyEvent) -> None:
            if isinstance(event, MessageDeadLettered):
                dead.set_result(event)

        async with serving(TOKENS, calling(note)) as (jobs, http):
            await jobs.handle(job).send("one", BROKEN)
            number = (await dead).message_id
            assert (await http.post(f"/v1/dead-letters/{number}/redrive")).json() == "redriven"
            assert ("message.redriven", "ada") in await callers(jobs, "other")

    asyncio.run(main())


def test_events_of_a_local_program_and_of_this_process_are_told_apart() -> None:
    async def main() -> None:
        async with serving("unchecked") as (jobs, http):
            await http.post("/v1/jobs/task/job/instances/one/send", content=b"0")
            await jobs.handle(job).send("two", 0)
            assert {by for _, by in await callers(jobs, "one")} == {"unchecked"}
            assert {by for _, by in await callers(jobs, "two")} == {None}

    asyncio.run(main())
