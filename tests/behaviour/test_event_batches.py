"""Events of one step of the event loop are decided together, each instance's in order, in the context of the engine."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from returns.result import Failure

from perdure import App, Task, TaskContext, attempt, program
from perdure.engine.mailbox.entry import MailboxEntry
from perdure.engine.turns import EventBatch
from perdure.jobs.request import Request
from perdure.programs import Do
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import Sizes
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import overlay
from perdure.stores.sqlite import open_sqlite
from perdure.values.errors import Conflict
from perdure.values.transition import Transition

caller = ContextVar("caller", default="the engine")


@program
def note(ctx: TaskContext[str], event: str) -> Do[None]:
    if event == "careless":
        caller.set(event)
    state = yield from ctx.state
    yield from ctx.set_state(f"{state}, {event} by {caller.get()}")


notes: Any = Task("notes", state=str, event=str, initial="", on_event=note)


def test_a_handler_does_not_see_the_context_of_a_caller(tmp_path: Path) -> None:
    async def main() -> set[str]:
        async with App(None).with_jobs(notes).open(await open_sqlite(tmp_path / "jobs.db"), debug=False) as jobs:
            calls = jobs.handle(notes)
            ids = ("a", "b", "c")
            for id_ in ids:
                await calls.send(id_, "first")

            async def send(id_: str) -> None:
                caller.set(id_)
                await calls.send(id_, "second")

            await asyncio.gather(*(send(id_) for id_ in ids))
            return {(await calls.get_state(id_)).rpartition(" by ")[2] for id_ in ids}

    assert asyncio.run(main()) == {"the engine"}


def test_a_variable_that_a_handler_sets_reaches_no_later_step(tmp_path: Path) -> None:
    async def main() -> str | None:
        async with App(None).with_jobs(notes).open(await open_sqlite(tmp_path / "jobs.db"), debug=False) as jobs:
            calls = jobs.handle(notes)
            for id_, event in (("a", "first"), ("b", "first"), ("a", "careless"), ("b", "second")):
                await calls.send(id_, event)
            return await calls.get_state("b")

    assert asyncio.run(main()) == ", first by the engine, second by the engine"


def test_an_event_stays_behind_an_earlier_request_that_is_decided_again(tmp_path: Path) -> None:
    """The commit of the pause meets a conflict while the event, which could have joined it, waits for its step."""
    conflicts = list[str]()

    async def main() -> list[str]:
        store = await open_sqlite(tmp_path / "jobs.db")

        def commit(transitions: Sequence[Transition], answered: Callable[[Sequence[Any]], None]) -> None:
            if conflicts:
                conflicts.clear()
                answered([Failure(Conflict(str(each.address))) for each in transitions])
            else:
                store.commit(transitions, answered)

        async with App(None).with_jobs(notes).open(overlay(store, commit=commit), debug=False) as jobs:
            calls, done = jobs.handle(notes), list[str]()
            await calls.send("a", "first")
            conflicts.append("the next commit")

            async def finish(name: str, call: Awaitable[object]) -> None:
                await call
                done.append(name)

            await asyncio.gather(finish("pause", calls.pause("a")), finish("event", calls.send("a", "second")))
            assert (await calls.get_state("a")).count("second") == 1
            return done

    assert asyncio.run(main()) == ["pause", "event"]
    assert not conflicts


@attrs.frozen
class Job:
    """Has texts as its events."""

    event: type = str


@attrs.define
class Cell:
    """An instance in memory."""

    job: Job = Job()
    loaded: object = "a row"
    pending: object = None
    state: str = "idle"
    undecided: object = None


@attrs.define
class Groups:
    """Stands for the commits, and for the cache of a store with groups."""

    has_groups: bool = True
    may_use_rows: bool = True

    def hold_back(self) -> None:
        """Begin a group."""

    def flush(self) -> None:
        """End it."""


@pytest.mark.parametrize(("most", "steps"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (4, [4, 1]), (5, [5]), (6, [5])])
def test_a_step_decides_some_events_and_the_next_one_the_others(most: int, steps: list[int]) -> None:
    simulation = Simulation(order="fifo")
    decided = [0]

    def decide(_: object) -> None:
        decided[-1] += 1

    async def main() -> list[int]:
        runtime = attrs.evolve(simulation.runtime, sizes=Sizes(batch=most))
        stands: Any = Groups()
        batch = EventBatch(runtime, stands, stands, decide, lambda *_: None)
        entry: Any = MailboxEntry(Request(command="an event", action="send", payload=""), runtime.future())
        cells: Any = [Cell() for _ in range(5)]
        assert all(batch.take(cell, entry) for cell in cells)
        while sum(decided) < 5:
            await runtime.sleep(0)
            decided.append(0)
        return [each for each in decided if each]

    assert simulation.run(main()) == steps


@pytest.mark.parametrize(("most", "commits"), [(1, 6), (2, 4), (4, 3), (5, 2), (6, 2)])
def test_a_commit_holds_some_turns_of_an_instance_and_the_next_one_the_others(
    most: int, commits: int, tmp_path: Path
) -> None:
    """Five events arrive while the commit of another one is in progress."""
    held, passed = list[Callable[[], None]](), list[int]()

    async def main() -> str | None:
        runtime = attrs.evolve(asyncio_runtime(), sizes=Sizes(turns_in_a_commit=most))
        store = await open_sqlite(tmp_path / "jobs.db", runtime=runtime)

        def commit(transitions: Sequence[Transition], answered: Callable[[Sequence[Any]], None]) -> None:
            passed.append(len(transitions))
            send = partial(store.commit, transitions, answered)
            if len(passed) == 2:
                held.append(send)
            else:
                send()

        opening = App(None).with_jobs(notes).open(overlay(store, commit=commit), runtime=runtime, debug=False)
        async with opening as jobs:
            calls = jobs.handle(notes)
            await calls.send("a", "first")
            sends = [asyncio.ensure_future(attempt(calls.send("a", "again")))]
            while not held:  # noqa: ASYNC110 - the store has no event
                await asyncio.sleep(0)
            sends += [asyncio.ensure_future(attempt(calls.send("a", "again"))) for _ in range(5)]
            for _ in range(20):
                await asyncio.sleep(0)
            held.pop()()
            await asyncio.gather(*sends)
            return await calls.get_state("a")

    state = asyncio.run(main())
    assert state is not None
    assert state.count("again") == 6
    assert passed == [1] * (1 + commits)
