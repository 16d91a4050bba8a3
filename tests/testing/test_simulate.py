"""`simulate`: the actions and the exit of one run of a program."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure import Do, Task, effect, program
from perdure.examples.mail import MailBounced
from perdure.examples.order_processor import (
    IllegalTransition,
    Order,
    OrderPlaced,
    PaymentReceived,
    Shipped,
    on_order_alarm,
    on_order_event,
    order_processor,
)
from perdure.examples.token_refresher import AuthRevoked, Token, TokenState, refresh_token, token_refresher
from perdure.examples.webhook_batcher import Batch, Webhook, flush, webhook_batcher
from perdure.jobs.context import SetState
from perdure.jobs.draft import DraftInBranch
from perdure.programs import Raised, asks, bracket, fail, gather, log, now, race, sleep, succeed, when
from perdure.programs.instructions import EffectTimeout, ServiceCall
from perdure.testing import (
    Crash,
    EffectStep,
    Hang,
    HookContext,
    Hung,
    NoAnswer,
    NoReply,
    ProcessDied,
    Raise,
    Simulated,
    failure_reports,
    fake_services,
    hook_context,
    simulate,
)
from perdure.testing.simulated_run import difference
from perdure.values.errors import InvalidInput, RunTimeout
from perdure.values.retry import Backoff, Retry

PAID = Order("paid", "ada", 100, 100)


@attrs.frozen
class Refused:
    why: str = ""


class HasHeard(Protocol):
    @property
    def heard(self) -> list[str]: ...


@attrs.define
class Outside:
    """Every service of these tests: it remembers what reached it."""

    heard: list[str] = attrs.Factory(list[str])
    refusals: int = 0

    @property
    def mailer(self) -> Outside:
        return self

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        self.heard.append(text)
        return FutureResult.from_value(None)


@effect
def say(services: HasHeard, word: str) -> FutureResult[int, Refused]:
    services.heard.append(word)
    return FutureResult.from_value(len(word))


@effect
def refuse(services: HasHeard) -> Result[int, Refused]:
    services.heard.append("refuse")
    return Failure(Refused("no"))


@effect
def unannotated(services: HasHeard):
    return Success(1)


def shipped(**inputs: Any) -> HookContext[Any, Order]:
    return hook_context(order_processor, state=PAID, id="order-1", **inputs)


# ---------------------------------------------------------------- against services
def test_a_hook_is_run_on_its_stage():
    stage, outside = shipped(), Outside()
    seen = simulate(on_order_event(stage.ctx, Shipped("T-1")), outside, on=stage)
    assert seen.value() is None
    assert seen.state == attrs.evolve(PAID, status="shipped", tracking="T-1")
    assert seen.alarm == stage.now + timedelta(hours=24)
    assert [(str(message.target), message.action) for message in seen.messages] == [
        ("continuous:token-refresher:ada", "trigger")
    ]
    assert [(call.name, call.args[:2], call.answer) for call in seen.effects] == [
        ("send_mail", ("run-1", "ada"), Success(None))
    ]
    assert outside.heard == ["order-1: shipped, tracking T-1"]
    assert seen.committed == seen.draft
    assert seen.never_run == ()


def test_nothing_of_a_run_that_failed_is_kept():
    stage = shipped()
    seen = simulate(on_order_event(stage.ctx, OrderPlaced("ada", 100)), Outside(), on=stage)
    assert seen.error() == IllegalTransition("paid", "OrderPlaced")
    assert (seen.committed, seen.state, seen.effects) == (None, PAID, ())


def test_a_run_that_ends_its_instance_says_why():
    stage = hook_context(order_processor, state=Order("pending", "ada", 100))
    seen = simulate(on_order_alarm(stage.ctx), Outside(), on=stage)
    assert (seen.ended, seen.committed) == ("unpaid", None)


def test_each_kind_has_its_stage():
    tick = datetime(2026, 2, 1, tzinfo=UTC)
    tokens = hook_context(token_refresher, state=TokenState("old", "r", tick), tick=tick, missed=2, attempt=2)
    assert (tokens.ctx.tick, tokens.ctx.missed, tokens.ctx.is_retry) == (tick, 2, True)
    batch = hook_context(webhook_batcher, state=Batch((Webhook("1", "paid", "{}"),)), flush_reason="manual")
    assert (batch.ctx.flush_reason, batch.ctx.event_count) == ("manual", 0)


@given(fake_services(failures="never"))
def test_containers_are_simulated_as_well(fakes):
    batch = hook_context(webhook_batcher, state=Batch((Webhook("1", "paid", "{}"),)), flush_reason="manual")
    seen = simulate(flush(batch.ctx), fakes, on=batch)
    assert [call.args for call in seen.calls("push")] == [("run-1", batch.state.events)]


def test_a_state_of_another_type_is_refused():
    with pytest.raises(InvalidInput, match="order-processor"):
        hook_context(order_processor, state="no order")


def test_the_draft_refuses_the_same_arguments_as_ever():
    stage = shipped()
    seen = simulate(gather(stage.ctx.set_state(PAID), stage.ctx.set_state(PAID)), None, on=stage)
    assert isinstance(seen.exit, Raised)
    assert isinstance(seen.exit.cause, DraftInBranch)
    wrong = simulate(stage.ctx.set_state("no order"), None, on=stage)
    assert isinstance(wrong.exit, Raised)
    assert isinstance(wrong.exit.cause, InvalidInput)
    assert isinstance(wrong.trace[0].answer, Raised)


def test_an_exception_of_a_service_is_a_defect():
    @effect
    def broken(services: object) -> Result[int, str]:
        raise RuntimeError("broken")

    seen = simulate(broken(), None)
    assert isinstance(seen.exit, Raised)
    assert isinstance(seen.effects[0].answer, Raised)


# ---------------------------------------------------------------- time and concurrency
def test_time_is_virtual():
    @program
    def waits() -> Do[datetime]:
        yield from sleep("2 hours")
        return (yield from now())

    start = datetime(2026, 3, 29, tzinfo=UTC)
    seen = simulate(waits(), None, now=start)
    assert seen.value() == start + timedelta(hours=2)
    assert seen.elapsed == seen.slept == timedelta(hours=2)


def test_a_timeout_is_part_of_the_trace():
    seen = simulate(sleep("2 hours").timeout("1 minute"), None)
    assert seen.error() == EffectTimeout(timedelta(minutes=1))
    assert [(type(step).__name__, step.branch) for step in seen.trace] == [
        ("SleepStep", "timeout"),
        ("TimeoutStep", ""),
    ]
    assert seen.elapsed == timedelta(minutes=1)


def test_branches_are_named_and_take_turns_in_order():
    seen = simulate(gather(sleep("1 s").bind(lambda _: say("late")), say("soon"), race(say("a"), say("b"))), Outside())
    assert seen.value() == (4, 4, 1)
    assert [(call.args[0], call.branch, call.at_ms) for call in seen.effects] == [
        *(("soon", "gather[1]", 0), ("a", "gather[2].race[0]", 0), ("b", "gather[2].race[1]", 0)),
        ("late", "gather[0]", 1_000),
    ]


def test_a_retry_waits_in_virtual_time():
    seen = simulate(refuse().retry(Retry(max_attempts=3, delay=Backoff.constant("1 hour"), jitter=False)), Outside())
    assert seen.error() == Refused("no")
    assert [call.call for call in seen.calls("refuse")] == [1, 2, 3]
    assert seen.elapsed == timedelta(hours=2)


def test_a_run_is_cancelled_when_its_time_is_up():
    seen = simulate(
        bracket(say("open"), lambda _: sleep("1 day"), lambda _: say("close")), Outside(), run_timeout="1 hour"
    )
    assert isinstance(seen.exit, Raised)
    assert isinstance(seen.exit.cause, RunTimeout)
    assert [call.args[0] for call in seen.effects] == ["open", "close"]
    assert seen.elapsed == timedelta(hours=1)


def test_logged_events_are_kept():
    seen = simulate(log("said", level="warning", word="a"), None)
    assert [(line.record.level, line.record.fields) for line in seen.logs] == [("warning", {"word": "a"})]


def test_a_seed_draws_another_order():
    racers = gather(*(sleep("1 s").bind(lambda _, word=word: say(word)) for word in "abcdef"))

    def order(seed: int) -> tuple[str, ...]:
        return tuple(call.args[0] for call in simulate(racers, Outside(), seed=seed).effects)

    assert order(3) == order(3)
    assert len({order(seed) for seed in range(20)}) > 5


# ---------------------------------------------------------------- programs built and never run
@program
def forgetful(ctx: Any) -> Do[Any, Any, Any]:
    say("forgotten")
    say("wrapped").attempt()
    ctx.set_state(PAID)
    fail("unnoticed")
    forgetful(ctx)
    yield from when(False, say("decided against"))
    fallback = say("fallback")
    yield from say("run").lash(lambda _: fallback)
    later = [say("in a list")]
    for told in later:
        yield from told
    yield from gather(say("one"), say("two"))


def test_an_unused_program_is_reported():
    stage = shipped()
    seen = simulate(forgetful(stage.ctx), Outside(), on=stage)
    assert [each.program for each in seen.never_run] == [
        "<Program perform say('forgotten')>",
        "<Program attempt>",
        f"<Program perform {SetState(PAID)!r}>",
        "<Program fail 'unnoticed'>",
        "<Program forgetful>",
    ]
    first = forgetful.__wrapped__.__code__.co_firstlineno
    assert [each.place.line - first for each in seen.never_run] == [2, 3, 4, 5, 6]
    assert str(seen.never_run[0]) == f"<Program perform say('forgotten')> of test_simulate.py:{first + 2}"


def test_a_program_built_before_the_run_is_not_reported():
    spare = say("spare")
    assert simulate(say("run"), Outside()).never_run == ()
    assert simulate(spare, Outside()).value() == 5


def test_programs_that_were_built_in_a_simulation_run_outside_of_it():
    kept: list[Any] = []

    @program
    def keeps() -> Do[None]:
        kept.append(succeed(1))
        yield from succeed(None)

    assert [each.program for each in simulate(keeps(), None).never_run] == ["<Program succeed 1>"]
    assert simulate(gather(kept[0], kept[0]), None).value() == (1, 1)


# ---------------------------------------------------------------- fake_services
@given(fake_services())
def test_fake_services_answer_within_the_declared_types(fakes):
    stage = hook_context(token_refresher, state=TokenState("old", "r", datetime(2026, 1, 1, tzinfo=UTC)))
    seen = simulate(refresh_token(stage.ctx), fakes, on=stage)
    match seen.effects[0].answer:
        case Success(Token(access_token, expires_at)):
            assert seen.state == TokenState(access_token, "r", expires_at)
        case Failure(AuthRevoked()):
            assert seen.ended == "revoked"
        case Failure(error):
            assert seen.error() == error
        case unexpected:
            raise AssertionError(unexpected)


@given(fake_services(failures="never", types={int: st.just(7)}, answers={"refuse": st.just(Failure(Refused("told")))}))
def test_fake_services_can_take_the_values_to_draw(fakes):
    assert simulate(say("a"), fakes).value() == 7
    assert simulate(refuse(), fakes).error() == Refused("told")


@given(fake_services(services=Outside(["a"])))
def test_programs_may_look_at_the_services_beside_fake_ones(fakes):
    assert simulate(asks(lambda services: services.heard), fakes).value() == ["a"]


@given(fake_services())
def test_an_effect_that_says_nothing_of_its_answer_cannot_be_drawn(fakes):
    with pytest.raises(NoAnswer, match="it has no return annotation; annotate it"):
        simulate(unannotated().attempt().lash(lambda _: succeed(None)), fakes)


class Sealed:
    def __init__(self, word):
        self.word = word


@effect
def unseal(services: object) -> FutureResult[Sealed, Refused]:
    return FutureResult.from_value(Sealed(""))


@given(fake_services(), fake_services(types={Sealed: st.builds(Sealed, st.just("a"))}, failures="never"))
def test_a_class_of_which_nothing_is_known_is_named_with_the_effect(fakes, told):
    with pytest.raises(NoAnswer, match=r"no answer of unseal can be drawn: .*Sealed.* fake_services\(types="):
        simulate(unseal(), attrs.evolve(fakes, failures="never"))
    assert simulate(unseal(), told).value().word == "a"


# ---------------------------------------------------------------- faults
def seen_with(fault: Any, words: Outside) -> Simulated[Any, Any, Any]:
    return simulate(say("a").bind(lambda _: say("b")).on_exit(say("last")), words, faults=(fault,))


def test_a_crash_cuts_the_run_and_not_even_finalizers_run():
    words = Outside()
    before = seen_with(Crash("say", call=2), words)
    assert before.exit == ProcessDied(Crash("say", call=2))
    assert words.heard == ["a"]
    words = Outside()
    assert isinstance(seen_with(Crash("say", when="after", call=2), words).exit, ProcessDied)
    assert words.heard == ["a", "b"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", [Raise, Hang])
def test_other_faults_leave_the_program_its_finalizers(kind, when):
    words = Outside()
    seen = seen_with(kind("say", when=when, call=2), words)
    assert isinstance(seen.exit, Raised)
    assert words.heard == ["a", *(["b"] if when == "after" else []), "last"]
    assert isinstance(seen.effects[1].answer, Raised if kind is Raise else NoReply)


def test_a_crash_in_a_branch_cuts_everything():
    words = Outside()
    slow = sleep("1 s").bind(lambda _: say("slow")).on_exit(say("cleanup"))
    seen = simulate(gather(slow, say("b")), words, faults=(Crash("say"),))
    assert (seen.exit, words.heard) == (ProcessDied(Crash("say")), [])


def test_a_timeout_of_the_program_ends_a_call_that_never_answers():
    seen = simulate(say("a").timeout("1 minute"), Outside(), faults=(Hang("say"),))
    assert seen.error() == EffectTimeout(timedelta(minutes=1))


def test_a_finalizer_that_hangs_never_ends():
    work = bracket(say("open"), lambda _: sleep("1 day"), lambda _: say("close"))
    seen = simulate(work, Outside(), run_timeout="1 hour", faults=(Hang("say", call=2),))
    assert isinstance(seen.exit, Hung)
    limited = bracket(say("open"), lambda _: sleep("1 day"), lambda _: say("close").timeout("1 s").attempt())
    seen = simulate(limited, Outside(), run_timeout="1 hour", faults=(Hang("say", call=2),))
    assert isinstance(seen.exit, Raised)


def test_an_unused_fault_is_reported():
    seen = simulate(say("a"), Outside(), faults=(Crash("say", call=2),))
    assert seen.unused_faults == (Crash("say", call=2),)
    assert "no call for Crash('say', call=2)" in repr(seen)


# ---------------------------------------------------------------- its text
def test_a_run_is_printed_as_a_trace():
    stage = shipped()
    seen = simulate(on_order_event(stage.ctx, PaymentReceived(1)), Outside(), on=stage)
    assert repr(seen).splitlines() == [
        "  1. state is Order(status='paid', owner='ada', amount=100, paid=100, tracking='')",
        "  => Failure(IllegalTransition(status='paid', event='PaymentReceived'))",
        "     drafted: state Order(status='paid', owner='ada', amount=100, paid=100, tracking=''), alarm None",
    ]


def test_reading_the_value_of_a_failed_run_shows_the_trace():
    with pytest.raises(AssertionError, match=r"expected a success\n  1. refuse\(\) -> Failure\(Refused"):
        simulate(refuse(), Outside()).value()
    with pytest.raises(AssertionError, match=r"expected a failure\n  1. say\('a'\) -> Success\(1\)"):
        simulate(say("a"), Outside()).error()


def test_two_runs_are_compared_by_their_first_difference():
    lines = difference(simulate(say("a"), Outside()), simulate(say("b"), Outside()))
    assert lines == failure_reports.difference(simulate(say("a"), Outside()), simulate(say("b"), Outside()))
    assert lines == [
        "these runs differ (- left, + right):",
        "-   1. say('a') -> Success(1)",
        "+   1. say('b') -> Success(1)",
        "    => Success(1)",
    ]


def test_runs_are_values():
    one, other = (simulate(say("a"), Outside()) for _ in range(2))
    assert one == other
    assert one != simulate(say("b"), Outside())
    assert isinstance(one.effects[0], EffectStep)
    assert one.effects[0].instruction == ServiceCall("say", ("a",), {}, print)


def test_a_task_of_my_own():
    job = Task("mine", state=int, event=str, initial=0, on_event=lambda ctx, event: ctx.update_state(lambda n: n + 1))
    stage = hook_context(job, state=1)
    assert simulate(stage.ctx.update_state(lambda n: n + 1), None, on=stage).state == 2
