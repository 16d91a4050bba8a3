"""Values that a workflow publishes while it runs: callers and other workflows wait for them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import attrs
import pytest
from attrs import frozen
from returns.result import Failure, Success

from perdure import App, Do, Limits, Published, Secret, Signal, Workflow, WorkflowContext, program
from perdure.client.client import Client, gateway_of
from perdure.client.local_gateway import engine_of
from perdure.kinds.workflow.definition import MAX_PUBLISHED
from perdure.kinds.workflow.header import MAX_WATCHERS
from perdure.kinds.workflow.journal import MAX_PUBLISHED_BYTES
from perdure.programs import EffectTimeout, race
from perdure.remote import connect
from perdure.server.serving import serving
from perdure.testing import WorkerDied, World
from perdure.values.answer import Done
from perdure.values.errors import DefinitionError, InvalidArgument, NotPublished
from perdure.values.outcome import Failed
from perdure.values.status_wait import PublishedValue, WaitOver


@frozen
class Parcel:
    number: str
    grams: int


tracking = Published("tracking", Parcel)
progress = Published("progress", int)
pin = Published("pin", Annotated[str, Secret])
go = Signal("go", str)


@program
def shipped(ctx: WorkflowContext[int]) -> Do[str]:
    """Publish a number at each signal, and a parcel at the signal ``ship``."""
    count = 0
    while True:
        word = yield from go.receive()
        count += 1
        yield from progress.publish(count)
        match word:
            case "ship":
                yield from tracking.publish(Parcel(ctx.id, count))
            case "secret":
                yield from pin.publish("1234")
            case "large":
                yield from tracking.publish(Parcel("x" * MAX_PUBLISHED_BYTES, 1))
            case "over":
                yield from ctx.start_over(count)
            case "end":
                return "ended"
            case _:
                pass


orders = Workflow("orders", state=int, run=shipped, signals=(go,), publishes=(tracking, progress, pin), keep="1 day")


@program
def billed(ctx: WorkflowContext[str]) -> Do[Parcel, NotPublished]:
    return (yield from orders.published((yield from ctx.state), tracking))


@program
def patient(ctx: WorkflowContext[str]) -> Do[str]:
    found = yield from orders.published((yield from ctx.state), tracking).timeout("1 minute").attempt()
    match found:
        case Success(parcel):
            return parcel.number
        case Failure(EffectTimeout()):
            return "late"
        case Failure(NotPublished(reason=reason)):
            return reason
        case _:
            raise AssertionError(found)


bills = Workflow("bills", state=str, run=billed)
patients = Workflow("patients", state=str, run=patient)
JOBS = (orders, bills, patients)


def opened(place: Any = "memory://", **options: Any) -> World:
    return World(App(None, **options).with_jobs(*JOBS), store=place)


def told(world: World, id_: str, *words: str) -> None:
    for word in words:
        world.run(world.handle(orders).signal(id_, go, word))
    world.settle()


@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_callers_wait_for_a_value_and_late_ones_get_it_immediately(store: str, tmp_path: Path) -> None:
    with opened(store if "://" in store else tmp_path / store) as world:
        order = world.handle(orders)
        world.run(order.start("a", 0))
        waiting = world.start(order.published("a", tracking, timeout="1 hour"))
        world.settle()
        told(world, "a", "on")
        assert not waiting.is_answered
        assert world.run(order.published("a", progress, timeout="0 ms")) == 1
        told(world, "a", "ship")
        assert waiting.answer() == Parcel("a", 2)
        assert world.run(order.published("a", progress)) == 2
        world.crash()
        world.open()
        assert world.run(order.published("a", tracking, timeout="0 ms")) == Parcel("a", 2)
        told(world, "a", "over")
        assert world.run(order.published("a", tracking, timeout="0 ms")) == Parcel("a", 2)
        told(world, "a", "ship", "end")
        # The newest value of each name, also of one that started over, and has ended.
        assert world.run(order.published("a", tracking)) == Parcel("a", 1)
        assert world.run(order.outcome("a")) == Done(value="ended")
        late = world.error_of(order.published("a", pin))
        assert isinstance(late, NotPublished)
        assert (late.reason, str(late)) == ("ended", "workflow:orders:a does not publish 'pin': it has ended")


def assert_absent(error: object) -> None:
    assert isinstance(error, NotPublished)
    assert (error.address, error.name, error.reason) == ("workflow:orders:a", "tracking", "absent")


def test_a_wait_that_is_over_and_an_absent_workflow_are_typed_errors() -> None:
    with opened() as world:
        order = world.handle(orders)
        assert_absent(world.error_of(order.published("a", tracking)))
        world.run(order.start("a", 0))
        late = world.error_of(order.published("a", tracking, timeout="1 minute"))
        assert isinstance(late, WaitOver)
        assert "did not publish 'tracking'" in str(late)
        waiting = world.start(order.published("a", tracking, timeout="1 hour"))
        world.settle()
        world.run(order.terminate("a"))
        found = waiting.result()
        assert isinstance(found, Failure)
        assert_absent(found.failure())


@pytest.mark.parametrize("first", ["watcher", "value"])
@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_a_workflow_waits_for_the_value_of_another_one(first: str, store: str, tmp_path: Path) -> None:
    with opened(store if "://" in store else tmp_path / store) as world:
        world.run(world.handle(orders).start("a", 0))
        if first == "value":
            told(world, "a", "ship")
        world.run(world.handle(bills).start("b", "a"))
        world.settle()
        if first == "watcher":
            told(world, "a", "ship")
        assert world.run(world.handle(bills).outcome("b")) == Done(value=Parcel("a", 1))
        step = world.run(world.handle(bills).steps("b"))[0]
        assert (step.name, step.status) == ("await workflow:orders:a published tracking", "done")
        assert step.value == '{"number":"a","grams":1}'


@pytest.mark.parametrize(("end", "reason"), [("end", "ended"), ("terminate", "ended"), ("absent", "absent")])
def test_a_workflow_that_waits_for_nothing_gets_a_typed_error(end: str, reason: str) -> None:
    with opened() as world:
        if end != "absent":
            world.run(world.handle(orders).start("a", 0))
        world.run(world.handle(bills).start("b", "a"))
        world.settle()
        if end == "end":
            told(world, "a", "end")
        elif end == "terminate":
            world.run(world.handle(orders).terminate("a"))
            world.settle()
        found = world.run(world.handle(bills).outcome("b"))
        assert isinstance(found, Failed)
        assert isinstance(found.error, NotPublished)
        assert (found.error.address, found.error.name, found.error.reason) == ("workflow:orders:a", "tracking", reason)


def test_a_wait_with_a_time_limit_is_withdrawn() -> None:
    with opened() as world:
        world.run(world.handle(orders).start("a", 0))
        for number in range(MAX_WATCHERS + 1):
            world.run(world.handle(patients).start(str(number), "a"))
        world.settle()
        # One more than wait for it at most is refused.
        assert world.run(world.handle(patients).outcome(str(MAX_WATCHERS))) == Done(value="full")
        world.advance("1 minute")
        world.settle()
        assert world.run(world.handle(patients).outcome("0")) == Done(value="late")
        world.run(world.handle(bills).start("b", "a"))
        world.settle()
        told(world, "a", "ship")
        assert world.run(world.handle(bills).outcome("b")) == Done(value=Parcel("a", 1))


@pytest.mark.parametrize("point", range(1, 26))
def test_each_side_may_die_at_any_commit(point: int) -> None:
    with opened() as world:
        world.crash_after(point)
        steps = (
            lambda: world.run(world.handle(orders).start("a", 0)),
            lambda: world.run(world.handle(bills).start("b", "a", idempotency_key="b")),
            lambda: world.run(world.handle(orders).signal("a", go, "ship", idempotency_key="1")),
            world.settle,
        )
        for step in steps:
            try:
                step()
            except WorkerDied:
                world.open()
                step()
        world.cancel_crash()
        world.settle()
        assert world.run(world.handle(bills).outcome("b")) == Done(value=Parcel("a", 1))
        assert world.run(world.handle(orders).published("a", tracking, timeout="0 ms")) == Parcel("a", 1)


def test_values_have_a_size_and_a_number_and_are_declared() -> None:
    with opened(limits=Limits(payload_bytes=2 * MAX_PUBLISHED_BYTES)) as world:
        world.run(world.handle(orders).start("a", 0))
        told(world, "a", "large")
        parked = world.run(world.handle(orders).status("a"))
        assert parked.parked is not None
        assert parked.last_error is not None
        assert f"more than the {MAX_PUBLISHED_BYTES} of a published value" in parked.last_error.message
        wrong: Any = "tracking"
        assert isinstance(world.error_of(world.handle(orders).published("a", wrong)), InvalidArgument)
        other = world.error_of(world.handle(orders).published("a", Published("trackin", Parcel)))
        assert isinstance(other, InvalidArgument)
        assert "pin, progress, tracking" in str(other)
    many = tuple(Published(str(number), int) for number in range(MAX_PUBLISHED + 1))
    Workflow("many", state=int, run=shipped, publishes=many[:-1])
    for wrong_values in (many, (tracking, tracking), ("tracking",), 5):
        with pytest.raises(DefinitionError):
            Workflow("many", state=int, run=shipped, publishes=wrong_values)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError):
        Published("a:b", int)


def test_a_value_that_is_not_declared_parks_the_workflow() -> None:
    @program
    def undeclared(ctx: WorkflowContext[int]) -> Do[int]:
        yield from progress.publish(1)
        return (yield from ctx.state)

    job = Workflow("undeclared", state=int, run=undeclared)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("a", 0))
        world.settle()
        parked = world.run(world.handle(job).status("a"))
        assert parked.last_error is not None
        assert "add it to publishes=(...)" in parked.last_error.message


def test_secrets_are_shown_to_callers_alone() -> None:
    with opened() as world:
        world.run(world.handle(orders).start("a", 0))
        told(world, "a", "secret")
        assert world.run(world.handle(orders).published("a", pin)) == "1234"
        assert "1234" not in str(world.run(world.handle(orders).steps("a")))


def test_a_branch_that_publishes_beside_a_wait() -> None:
    @program
    def both(ctx: WorkflowContext[int]) -> Do[int]:
        @program
        def one() -> Do[int]:
            yield from progress.publish(7)
            yield from go.receive()
            return 1

        return (yield from race(one(), go.receive().map(lambda _: 2)))

    job = Workflow("both", state=int, run=both, signals=(go,), publishes=(progress,))
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("a", 0))
        assert world.run(world.handle(job).published("a", progress)) == 7


def test_other_processes_wait_over_several_requests() -> None:
    async def main() -> Any:
        async with (
            App(None).with_jobs(*JOBS).open("memory://") as local,
            serving(local, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], orders) as connected,
        ):
            await local.handle(orders).start("a", 0)
            jobs = Client(attrs.evolve(gateway_of(connected), longest_wait_ms=20))
            named = jobs.handle_by_name("workflow", "orders")
            late = await named.until_published("a", "tracking", timeout="50 ms")
            asked = asyncio.ensure_future(jobs.handle(orders).published("a", tracking))
            while engine_of(local).waits.count < 1:  # noqa: ASYNC110 - of another task of this loop
                await asyncio.sleep(0)
            await local.handle(orders).signal("a", go, "ship")
            parcel = await asked
            absent = await named.published("b", "tracking")
            try:
                await named.published("a", "trackin")
            except InvalidArgument as wrong:
                return late, parcel, await named.published("a", "tracking"), absent, wrong
            raise AssertionError

    late, parcel, read, absent, wrong = asyncio.run(main())
    assert (late.form, absent.form) == ("waiting", "absent")
    assert parcel == Parcel("a", 1)
    assert read == PublishedValue(form="published", value='{"number":"a","grams":1}')
    assert "tracking" in str(wrong)
