"""One trace from a client in another thread to the effects of an engine behind a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from engine_thread import engine_served
from traces import Traces, attribute, is_child

from perdure import App, Do, Task, TaskContext, effect, program
from perdure.remote import connect, connect_sync
from perdure.telemetry.opentelemetry import current_trace
from perdure.values.errors import DefinitionError


@effect
async def charge(services: object, amount: int) -> int:
    await asyncio.sleep(0)
    return amount


@program
def on_event(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from charge(event)
    yield from ctx.set_state(event)


orders = Task("orders", state=int, event=int, initial=0, on_event=on_event)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def call_async(url: str) -> None:
    async def main() -> None:
        async with connect(url, orders, trace=current_trace) as jobs:
            await jobs.handle(orders).send("a", 1)

    asyncio.run(main())


def call_sync(url: str) -> None:
    with connect_sync(url, orders, trace=current_trace) as jobs:
        jobs.run(jobs.handle(orders).send("a", 1))


def call_by_name(url: str) -> None:
    with connect_sync(url, trace=current_trace) as jobs:
        jobs.run(jobs.handle_by_name("task", "orders").call("send", "a", "1"))


def call_over_http(url: str) -> None:
    given = {"traceparent": current_trace() or ""}
    httpx2.post(f"{url}/v1/jobs/task/orders/instances/a/send", content=b"1", headers=given).raise_for_status()


@pytest.mark.parametrize("call", [call_async, call_sync, call_by_name, call_over_http])
def test_a_remote_call_and_its_effects_are_one_trace(call: Callable[[str], None]) -> None:
    traces = Traces()
    with engine_served(App(None).with_jobs(orders).with_sinks(traces.sink())) as url:
        with traces.provider.get_tracer("client").start_as_current_span("checkout"):
            call(url)
        checkout = traces.one("checkout")
        assert traces.tree(checkout) == ("checkout", [("send task:orders", ["charge"])])


def test_the_calls_of_one_batch_keep_their_own_traces() -> None:
    traces = Traces()
    tracer = traces.provider.get_tracer("client")

    async def main(url: str) -> None:
        async with connect(url, orders, trace=current_trace) as jobs:

            async def call(number: int) -> None:
                with tracer.start_as_current_span(f"checkout {number}"):
                    await jobs.handle(orders).send(str(number), number)

            await asyncio.gather(*map(call, range(5)))

    with engine_served(App(None).with_jobs(orders).with_sinks(traces.sink())) as url:
        asyncio.run(main(url))
        turns = {attribute(turn, "perdure.id"): turn for turn in traces.named("send task:orders")}
        for number in range(5):
            assert is_child(turns[str(number)], of=traces.one(f"checkout {number}"))


@pytest.mark.parametrize("header", ["", "nonsense", "00-0-0-0", TRACE.upper(), "ff" + TRACE[2:], "0" * 10_000])
def test_a_header_that_is_not_valid_is_ignored(header: str) -> None:
    traces = Traces()
    with engine_served(App(None).with_jobs(orders).with_sinks(traces.sink())) as url:
        given = {"traceparent": header}
        httpx2.post(f"{url}/v1/jobs/task/orders/instances/a/send", content=b"1", headers=given).raise_for_status()
        line = f'{{"n":1,"kind":"task","job":"orders","id":"b","action":"send","payload":1,"trace":"{header}"}}'
        httpx2.post(f"{url}/v1/calls", content=line.encode()).raise_for_status()
        turns = traces.named("send task:orders")
        assert [turn.parent for turn in turns] == [None, None]


def test_a_valid_header_is_the_parent() -> None:
    traces = Traces()
    with engine_served(App(None).with_jobs(orders).with_sinks(traces.sink())) as url:
        given = {"traceparent": TRACE}
        httpx2.post(f"{url}/v1/jobs/task/orders/instances/a/send", content=b"1", headers=given).raise_for_status()
        parent = traces.one("send task:orders").parent
        assert parent is not None
        assert (f"{parent.trace_id:x}", f"{parent.span_id:x}") == (TRACE[4:35], TRACE[36:52])
        assert parent.is_remote


def test_a_client_without_a_hook_sends_no_trace() -> None:
    traces = Traces()
    with engine_served(App(None).with_jobs(orders).with_sinks(traces.sink())) as url:
        checkout = traces.provider.get_tracer("client").start_as_current_span("checkout")
        with checkout, connect_sync(url, orders) as jobs:
            jobs.run(jobs.handle(orders).send("a", 1))
        assert traces.one("send task:orders").parent is None


def test_a_hook_that_is_not_a_function_is_refused() -> None:
    hook: Any = TRACE
    with pytest.raises(DefinitionError, match="trace of a client"), connect_sync("http://127.0.0.1:1", trace=hook):
        pass


def test_a_call_by_name_takes_its_trace_as_an_argument() -> None:
    traces = Traces()
    with engine_served(App(None).with_jobs(orders).with_sinks(traces.sink())) as url:
        with connect_sync(url) as jobs:
            jobs.run(jobs.handle_by_name("task", "orders").call("send", "a", "1", trace=TRACE))
        parent = traces.one("send task:orders").parent
        assert parent is not None
        assert f"{parent.trace_id:x}" == TRACE[4:35]
