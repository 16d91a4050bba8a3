"""Every caller gets an answer: also if the store does not answer before the engine stops, and after a defect."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from machine import Add, Break, OnAlarm, Say, Step, Wait, app, at, machine, steps
from returns.future import FutureResult
from returns.result import Failure, Result, Success
from world import World, on_each_store

from perdure import App, Client, Limits, Task, TaskContext, attempt, program, tell
from perdure.client.local_gateway import engine_of
from perdure.engine.mailbox.entry import MailboxEntry
from perdure.jobs.call import Call
from perdure.programs import Do
from perdure.server.dashboard_pages import PageSource
from perdure.stores.contract import overlay
from perdure.stores.memory import memory_store
from perdure.telemetry.activity import Activity
from perdure.testing import Fail, Hang
from perdure.values.errors import Conflict, EngineClosed, OutcomeUnknown, PerdureError, StoreUnavailable


def now(*given: Step) -> OnAlarm:
    """An event whose job is accepted for now."""
    return OnAlarm(0, given)


def failure(task: Any) -> type[Exception]:
    """The error that a caller received."""
    assert task.done(), "the caller has no answer"
    return type(task.result().failure())


# ---------------------------------------------------------------- a store that does not answer
@on_each_store
async def test_a_caller_whose_row_is_being_read_when_the_engine_stops(world: World) -> None:
    calls = (await world.open(app(world.outside, shutdown_timeout="1000 ms"))).handle(machine)
    world.world.inject(Hang("store.load"))
    waiting = [world.start(calls.send("a", steps(Add()))) for _ in range(2)]
    await world.settle()
    await world.close()
    assert [failure(each) for each in waiting] == [EngineClosed, EngineClosed]
    await world.open(app(world.outside))
    assert await world.row(at("a")) is None


@on_each_store
async def test_a_row_that_is_read_after_its_caller_was_answered_changes_nothing(world: World) -> None:
    jobs = await world.open(app(world.outside, shutdown_timeout="1000 ms"))
    world.world.inject(Hang("store.load"))
    waiting = world.start(jobs.handle(machine).send("a", steps(Add())))
    await world.settle()
    engine = engine_of(jobs)
    engine.begin_stop()
    await world.advance(s=10)
    assert failure(waiting) is EngineClosed
    world.world.release("store.load")
    await world.advance(s=10)
    assert world.commits == []


@on_each_store
async def test_a_caller_whose_job_is_being_accepted_with_its_claim_when_the_engine_stops(world: World) -> None:
    calls = (await world.open(app(world.outside, shutdown_timeout="1000 ms"))).handle(machine)
    world.world.inject(Hang("store.commit"))
    waiting = world.start(calls.send("a", now(Say("x"))))
    await world.settle()
    await world.close()
    assert failure(waiting) is OutcomeUnknown
    assert world.outside.heard == []


def page(jobs: Client, collect: Callable[[PageSource], Awaitable[object]]) -> Call[object, Exception]:
    """Collect the data of a page of the dashboard."""
    source = PageSource(client=jobs, activity=Activity(), scopes=frozenset(("read",)))

    async def collected() -> Result[object, Exception]:
        try:
            return Success(await collect(source))
        except PerdureError as error:
            return Failure(error)

    return Call(collected, "page")


READS: dict[str, tuple[str, Callable[[Client], Any]]] = {
    "a status": ("load", lambda jobs: jobs.handle(machine).status("b")),
    "a state": ("load", lambda jobs: jobs.handle(machine).get_state("b")),
    "an explanation": ("load", lambda jobs: jobs.explain(machine, "b", lambda one: one.send(steps(Add())))),
    "a list": ("find", lambda jobs: jobs.list(machine)),
    "a history": ("history", lambda jobs: jobs.history(machine, "b")),
    "a wait for a status": ("load", lambda jobs: jobs.until(machine, "b", "running")),
    "dead letters": ("dead_letters", lambda jobs: jobs.dead_letters()),
    "the overview of the dashboard": ("due", lambda jobs: page(jobs, lambda its: its.overview())),
    "an instance on the dashboard": (
        "load",
        lambda jobs: page(jobs, lambda its: its.instance(at("b"), None, reveals=False)),
    ),
    "its events": ("history", lambda jobs: page(jobs, lambda its: its.instance(at("b"), None, reveals=False))),
}


@pytest.mark.parametrize("read", READS)
@on_each_store
async def test_a_read_that_the_store_does_not_answer_before_the_engine_stops(world: World, read: str) -> None:
    operation, begin = READS[read]
    jobs = await world.open(app(world.outside, shutdown_timeout="1000 ms"))
    world.world.inject(Hang(f"store.{operation}"))
    waiting = world.start(begin(jobs))
    await world.settle()
    await world.close()
    assert failure(waiting) is EngineClosed


@on_each_store
async def test_a_read_that_the_store_answers_while_the_engine_stops(world: World) -> None:
    jobs = await world.open(app(world.outside, shutdown_timeout="1 minute"))
    await world.run(jobs.handle(machine).send("a", steps(Add())))
    world.slow("find", ms=5_000)
    waiting = world.start(jobs.list(machine))
    await world.settle()
    await world.close()
    assert len(waiting.result().unwrap().instances) == 1


def endless(path: object, progress: object, /) -> FutureResult[Any, Any]:
    """A backup that never ends."""

    async def forever() -> Result[Any, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    return FutureResult(forever())


def test_an_engine_that_stops_does_not_wait_for_a_backup_and_its_caller_is_answered() -> None:
    """A backup of a large file takes minutes, and shutdown has a time limit of its own."""

    async def main() -> Result[Any, Any]:
        limits = Limits(shutdown_timeout="1 hour")
        store = overlay(memory_store(), backup=SimpleNamespace(make=endless))
        async with App(None, limits=limits).with_jobs(sender).open(store) as jobs:
            waiting = asyncio.ensure_future(attempt(jobs.backup("jobs.backup")))
            await jobs.health()
        return await waiting

    failed = asyncio.run(asyncio.wait_for(main(), timeout=120)).failure()
    assert isinstance(failed, StoreUnavailable)
    assert "the engine stopped during the backup" in str(failed)


@program
def forward(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from tell(machine, "a").send(steps(Break()))


@program
def ignore(ctx: TaskContext[int]) -> Do[None]:
    yield from ctx.update_state(lambda total: total)


sender: Any = Task("sender", state=int, event=int, initial=0, on_event=forward, execute=ignore)


@on_each_store
async def test_the_engine_stops_while_the_store_does_not_write_the_outcome_of_a_message(world: World) -> None:
    jobs = await world.open(App(world.outside, limits=Limits(shutdown_timeout="1000 ms")).with_jobs(machine, sender))
    await world.run(jobs.handle(machine).send("a", steps()))
    world.world.inject(Hang("store.commit", call=3))
    await world.run(jobs.handle(sender).send("s", 1))
    await world.settle()
    await world.close()
    await world.open(App(world.outside).with_jobs(machine, sender))
    assert len(await world.messages()) == 1


@on_each_store
async def test_a_message_of_unknown_outcome_is_not_offered_again_by_an_engine_that_stops(world: World) -> None:
    jobs = await world.open(App(world.outside, limits=Limits(shutdown_timeout="1000 ms")).with_jobs(machine, sender))
    await world.run(jobs.handle(machine).send("a", steps()))
    world.fail("commit", OutcomeUnknown("the answer was lost"), after=1)
    await world.run(jobs.handle(sender).send("s", 2))
    await world.settle()
    assert engine_of(jobs).in_flight().messages == 1
    simulation = world.process.simulation
    await world.close()
    assert simulation.timers == ()


# ---------------------------------------------------------------- a defect of the engine
@attrs.define
class Brittle:
    """A reply that breaks the first time: as if the engine had a defect where it answers."""

    results: list[Any] = attrs.Factory(list[Any])
    state: str = "whole"

    def done(self) -> bool:
        return bool(self.results)

    def set_result(self, result: Any) -> None:
        if self.state == "whole":
            self.state = "broken"
            raise ZeroDivisionError
        self.results.append(result)


def posted(world: World, event: Any) -> Brittle:
    """Send an event whose answer breaks."""
    reply = Brittle()
    engine = engine_of(world.jobs)
    request = machine.parse("send", machine.encode_input("send", event, 10_000))
    engine.dispatcher.put(machine, at("a"), MailboxEntry(request, reply, pending_weight=1))
    return reply


@on_each_store
async def test_a_defect_while_a_job_is_accepted_with_its_claim(world: World) -> None:
    await world.open(app(world.outside))
    reply = posted(world, now(Say("x"), Add()))
    await world.settle()
    assert [type(each.failure()) for each in reply.results] == [OutcomeUnknown]
    await world.advance(s=5)
    row = await world.row(at("a"))
    assert row is not None
    assert (row.claim, row.due_ms, world.outside.heard) == (None, None, ["x"])
    assert engine_of(world.jobs).in_flight().is_empty


@on_each_store
async def test_a_defect_in_one_turn_of_several_that_share_a_commit(world: World) -> None:
    calls = (await world.open(app(world.outside))).handle(machine)
    await world.run(calls.send("a", steps()))
    before = len(world.commits)
    posted(world, steps(Add(1)))
    others = [world.start(calls.send("a", steps(Add(10)))) for _ in range(3)]
    await world.settle()
    assert len(world.commits) - before < 4, "some of them share a commit"
    assert all(isinstance(each.result(), Success) for each in others)
    assert engine_of(world.jobs).in_flight().is_empty


# ---------------------------------------------------------------- runs that the stop cancels
@on_each_store
async def test_an_alarm_that_the_stop_cuts_is_not_tried_again_by_this_engine(world: World) -> None:
    calls = (await world.open(app(world.outside, shutdown_timeout="1000 ms"))).handle(machine)
    await world.run(calls.send("a", OnAlarm(1_000, (Wait(60_000), Say("x")))))
    await world.advance(s=2)
    simulation = world.process.simulation
    await world.close()
    assert simulation.timers == ()


@pytest.mark.parametrize("error", [Conflict("task:machine:a"), StoreUnavailable("commit", "the disk is full")])
@on_each_store
async def test_a_claim_that_cannot_be_released_at_the_stop_is_recovered_by_the_next_engine(
    world: World, error: Exception
) -> None:
    calls = (await world.open(app(world.outside, shutdown_timeout="1000 ms"))).handle(machine)
    world.start(calls.send("a", now(Say("before"), Wait(60_000), Say("after"))))
    await world.settle()
    world.world.inject(Fail("store.commit", error, times=1_000))
    simulation = world.process.simulation
    await world.close()
    assert any("claim not released" in record.message for record in simulation.logs)
    await world.open(app(world.outside))
    await world.advance(hours=2)
    assert world.outside.heard[-1] == "after"
    row = await world.row(at("a"))
    assert row is not None
    assert row.claim is None
