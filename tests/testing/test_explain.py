"""The dry run of a request: as a value in a test, and over the rows of an open engine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import pytest
from returns.future import FutureResult
from returns.result import Failure, Success

from perdure import App, Client, TaskContext
from perdure.examples.mail import HasMailer, MailBounced, send_mail
from perdure.examples.order_processor import (
    IllegalTransition,
    Order,
    OrderPlaced,
    PaymentReceived,
    Shipped,
    order_processor,
)
from perdure.examples.webhook_batcher import Webhook, webhook_batcher
from perdure.jobs.explanation import Explained, NeedsAnswer, WaitsForRun
from perdure.kinds.task import Task
from perdure.programs import PASS, Do, asks, gather, program, sleep, succeed
from perdure.runtime.simulated import Simulation
from perdure.stores.memory import memory_store
from perdure.testing import explain, hook_context
from perdure.testing.hooks import START
from perdure.values.answer import Sent
from perdure.values.errors import DefinitionError, InvalidInput, Rejected, RunTimeout
from perdure.values.message import Message
from perdure.values.transition import Purge, Put

SENT = {"send_mail": Success(None)}
PLACED = OrderPlaced("ada", 100)


def placed() -> Explained:
    return explain(order_processor, "1", lambda order: order.send(PLACED), answers=SENT, strict=True)


# ---------------------------------------------------------------- as a value
def test_the_transition_is_a_value():
    seen = placed()
    assert isinstance(seen.transition.write, Put)
    after = seen.transition.write.instance
    assert order_processor.decode_state(after) == Order("pending", "ada", 100)
    assert (seen.version, after.version, after.alarm_ms) == (0, 2, after.created_ms + 300_000)
    assert seen.result == Success(Sent(created=True, status="scheduled", scheduled_at=START + timedelta(minutes=5)))
    assert seen.claim is not None  # the mail reaches outside


def test_explanations_follow_each_other():
    paid = explain(
        order_processor,
        "1",
        lambda order: order.send(PaymentReceived(100)),
        instance=placed().instance,
        answers=SENT,
        strict=True,
    )
    assert order_processor.decode_state(paid.instance) == Order("paid", "ada", 100, 100)
    assert (paid.version, paid.instance.alarm_ms) == (2, None)


def test_an_alarm_does_nothing_before_it_is_due():
    assert explain(order_processor, "1", "alarm", instance=placed().instance, strict=True).transition.is_empty
    due = explain(
        order_processor, "1", "alarm", instance=placed().instance, now=START + timedelta(minutes=5), strict=True
    )
    assert due.transition.write == Purge("dropped")
    assert due.instance is None


def test_an_instance_may_come_from_a_stage():
    stage = hook_context(order_processor, state=Order("paid", "ada", 100, 100), id="1")
    seen = explain(
        order_processor, "1", lambda order: order.send(Shipped("T")), instance=stage.instance, answers=SENT, strict=True
    )
    assert [type(message) for message in seen.transition.messages] == [Message]


def test_it_stops_where_an_answer_is_missing():
    seen = explain(order_processor, "1", lambda order: order.send(PLACED))
    assert isinstance(seen, NeedsAnswer)
    assert (seen.effect, seen.args[1:]) == ("send_mail", ("ada", "1: thank you for your order of 1.00"))
    with pytest.raises(AssertionError, match=r"no answer for send_mail\(.*\); pass answers={'send_mail': Success"):
        explain(order_processor, "1", lambda order: order.send(PLACED), strict=True)


def test_answers_may_be_failures_and_functions():
    bounced = Failure(MailBounced("ada"))
    seen = explain(order_processor, "1", lambda order: order.send(PLACED), answers={"send_mail": bounced}, strict=True)
    assert isinstance(seen.result, Failure)
    assert isinstance(seen.result.failure(), Rejected)
    assert seen.transition.write == Purge("dropped")  # the claim had created it
    by_function = explain(
        order_processor,
        "1",
        lambda order: order.send(PLACED),
        answers=lambda call: Success(None) if call.args else PASS,
    )
    assert by_function == placed()


def test_a_request_that_is_refused_is_explained_as_well():
    seen = explain(order_processor, "1", lambda order: order.send(Shipped("T")), strict=True)
    assert seen.result.failure().error == IllegalTransition("new", "Shipped")
    with pytest.raises(InvalidInput):
        explain(order_processor, "1", lambda order: order.send("no event"))


def test_one_thing_is_requested():
    with pytest.raises(DefinitionError, match="sends one request"):
        explain(order_processor, "1", lambda order: None)


def test_a_flush_is_explained_over_the_added_events():
    batch = explain(webhook_batcher, "1", lambda batch: batch.add(Webhook("1", "paid", "{}")), strict=True).instance
    seen = explain(
        webhook_batcher, "1", lambda batch: batch.flush(), instance=batch, answers={"push": Success(1)}, strict=True
    )
    assert seen.transition.write == Purge("kept")
    assert explain(webhook_batcher, "1", "pause", instance=batch, strict=True).instance.suspension == "paused"


@program
def busy(ctx: TaskContext[int], event: str) -> Do[None, Any, HasMailer]:
    yield from sleep("10 minutes")
    yield from gather(send_mail("1", "a", "a"), send_mail("2", "b", "b"))
    now = yield from ctx.now
    yield from ctx.schedule(at=now)


@program
def slow(ctx: TaskContext[int], event: str) -> Do[None]:
    yield from sleep("20 minutes")


def test_time_is_virtual():
    job = Task("busy", state=int, event=str, initial=0, on_event=busy, execute=lambda _: succeed(None))
    seen = explain(job, "1", lambda job: job.send("go"), answers=SENT, strict=True)
    assert seen.instance.alarm_ms == seen.instance.created_ms + 600_000
    stopped = explain(job, "1", lambda job: job.send("go"))
    assert isinstance(stopped, NeedsAnswer)
    assert stopped.args[0] == "1"


def test_the_program_does_not_continue_without_an_answer():
    reached: list[str] = []

    @program
    def continues(ctx: TaskContext[int], event: str) -> Do[None, Any, HasMailer]:
        try:
            yield from send_mail("1", "a", "a").attempt()
            reached.append("after")
        finally:
            reached.append("finally")

    job = Task("goes-on", state=int, event=str, initial=0, on_event=continues)
    assert isinstance(explain(job, "1", lambda job: job.send("go")), NeedsAnswer)
    assert reached == ["finally"]


def test_a_run_has_its_limit():
    job = Task("slow", state=int, event=str, initial=0, on_event=slow)
    failure = explain(job, "1", lambda job: job.send("go"), strict=True).result.failure()
    assert isinstance(failure, RunTimeout)


# ---------------------------------------------------------------- over a store
@attrs.define
class Mailer:
    sent: list[str] = attrs.Factory(list[str])
    greeting: str = "hello"

    @property
    def mailer(self) -> Mailer:
        return self

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        self.sent.append(text)
        return FutureResult.from_value(None)


@program
def greets(ctx: TaskContext[str], event: str) -> Do[None, Any, Any]:
    greeting = yield from asks(lambda services: services.greeting)
    yield from ctx.set_state(greeting)


greeter = Task("greeter", state=str, event=str, initial="", on_event=greets)


def play(scenario: Callable[[Client, Simulation], Any], mailer: Mailer) -> None:
    simulation = Simulation()

    async def main() -> None:
        app = App(mailer).with_jobs(order_processor, greeter)
        async with app.open(memory_store(), runtime=simulation.runtime) as jobs:
            await scenario(jobs, simulation)

    simulation.run(main())


def test_nothing_is_written_and_no_effect_performed():
    mailer = Mailer()

    async def scenario(jobs: Client, _: Simulation) -> None:
        orders = jobs.handle(order_processor)
        await orders.send("1", PLACED)
        before = (await orders.status("1"), await jobs.history(order_processor, "1"), list(mailer.sent))
        paid = await jobs.explain(order_processor, "1", lambda order: order.send(PaymentReceived(100)), answers=SENT)
        assert isinstance(paid, Explained)
        assert order_processor.decode_state(paid.instance).status == "paid"
        assert isinstance(
            await jobs.explain(order_processor, "1", lambda order: order.send(PaymentReceived(100))),
            NeedsAnswer,
        )
        assert before == (
            await orders.status("1"),
            await jobs.history(order_processor, "1"),
            mailer.sent,
        )

    play(scenario, mailer)


def test_a_remembered_answer_is_returned_again():
    async def scenario(jobs: Client, _: Simulation) -> None:
        first = await jobs.handle(order_processor).send("1", PLACED, idempotency_key="k")
        seen = await jobs.explain(order_processor, "1", lambda order: order.send(PLACED), idempotency_key="k")
        assert isinstance(seen, Explained)
        assert (seen.result, seen.transition.is_empty) == (Success(first), True)

    play(scenario, Mailer())


def test_programs_see_the_services():
    async def scenario(jobs: Client, _: Simulation) -> None:
        seen = await jobs.explain(greeter, "1", lambda job: job.send("go"))
        assert isinstance(seen, Explained)
        assert greeter.decode_state(seen.instance) == "hello"

    play(scenario, Mailer())


def test_a_bad_request_is_refused_as_ever():
    async def scenario(jobs: Client, _: Simulation) -> None:
        with pytest.raises(InvalidInput):
            await jobs.explain(order_processor, "1", lambda order: order.send("no event"))
        with pytest.raises(InvalidInput):
            await jobs.handle_by_name("task", "order-processor").explain("send", "1", "{}")

    play(scenario, Mailer())


def test_it_can_be_called_by_name():
    async def scenario(jobs: Client, _: Simulation) -> None:
        orders = jobs.handle_by_name("task", "order-processor")
        payload = '{"type":"OrderPlaced","owner":"ada","amount":100}'
        seen = await orders.explain("send", "1", payload, answers=SENT)
        assert (seen["form"], seen["before"], seen["write"]) == ("explained", None, "put")
        assert (seen["after"]["state"]["owner"], seen["answer"]["created"]) == ("ada", True)
        nothing = await orders.explain("alarm", "1")
        assert (nothing["write"], nothing["messages"], nothing["events"]) == ("keep", [], [])

    play(scenario, Mailer())


@attrs.define
class Slow(Mailer):
    """Answers in its own time."""

    simulation: Any = None

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        async def later() -> Any:
            await self.simulation.runtime.sleep(1_000)
            return Success(None)

        return FutureResult(later())


def test_a_request_that_must_wait_for_a_run_says_so():
    mailer = Slow()

    async def scenario(jobs: Client, simulation: Simulation) -> None:
        mailer.simulation = simulation
        sending = simulation.runtime.spawn(jobs.handle(order_processor).send("1", PLACED), name="caller")
        await simulation.runtime.sleep(500)
        waiting = await jobs.explain(order_processor, "1", lambda order: order.terminate("now"))
        assert isinstance(waiting, Explained)  # an event's claim does not hold a terminate back
        await sending

    play(scenario, mailer)
    claimed = placed().claim
    assert claimed is not None
    assert isinstance(claimed.write, Put)
    left = claimed.write.instance.changed(incarnation=1)
    seen = explain(order_processor, "1", lambda order: order.send(PLACED), instance=left, answers=SENT)
    assert isinstance(seen, WaitsForRun)
    with pytest.raises(AssertionError, match="would wait for the run"):
        explain(order_processor, "1", lambda order: order.send(PLACED), instance=left, answers=SENT, strict=True)
