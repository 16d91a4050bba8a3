"""Invalid input is the same error from a client in process and from one in another process."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perdure import App, Client, Limits, Task, attempt, succeed
from perdure.examples.order_processor import Order, OrderEvent, OrderPlaced, decide_order
from perdure.remote import connect
from perdure.server.serving import serving

ORDERS = Task(
    "orders", state=Order, event=OrderEvent, initial=Order(), decide=decide_order, execute=lambda _: succeed(None)
)


def errors_of(call: Callable[[Client], Any]) -> list[str]:
    """Return the error of a call, in process and remotely, with all fields."""

    async def main() -> list[str]:
        app = App(None, limits=Limits(payload_bytes=300)).with_jobs(ORDERS)
        async with (
            app.open("memory://") as own,
            serving(own, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], ORDERS) as remote,
        ):
            return [repr((await attempt(call(jobs))).failure()) for jobs in (own, remote)]

    return asyncio.run(main())


@pytest.mark.parametrize(
    "call",
    [
        lambda jobs: jobs.handle(ORDERS).send("a", OrderPlaced("x" * 300, 1)),
        lambda jobs: jobs.handle(ORDERS).send("a", 5),
        lambda jobs: jobs.handle(ORDERS).terminate("a", "x" * 300),
        lambda jobs: jobs.handle_by_name("task", "orders").call("send", "a"),
        lambda jobs: jobs.handle_by_name("task", "orders").call("terminate", "a", "5"),
        lambda jobs: jobs.handle_by_name("task", "orders").explain("send", "a", "{"),
        lambda jobs: jobs.handle_by_name("task", "orders").explain("send", "a", "5"),
        lambda jobs: jobs.handle_by_name("task", "orders").explain("send", "a", f'"{"x" * 300}"'),
    ],
)
def test_an_error_is_the_same_in_process_and_remotely(call: Callable[[Client], Any]):
    local, remote = errors_of(call)
    assert local == remote
    assert local.startswith("InvalidInput(")


@settings(max_examples=10)
@given(st.text(min_size=1, max_size=30) | st.sampled_from(["{", "1 2", "\ufeff1", '"\\ud800"', "NaN", "[" * 50]))
@example("{")
@example(f'"{"x" * 300}"')
def test_any_text_as_input_by_name_is_the_same_error(payload: str):
    local, remote = errors_of(lambda jobs: jobs.handle_by_name("task", "orders").call("send", "a", payload))
    assert local == remote
