"""A client that knows more than the server: each call is refused with a typed error, and nothing is applied."""

from __future__ import annotations

import asyncio
from typing import Any

from returns.result import Failure

from perdure import App, Do, Published, StateQuery, Update, Workflow, WorkflowContext, program
from perdure.client.client import gateway_of
from perdure.jobs.call import result_of
from perdure.programs import sleep
from perdure.remote import connect
from perdure.server.serving import serving
from perdure.stores.values import Health
from perdure.values.errors import InvalidArgument, ServerUnreachable, UnknownAction
from perdure.wire.operations import ClientOperation

add = Update("add", int, int)
size = StateQuery("size", str, int, lambda state, _: state)
seen = Published("seen", int)


@program
def waiting(ctx: WorkflowContext[int]) -> Do[int]:
    yield from sleep("1 day")
    return (yield from ctx.state)


older = Workflow("flow", state=int, run=waiting)
newer = Workflow("flow", state=int, run=waiting, updates=(add,), queries=(size,), publishes=(seen,))
OPERATION = ClientOperation(name="newer", path="/v1/newer", answer=Health, summary="An operation of a later version.")


def test_a_server_answers_that_it_does_not_know_newer_calls() -> None:
    async def main() -> tuple[Any, ...]:
        async with (
            App(None).with_jobs(older).open("memory://") as local,
            serving(local, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], newer) as jobs,
        ):
            flows, named = jobs.handle(newer), jobs.handle_by_name("workflow", "flow")
            await flows.start("a", 1)
            before = await flows.status("a")
            calls: tuple[Any, ...] = (
                flows.update("a", add, 1, idempotency_key="1"),
                flows.query("a", size, "now"),
                flows.published("a", seen),
                named.published("a", "seen"),
                named.call_and_wait("begin", "a", "1"),
                gateway_of(jobs).perform(OPERATION),
            )
            found = [await result_of(call) for call in calls]
            assert await flows.status("a") == before
            return tuple(found)

    found = asyncio.run(main())
    assert all(isinstance(each, Failure) for each in found)
    update, query, published, by_name, action, operation = (each.failure() for each in found)
    assert isinstance(update, UnknownAction)
    assert isinstance(query, UnknownAction)
    assert isinstance(published, InvalidArgument)
    assert isinstance(by_name, InvalidArgument)
    assert isinstance(action, UnknownAction)
    assert isinstance(operation, ServerUnreachable)
    assert "404" in str(operation)
