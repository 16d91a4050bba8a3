"""Forks on each store: of a source that has ended, and of one that starts over while it is read."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from postgres_harness import PostgresHarness
from returns.future import FutureResult
from test_workflow_forks import Outside, Refused, go, saying, steps

from perdure import App, Do, Workflow, WorkflowContext, program
from perdure.programs.future import answer_of
from perdure.stores.contract import Store, overlay
from perdure.stores.memory import MemoryBackend
from perdure.stores.sqlite import open_sqlite
from perdure.values.answer import Done


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Awaitable[Store]]]:
    """Open a store of each kind."""
    if request.param == "memory":
        backend = MemoryBackend()

        async def memory() -> Store:
            return backend.open()

        yield memory
    elif request.param == "sqlite":
        yield partial(open_sqlite, tmp_path / "store.db")
    else:
        harness = PostgresHarness(request.getfixturevalue("postgres_url"))
        yield harness.open
        asyncio.run(harness.discard())


def test_each_store_performs_exactly_the_steps_from_the_given_one_on_again(
    opening: Callable[[], Awaitable[Store]],
) -> None:
    outside = Outside()

    async def scenario() -> None:
        async with App(outside).with_jobs(steps).open(await opening()) as jobs:
            flow = jobs.handle(steps)
            assert await flow.start_and_wait("one", 10) == Done(value="abcde")
            for kept in range(5):
                fork = f"from {kept}"
                forked = await flow.fork(fork, "one", step=f"{kept}")
                assert (forked.created, forked.kept, forked.step) == (True, kept, f"{kept}")
                assert await flow.start_and_wait(fork, 0) == Done(value="abcde")
                assert await flow.get_state(fork) == 15
                assert outside.of(fork) == list("abcde")[kept:]
                assert [each.name for each in await flow.steps(fork)] == ["say"] * 5
            # The keys of the repeated steps are new: an external system performs them again.
            assert len(set(outside.keys)) == len(outside.keys) == 5 + sum(range(6))
            assert outside.of("one") == list("abcde")
            assert await flow.outcome("one") == Done(value="abcde")

    asyncio.run(scenario())


@program
def asked_over(ctx: WorkflowContext[int]) -> Do[str, Refused, Outside]:
    count = yield from ctx.state
    one = yield from saying(ctx, f"a{count}")
    other = yield from saying(ctx, f"b{count}")
    got = yield from go.receive()
    if got == "over":
        yield from ctx.start_over(count + 1)
    return f"{one} {other} {got}"


restarts = Workflow("restarts", state=int, run=asked_over, signals=(go,), keep="99 days")


class Heard(list[tuple[str, str]]):
    """Words, of which each sets an event."""

    def __init__(self) -> None:
        super().__init__()
        self.events = defaultdict[tuple[str, str], asyncio.Event](asyncio.Event)

    def append(self, said: tuple[str, str]) -> None:
        super().append(said)
        self.events[said].set()


async def has_performed(flow: Any, id_: str, heard: Heard, said: str) -> None:
    """Wait until the generation that says this has performed both steps: an effect is heard before its commit."""
    await heard.events[id_, said].wait()
    while [step.status for step in await flow.steps(id_)].count("done") < 2:  # noqa: ASYNC110 - nothing tells of a commit
        await asyncio.sleep(0)


@pytest.mark.parametrize("overs", range(4))
def test_a_source_that_starts_over_while_it_is_read_is_read_again(
    opening: Callable[[], Awaitable[Store]], overs: int
) -> None:
    """A fork has the state and the steps of one generation, and performs the others: not the rows of two."""
    heard = Heard()
    outside = Outside(heard)

    async def scenario() -> None:
        store = await opening()
        journal = store.journal
        assert journal is not None
        left, is_busy = 0, False

        async def read(source: Any, *given: Any) -> Any:
            nonlocal left, is_busy
            if left and not is_busy:
                left, is_busy = left - 1, True
                await flow.signal("one", go, "over")
                await has_performed(flow, "one", heard, f"b{overs - left}")
                is_busy = False
            return await answer_of(journal.read(source, *given))

        reading = overlay(store, journal=overlay(journal, read=lambda *given: FutureResult(read(*given))))
        async with App(outside).with_jobs(restarts).open(reading) as jobs:
            flow = jobs.handle(restarts)
            await flow.start("one", 0)
            await has_performed(flow, "one", heard, "b0")
            left = overs
            forked = await flow.fork("two", "one", step="1")
            assert (forked.created, forked.kept, left) == (True, 1, 0)
            await flow.signal("two", go, "end")
            assert await flow.start_and_wait("two", 0) == Done(value=f"a{overs} b{overs} end")
            assert outside.of("two") == [f"b{overs}"]

    asyncio.run(scenario())
