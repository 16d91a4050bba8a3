"""Values that a workflow publishes while it runs: callers and other workflows wait for them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import attrs
import pytest
from attrs import frozen
from hypothesis import settings
from postgres_harness import SharedPostgresHarness
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Do,
    Limits,
    Promise,
    Published,
    Secret,
    Signal,
    Task,
    TaskContext,
    Workflow,
    WorkflowContext,
    effect,
    program,
    tell,
)
from perdure.client.client import Client, gateway_of
from perdure.client.local_gateway import engine_of
from perdure.kinds.workflow import Fulfilled, Settlement, promise_of
from perdure.kinds.workflow.definition import MAX_PUBLISHED
from perdure.kinds.workflow.header import MAX_WATCHERS
from perdure.kinds.workflow.journal import MAX_PUBLISHED_BYTES
from perdure.programs import EffectTimeout, gather, now, race, sleep
from perdure.remote import connect
from perdure.server.serving import serving
from perdure.testing import Delay, WorkerDied, World
from perdure.testing.journal import check_journal
from perdure.values.answer import Done
from perdure.values.errors import (
    DefinitionError,
    InvalidArgument,
    InvalidId,
    InvalidInput,
    NotPublished,
    Rejected,
    SignalRefused,
)
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


# ------------------------------------------------------------ promises
@frozen
class Declined:
    why: str


payment = Promise("payment", int, Declined)
consent = Promise("consent", str)


@program
def paid(ctx: WorkflowContext[int]) -> Do[str, Declined | EffectTimeout]:
    cents = yield from payment.wait()
    again = yield from payment.wait()
    by = yield from consent.wait().timeout("1 hour")
    return f"{cents} {again} {by} {payment.id_of(ctx.address)}"


payments = Workflow("payments", state=int, run=paid, promises=(payment, consent), keep="1 day")


@program
def informed(ctx: WorkflowContext[str]) -> Do[int, Declined | NotPublished]:
    return (yield from payments.published((yield from ctx.state), payment))


receipts = Workflow("receipts", state=str, run=informed)


@program
def passing(ctx: TaskContext[int], event: int) -> Do[None]:
    if event < 0:
        yield from tell(payments, "p").fail(payment, Declined("no money"))
    else:
        yield from tell(payments, "p").complete(payment, event)


bank = Task("bank", state=int, event=int, initial=0, on_event=passing)
PROMISED = (payments, receipts, bank)


@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_a_promise_has_the_first_outcome_for_all_that_wait(store: str, tmp_path: Path) -> None:
    place: Any = store if "://" in store else tmp_path / store
    with World(App(None).with_jobs(*PROMISED), store=place) as world:
        flow = world.handle(payments)
        world.run(flow.start("p", 0))
        world.run(world.handle(receipts).start("r", "p"))
        world.advance("1 s")
        assert isinstance(world.error_of(flow.published("p", payment, timeout="1 s")), WaitOver)
        assert world.run(flow.complete("p", payment, 7)) == Settlement(accepted=True, outcome=Fulfilled(7))
        for call in (flow.complete("p", payment, 8), flow.fail("p", payment, Declined("late"))):
            assert world.run(call) == Settlement(accepted=False, outcome=Fulfilled(7))
        world.run(world.handle(bank).send("b", 9))
        world.advance("1 s")
        assert world.run(flow.published("p", payment)) == 7
        assert world.run(world.handle(receipts).outcome("r")) == Done(value=7)
        world.restart(App(None).with_jobs(*PROMISED))
        flow = world.handle(payments)
        world.run(flow.complete("p", consent, "Ann"))
        world.advance("1 s")
        assert world.run(flow.outcome("p")) == Done(value="7 7 Ann workflow:payments:p/payment")
        # The outcome of a workflow that has ended is kept with it.
        assert world.run(flow.complete("p", payment, 8)).outcome == Fulfilled(7)
        assert [step.name for step in world.run(flow.steps("p"))] == [
            "promise payment",
            "promise payment",
            "promise consent",
        ]


def test_a_promise_fails_with_its_typed_error_by_a_message() -> None:
    with World(App(None).with_jobs(*PROMISED)) as world:
        flow = world.handle(payments)
        world.run(flow.start("p", 0))
        world.run(world.handle(receipts).start("r", "p"))
        world.run(world.handle(bank).send("b", -1))
        world.advance("1 s")
        assert world.run(flow.outcome("p")) == Failed(Declined("no money"))
        assert world.run(world.handle(receipts).outcome("r")) == Failed(Declined("no money"))
        refused = world.error_of(flow.published("p", payment))
        assert isinstance(refused, Rejected)
        assert refused.error == Declined("no money")


def test_a_promise_before_the_wait_and_a_wait_with_a_limit() -> None:
    with World(App(None).with_jobs(*PROMISED)) as world:
        flow = world.handle(payments)
        absent = world.error_of(flow.complete("p", payment, 1))
        assert isinstance(absent, SignalRefused)
        assert absent.found == "absent"
        world.run(flow.start("p", 0, after="1 minute"))
        world.run(flow.complete("p", payment, 1))
        world.advance("2 minutes")
        assert world.run(flow.status("p")).status == "scheduled"
        world.advance("2 hours")
        assert isinstance(world.run(flow.outcome("p")), Failed)
        ended = world.error_of(flow.complete("p", consent, "Ann"))
        assert isinstance(ended, SignalRefused)
        assert ended.found == "ended"


def test_a_paused_workflow_stores_the_outcome_of_a_promise() -> None:
    with World(App(None).with_jobs(*PROMISED)) as world:
        flow = world.handle(payments)
        world.run(flow.start("p", 0))
        world.run(flow.pause("p"))
        world.run(flow.fail("p", payment, Declined("no")))
        world.advance("1 s")
        assert world.run(flow.outcome("p")) is None
        world.run(flow.resume("p"))
        world.advance("1 s")
        assert world.run(flow.outcome("p")) == Failed(Declined("no"))


def test_a_promise_that_is_settled_during_a_step_is_received_beside_it() -> None:
    @program
    def busy(ctx: WorkflowContext[int]) -> Do[int, str]:
        @program
        def noting() -> Do[int, str]:
            cents = yield from payment.wait().or_raise()
            yield from settled_at.publish((yield from now()).second)
            return cents

        _, cents = yield from gather(sleep("1 s").bind(lambda _: working()), noting())
        return cents

    settled_at = Published("settled_at", int)
    job = Workflow("busy", state=int, run=busy, promises=(payment,), publishes=(settled_at,), keep=None)
    with World(App(None).with_jobs(job)) as world:
        world.inject(Delay("working", "5 seconds"))
        world.run(world.handle(job).start("b", 0))
        for seconds in (3, 10):
            world.advance(f"{seconds} s")
            world.run(world.handle(job).complete("b", payment, seconds))
        assert world.run(world.handle(job).outcome("b")) == Done(value=3)
        assert world.run(world.handle(job).published("b", settled_at)) == 3


@effect
def working(services: object) -> Result[int, str]:
    return Success(1)


def test_every_crash_leaves_one_outcome_of_a_promise() -> None:
    def lived(crash: int | None) -> tuple[Any, int]:
        with World(App(None).with_jobs(*PROMISED)) as world:
            world.crash_after(crash) if crash is not None else None
            settled: list[Any] = []
            for act in (
                lambda: world.run(world.handle(payments).start("p", 0, idempotency_key="s")),
                lambda: world.run(world.handle(receipts).start("r", "p", idempotency_key="s")),
                lambda: settled.append(world.run(world.handle(payments).complete("p", payment, 1)).outcome),
                lambda: settled.append(world.run(world.handle(payments).complete("p", payment, 2)).outcome),
                lambda: world.run(world.handle(payments).complete("p", consent, "Ann")),
                lambda: world.advance("1 minute"),
            ):
                while True:
                    try:
                        world.open() if not world.is_open else None
                        act()
                        break
                    except WorkerDied:
                        continue
            points = len(world.crash_points)
            world.cancel_crash()
            world.open() if not world.is_open else None
            world.advance("1 minute")
            assert settled == [Fulfilled(1)] * 2
            ends = world.run(world.handle(payments).outcome("p")), world.run(world.handle(receipts).outcome("r"))
            return ends, points

    (complete, points) = lived(None)
    assert complete == (Done(value="1 1 Ann workflow:payments:p/payment"), Done(value=1))
    for crash in range(points):
        assert lived(crash)[0] == complete


@pytest.mark.parametrize("signals", ["keep", "drop"])
def test_a_fork_has_the_outcomes_that_its_steps_have_seen_and_those_that_wait(signals: Any) -> None:
    with World(App(None).with_jobs(*PROMISED)) as world:
        flow = world.handle(payments)
        world.run(flow.start("p", 0))
        for promise, value in ((payment, 7), (consent, "Ann")):
            world.run(flow.complete("p", promise, value))  # type: ignore[arg-type]
            world.advance("1 s")
        world.run(flow.fork("f", "p", step="promise consent", signals=signals))
        world.advance("1 s")
        assert world.run(flow.complete("f", payment, 9)).outcome == Fulfilled(7)
        assert world.run(flow.complete("f", consent, "Bob")).outcome == Fulfilled("Ann" if signals == "keep" else "Bob")


def test_promises_are_checked() -> None:
    for name in ("a/b", "a:b", ""):
        with pytest.raises(DefinitionError, match="name of a promise"):
            Promise(name, int)
    most = tuple(Promise(f"p{number}", int) for number in range(MAX_PUBLISHED - 1))
    Workflow("most", state=int, run=paid, promises=most, publishes=(progress,))
    with pytest.raises(DefinitionError, match="at most 20 values, promises included"):
        Workflow("more", state=int, run=paid, promises=most, publishes=(progress, tracking))
    with pytest.raises(DefinitionError, match="names that no published value has"):
        Workflow("both", state=int, run=paid, promises=(payment,), publishes=(Published("payment", int),))
    address = payments.address("7/8")
    assert promise_of(payment.id_of(address)) == (address, "payment")
    for text in ("payment", "workflow:payments/", "payments/7/payment"):
        with pytest.raises(InvalidId):
            promise_of(text)
    with World(App(None).with_jobs(*PROMISED)) as world:
        flow = world.handle(payments)
        world.run(flow.start("p", 0))
        assert isinstance(world.error_of(flow.complete("p", "payment", 1)), InvalidArgument)  # type: ignore[arg-type]
        assert isinstance(world.error_of(flow.complete("p", payment, "one")), InvalidInput)  # type: ignore[misc]
        fits = MAX_PUBLISHED_BYTES - len('{"type":"Fulfilled","value":""}')
        assert isinstance(world.error_of(flow.complete("p", consent, "x" * (fits + 1))), InvalidInput)
        assert world.run(flow.complete("p", consent, "x" * fits)).accepted


def test_generated_journals_settle_the_promises() -> None:
    check_journal(payments, lambda flow: flow.start(1), settings=settings(max_examples=10))


def test_a_client_in_another_process_settles_a_promise_and_waits_for_it() -> None:
    async def main() -> Any:
        async with (
            App(None).with_jobs(*PROMISED).open("memory://") as local,
            serving(local, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], payments) as jobs,
        ):
            flow, named = jobs.handle(payments), jobs.handle_by_name("workflow", "payments")
            await local.handle(payments).start("p", 0)
            first = await flow.complete("p", payment, 5)
            second = await named.call("fail.payment", "p", '{"why":"late"}')
            found = await flow.published("p", payment), await named.until_published("p", "payment")
            await flow.complete("p", consent, "Ann")
            return first, second, found, await flow.start_and_wait("p", 0)

    first, second, found, end = asyncio.run(main())
    assert first == Settlement(accepted=True, outcome=Fulfilled(5))
    assert (second["accepted"], second["settled"]) == (False, '{"type":"Fulfilled","value":5}')
    assert found == (5, PublishedValue(form="published", value='{"type":"Fulfilled","value":5}'))
    assert end == Done(value="5 5 Ann workflow:payments:p/payment")


def test_engines_on_one_postgres_settle_a_promise_once(postgres_url: str) -> None:
    harness = SharedPostgresHarness(postgres_url)

    async def main() -> Any:
        app = App(None).with_jobs(*PROMISED)
        async with app.open(harness.url) as one, app.open(harness.url) as other:
            await one.handle(payments).start("p", 0)
            calls = [client.handle(payments).complete("p", payment, n) for n, client in enumerate([one, other] * 5)]
            settled = await asyncio.gather(*calls)
            await other.handle(payments).complete("p", consent, "Ann")
            return settled, await one.handle(payments).start_and_wait("p", 0)

    settled, end = asyncio.run(main())
    (winner,) = (each for each in settled if each.accepted)
    assert {each.outcome for each in settled} == {winner.outcome}
    cents = winner.outcome.value
    assert end == Done(value=f"{cents} {cents} Ann workflow:payments:p/payment")
