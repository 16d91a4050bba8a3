"""Services: a record, or a factory that is entered with the app and left after draining; checked against the jobs."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import pytest
from attrs import frozen
from machine import Add, OnAlarm, Say, Total, Wait, app, machine, machine_with, steps
from returns.context import RequiresContextFutureResult
from returns.result import Success
from world import HasOutside, Outside, Refused, World, on_each_store, say

from perdure import App, Debounce, Do, Program, TaskContext, program
from perdure.jobs.call import Call
from perdure.values.errors import DefinitionError


class HasMore(HasOutside, Protocol):
    @property
    def clock(self) -> object: ...


@program
def needy(ctx: TaskContext[Total], _: object = None) -> Do[None, Refused, HasMore]:
    yield from ctx.set_state(Total())


def reader(_: TaskContext[Total], __: object = None) -> RequiresContextFutureResult[None, Refused, HasMore]:
    raise NotImplementedError


def method_style(_: TaskContext[Total], __: object = None) -> Program[None, Refused, HasMore]:
    raise NotImplementedError


@pytest.mark.parametrize("hook", [needy, reader, method_style])
@pytest.mark.parametrize("place", ["execute", "on_idle", "on_event", "on_error"])
def test_services_that_lack_something_are_refused_when_the_app_is_put_together(hook: Any, place: str) -> None:
    """Every bad input gets a typed error that names the expected value, the received one, and the fix."""
    with pytest.raises(DefinitionError) as refused:
        App(Outside()).with_jobs(machine_with(**{place: hook}))
    assert "a record with clock, which" in str(refused.value)
    assert f"{hook.__name__} of task:machine needs (HasMore)" in str(refused.value)


def test_services_that_have_everything_are_accepted() -> None:
    @frozen
    class Services:
        outside: Outside
        clock: object

    App(Services(Outside(), None)).with_jobs(machine_with(execute=needy))


def test_a_member_is_not_computed_to_be_found() -> None:
    class Services:
        @property
        def outside(self) -> Outside:
            raise AssertionError("computed too early")

    App(Services()).with_jobs(machine)


@on_each_store
async def test_a_factory_is_entered_with_the_app_and_left_after_draining(world: World) -> None:
    """Services are a record, or a factory of an async context manager of it (opened with the app, closed after
    draining)."""
    happened: list[str] = []

    @asynccontextmanager
    async def services() -> AsyncIterator[Outside]:
        happened.append("entered")
        yield world.outside
        happened.append("left")

    jobs = (await world.open(App(services).with_jobs(machine))).handle(machine)
    assert happened == ["entered"]
    call = world.start(jobs.send("a", steps(Wait(5_000), Say("x"), Add())))
    await world.settle()
    closing = world.process.simulation.runtime.spawn(world.process.open_app.__aexit__(None, None, None), name="close")
    await world.advance(s=4)
    assert happened == ["entered"]
    await world.advance(s=1)
    assert isinstance(call.result(), Success)
    assert (happened, closing.done()) == (["entered", "left"], True)


@pytest.mark.parametrize("how", ["an event", "a run", "a flush"])
@on_each_store
async def test_services_are_reached_in_a_task_of_the_engines_own(world: World, how: str) -> None:
    """A turn begins by a synchronous call of the caller; the user's services never run inside that call."""
    found: list[object] = []

    class Watched:
        @property
        def outside(self) -> Outside:
            assert world.outside.boundary is not None
            found.append(world.outside.boundary.runtime.current_task())
            return world.outside

    batch = Debounce("batch", event=Add, flush_after="1 hour", execute=lambda _: say("x"))
    jobs = await world.open(App(Watched()).with_jobs(machine, batch))
    await world.run(jobs.handle(machine).send("a", OnAlarm(3_600_000, (Say("x"),))))
    await world.run(jobs.handle(batch).add("a", Add()))
    calls: dict[str, Callable[[], Call[Any, Any]]] = {
        "an event": lambda: jobs.handle(machine).send("a", steps(Say("x"))),
        "a run": lambda: jobs.handle(machine).trigger("a"),
        "a flush": lambda: jobs.handle(batch).flush("a"),
    }
    asking = world.start(calls[how]())
    await world.settle()
    assert isinstance(asking.result(), Success)
    assert len(found) == 1
    assert found[0] is not asking


@on_each_store
async def test_the_result_of_a_factory_is_checked_when_the_app_is_opened(world: World) -> None:
    left: list[str] = []

    @asynccontextmanager
    async def services() -> AsyncIterator[object]:
        yield object()
        left.append("left")

    factory: Any = services
    with pytest.raises(DefinitionError, match="a record with outside"):
        await world.open(App(factory).with_jobs(machine))
    await world.crash()

    def wrong() -> AbstractAsyncContextManager[Outside]:
        return world.outside  # type: ignore[return-value]

    with pytest.raises(DefinitionError, match="async context manager"):
        await world.open(App(wrong).with_jobs(machine))
    await world.crash()
    await world.open(app(world.outside))
