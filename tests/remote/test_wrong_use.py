"""A client that is used outside its block, or awaited twice, says how to use it."""

import asyncio
from typing import Any

import pytest

from perdure import App, Task, attempt
from perdure.client.gateway import Call
from perdure.remote import connect, connect_sync
from perdure.values.errors import InvalidId

OPEN = "async with app.open(store) as jobs:"
CONNECT = "async with connect(...) as jobs:"
CONNECT_SYNC = "with connect_sync(...) as jobs:"


@pytest.mark.parametrize(
    ("client", "usage"), [(App(None).open("memory://"), OPEN), (connect("http://127.0.0.1:9"), CONNECT)]
)
def test_a_block_without_async_is_refused(client, usage):
    with pytest.raises(TypeError) as refused, client:
        pass
    assert str(refused.value) == f"expected '{usage}'; got 'with'"


def test_a_synchronous_client_refuses_async():
    with pytest.raises(TypeError) as refused:
        asyncio.run(connect_sync("http://127.0.0.1:9").__aenter__())
    assert str(refused.value) == f"expected '{CONNECT_SYNC}'; got 'async with'"


@pytest.mark.parametrize(
    ("client", "usage"),
    [
        (App(None).open("memory://"), OPEN),
        (connect("http://127.0.0.1:9"), CONNECT),
        (connect_sync("http://127.0.0.1:9"), CONNECT_SYNC),
    ],
)
def test_a_client_that_is_not_entered_has_no_handles(client, usage):
    with pytest.raises(AttributeError) as refused:
        client.handle  # noqa: B018 - it raises
    assert str(refused.value) == f"no 'handle' outside the block: expected '{usage}'"


def test_an_invalid_call_is_refused():
    async def main():
        async with App(None).open("memory://") as jobs:
            await attempt(await jobs.health())

    with pytest.raises(TypeError, match=r"argument of attempt: expected a call that was not awaited, .*; got Health"):
        asyncio.run(main())


def test_a_wrong_id_is_refused_before_a_server_is_asked():
    task = Task("counter", state=int, event=int, initial=0, on_event=lambda ctx, event: ctx.set_state(event))
    wrong: Any = 5

    def calls(jobs: Any) -> list[Call[Any, Any]]:
        typed, named = jobs.handle(task), jobs.handle_by_name("task", "counter")
        each = [typed.send(wrong, 1), typed.status(wrong), typed.get_state(wrong), named.call("send", wrong, "1")]
        return [*each, named.status(wrong), named.get_state(wrong), named.explain("send", wrong, "1")]

    async def main():
        async with connect("http://127.0.0.1:9", task) as jobs:  # no server listens there
            return [(await attempt(asked)).failure() for asked in calls(jobs)]

    assert {type(error) for error in asyncio.run(main())} == {InvalidId}
