"""Events of one step of the event loop are decided together, each instance's in order, in the context of the engine."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from returns.result import Failure

from perdure import App, Task, TaskContext, program
from perdure.programs import Do
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
