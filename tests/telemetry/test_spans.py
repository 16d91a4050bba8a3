"""Spans of turns and effects: turns that are a part of the trace of a caller, and turns with a link to their cause."""

from __future__ import annotations

from typing import Annotated, Any

import attrs
import pytest
from attrs import frozen
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode, TraceFlags
from returns.future import FutureResult
from returns.result import Failure, Result, Success
from traces import Traces, attribute, exceptions, is_linked
from world import HasOutside, Refused, World, on_each_store, say

from perdure import (
    App,
    Backoff,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Do,
    Limits,
    Retry,
    Secret,
    Task,
    TaskContext,
    effect,
    every,
    program,
    tell,
)
from perdure.engine.sinks import TurnEnded, turn_begun, turn_ended
from perdure.jobs.call import Call
from perdure.jobs.request import ALARM, RECOVER
from perdure.programs import gather
from perdure.values.answer import OutcomeRecord, PauseResult, RunAnswer
from perdure.values.errors import EngineClosed, HookRaised, OutcomeUnknown, Rejected, RunTimeout, StoreUnavailable
from perdure.values.instance import Claim, Instance
from perdure.values.status import FailureRecord
from perdure.values.turn_inputs import TurnInputs


@frozen
class Tell:
    """Send a message to another instance."""

    id: str
    word: str


@frozen
class Say:
    """Say a word, now or later."""

    word: str
    after: str | None = None


@program
def on_event(ctx: TaskContext[str], event: Tell | Say) -> Do[None, Refused, HasOutside]:
    match event:
        case Tell(id_, word):
            yield from tell(orders, id_).send(Say(word))
        case Say(word, None):
            yield from say(word)
        case Say(word, after):
            yield from ctx.set_state(word)
            yield from ctx.schedule(after=after)


@program
def execute(ctx: TaskContext[str]) -> Do[None, Refused, HasOutside]:
    word = yield from ctx.state
    yield from gather(say(f"{word} 1"), say(f"{word} 2"))


@program
def tick(ctx: ContinuousContext[int]) -> Do[None, Refused, HasOutside]:
    yield from say("tick")


@program
def flush(ctx: DebounceContext[int]) -> Do[None, Refused, HasOutside]:
    yield from say("flush")


orders = Task(
    "orders",
    state=str,
    event=Tell | Say,
    initial="",
    on_event=on_event,
    execute=execute,
    retry=Retry(3, Backoff.constant("1 minute"), jitter=False),
)
ticks = Continuous("ticks", state=int, schedule=every("1 hour"), execute=tick)
piles = Debounce("piles", event=int, flush_after="1 minute", execute=flush)


def app(world: World, traces: Traces) -> App[Any]:
    return App(world.outside).with_jobs(orders, ticks, piles).with_sinks(traces.sink())


# ---------------------------------------------------------------- requests
@on_each_store
async def test_a_turn_is_a_part_of_its_callers_trace_and_an_effect_of_its_turn(world: World) -> None:
    traces = Traces()
    jobs = await world.open(app(world, traces))
    tracer = traces.provider.get_tracer("caller")

    async def call() -> None:
        with tracer.start_as_current_span("checkout"):
            await jobs.handle(orders).send("a", Say("hello"))

    await world.run(call())
    assert traces.tree(traces.one("checkout")) == ("checkout", [("send task:orders", ["say"])])
    turn, effect_ = traces.one("send task:orders"), traces.one("say")
    assert turn.kind is SpanKind.CONSUMER
    assert turn.status.status_code is StatusCode.UNSET
    run_id = attribute(turn, "perdure.run_id")
    assert dict(turn.attributes or {}) == {
        "messaging.system": "perdure",
        "messaging.operation.name": "send",
        "messaging.operation.type": "process",
        "messaging.destination.name": "task:orders",
        "perdure.cause": "request",
        "perdure.kind": "task",
        "perdure.job": "orders",
        "perdure.id": "a",
        "perdure.run_id": run_id,
        "perdure.attempt": 1,
        "perdure.delivery": 1,
        "perdure.outcome": "ok",
    }
    assert dict(effect_.attributes or {}) == {
        "perdure.effect": "say",
        "perdure.kind": "task",
        "perdure.job": "orders",
        "perdure.id": "a",
        "perdure.run_id": run_id,
        "perdure.attempt": 1,
        "perdure.delivery": 1,
    }


@on_each_store
async def test_the_span_of_an_effect_is_the_current_one_while_the_service_works(world: World) -> None:
    traces = Traces()
    inner = traces.provider.get_tracer("library")

    @effect
    def fetch(services: HasOutside, name: str) -> FutureResult[None, Refused]:
        async def request() -> Result[None, Refused]:
            with inner.start_as_current_span(f"GET {name}"):
                return await services.outside.hear(name)

        return FutureResult(request())

    @program
    def both(ctx: TaskContext[str], event: str) -> Do[None, Refused, HasOutside]:
        yield from gather(fetch("one"), fetch("two"))

    job = Task("job", state=str, event=str, initial="", on_event=both)
    jobs = await world.open(App(world.outside).with_jobs(job).with_sinks(traces.sink()))
    await world.run(jobs.handle(job).send("a", "go"))
    (root,) = [span for span in traces.spans if span.parent is None]
    assert sorted(str(below) for below in traces.tree(root)[1]) == [  # type: ignore[index] # a pair
        "('fetch', ['GET one'])",
        "('fetch', ['GET two'])",
    ]
    assert not trace.get_current_span().get_span_context().is_valid


@on_each_store
async def test_a_call_without_a_caller_begins_a_trace(world: World) -> None:
    traces = Traces()
    jobs = await world.open(app(world, traces))
    await world.run(jobs.handle(orders).send("a", Say("hello")))
    turn = traces.one("send task:orders")
    assert turn.parent is None
    assert not turn.links


def test_a_turn_that_finds_nothing_to_do_has_no_span() -> None:
    at, inputs = orders.address("a"), TurnInputs(now_ms=1_000, jitter=0.0, id_base=1, epoch=2)
    later = Instance(address=at, created_ms=1, updated_ms=1, alarm_ms=1_001)
    claim = Claim(owner=2, cause="event", run_id="run", claimed_ms=1)
    for instance in (None, later, later.changed(alarm_ms=None), later.changed(alarm_ms=1_000, suspension="paused")):
        assert turn_begun(at, ALARM, instance, inputs) is None
    assert turn_begun(at, ALARM, later.changed(alarm_ms=1_000), inputs) is not None
    for instance in (None, later, later.changed(claim=claim)):
        assert turn_begun(at, RECOVER, instance, attrs.evolve(inputs, running=("run",))) is None
    assert turn_begun(at, RECOVER, later.changed(claim=claim), inputs) is not None


FAILED = FailureRecord(form="defect", error_type="ValueError", message="no", traceback="line 1")
UNTRACED = attrs.evolve(FAILED, traceback=None)


def ran(form: Any, error: FailureRecord | None = None) -> Success[RunAnswer]:
    return Success(RunAnswer(found="exists", outcome=OutcomeRecord(form=form, error=error)))


def recorded(form: Any, error: Exception) -> FailureRecord:
    return FailureRecord(form=form, error_type=type(error).__name__, message=str(error))


PARKED = Success(PauseResult(changed=True, status="parked"))
LATE, DOWN, LOST = RunTimeout(5), StoreUnavailable("commit", "no disk"), OutcomeUnknown("no answer")


@pytest.mark.parametrize(
    ("result", "ended"),
    [
        ("cancelled", TurnEnded(outcome="cancelled")),
        (Success("an answer"), TurnEnded(outcome="ok")),
        (Success(RunAnswer(found="absent")), TurnEnded(outcome="ok")),
        (ran("completed"), TurnEnded(outcome="ok")),
        (ran("parked", FAILED), TurnEnded(outcome="ok")),
        (ran("retrying", FAILED), TurnEnded(outcome="failed", error_type="ValueError", failure=FAILED)),
        (ran("failed", FAILED), TurnEnded(outcome="failed", error_type="ValueError", failure=FAILED)),
        (ran("failed"), TurnEnded(outcome="failed")),
        (
            Success(PauseResult(changed=True, status="parked")),
            TurnEnded(outcome="failed", error_type="RecoveryExhausted"),
        ),
        (Success(PauseResult(changed=False, status="parked")), TurnEnded(outcome="ok")),
        (Success(PauseResult(changed=True, status="paused")), TurnEnded(outcome="ok")),
        (Failure(Rejected(Refused("no"))), TurnEnded(outcome="rejected", error_type="Refused")),
        (
            Failure(HookRaised("ValueError", "no", "line 1")),
            TurnEnded(outcome="failed", error_type="ValueError", failure=FAILED),
        ),
        (
            Failure(HookRaised("ValueError", "no", "")),
            TurnEnded(outcome="failed", error_type="ValueError", failure=UNTRACED),
        ),
        (Failure(LATE), TurnEnded(outcome="failed", error_type="RunTimeout", failure=recorded("timed_out", LATE))),
        (
            Failure(DOWN),
            TurnEnded(outcome="unavailable", error_type="StoreUnavailable", failure=recorded("defect", DOWN)),
        ),
        (Failure(LOST), TurnEnded(outcome="unknown", error_type="OutcomeUnknown", failure=recorded("defect", LOST))),
        (Failure(EngineClosed()), TurnEnded(outcome="refused", error_type="EngineClosed")),
    ],
    ids=str,
)
def test_a_turn_ends_as_its_answer_says(result: Any, ended: TurnEnded) -> None:
    assert turn_ended(result) == ended


# ---------------------------------------------------------------- later turns
@on_each_store
async def test_an_alarm_is_linked_to_the_turn_that_set_it(world: World) -> None:
    traces = Traces()
    with traces.provider.get_tracer("startup").start_as_current_span("startup"):  # which is no cause of later turns
        jobs = await world.open(app(world, traces))
    await world.run(jobs.handle(orders).send("a", Say("late", "1 hour")))
    await world.advance(hours=1)
    alarm = traces.one("alarm task:orders")
    assert is_linked(alarm, to=traces.one("send task:orders"))
    assert traces.tree(alarm) == ("alarm task:orders", ["say", "say"])
    assert attribute(alarm, "perdure.cause") == "alarm"
    row = await world.row(orders.address("a"))
    assert row is not None
    assert row.alarm_trace is None


@on_each_store
async def test_each_tick_is_linked_to_the_tick_before(world: World) -> None:
    traces = Traces()
    jobs = await world.open(app(world, traces))
    await world.run(jobs.handle(ticks).start("a", 0))
    await world.advance(hours=2)
    start, (first, second) = traces.one("start continuous:ticks"), traces.named("alarm continuous:ticks")
    assert is_linked(first, to=start)
    assert is_linked(second, to=first)


@on_each_store
async def test_a_flush_is_linked_to_the_event_that_set_its_alarm(world: World) -> None:
    traces = Traces()
    jobs = await world.open(app(world, traces))
    await world.run(jobs.handle(piles).add("a", 1))
    await world.run(jobs.handle(piles).add("a", 2))
    await world.advance(minutes=2)
    first, _ = traces.named("add debounce:piles")
    alarm = traces.one("alarm debounce:piles")
    assert is_linked(alarm, to=first)
    assert traces.tree(alarm) == ("alarm debounce:piles", ["say"])


@on_each_store
async def test_a_retry_is_linked_to_the_attempt_that_failed(world: World) -> None:
    traces = Traces()
    world.outside.refusals["word 2"] = 2
    jobs = await world.open(app(world, traces))
    await world.run(jobs.handle(orders).send("a", Say("word", "1 hour")))
    await world.run(jobs.handle(orders).trigger("a"))
    await world.advance(minutes=3)
    failed, (second, third) = traces.one("trigger task:orders"), traces.named("retry task:orders")
    assert is_linked(second, to=failed)
    assert is_linked(third, to=second)
    assert [attribute(span, "perdure.attempt") for span in (failed, second, third)] == [1, 2, 3]
    assert [attribute(span, "perdure.outcome") for span in (failed, second, third)] == ["failed", "failed", "ok"]
    assert len({attribute(span, "perdure.run_id") for span in (failed, second, third)}) == 1
    assert failed.status.status_code is StatusCode.ERROR
    await world.advance(hours=1)
    assert is_linked(traces.one("alarm task:orders"), to=traces.one("send task:orders"))


@on_each_store
async def test_a_message_is_linked_to_the_turn_that_sent_it(world: World) -> None:
    traces = Traces()
    jobs = await world.open(app(world, traces))
    await world.run(jobs.handle(orders).send("a", Tell("b", "hello")))
    await world.settle()
    sent, received = traces.named("send task:orders")
    assert is_linked(received, to=sent)
    assert traces.tree(received) == ("send task:orders", ["say"])
    assert attribute(received, "perdure.cause") == "message"
    assert attribute(received, "messaging.message.id") == "1"
    assert attribute(received, "perdure.sender") == "task:orders:a"


@on_each_store
async def test_a_redriven_message_is_linked_to_the_turn_that_sent_it(world: World) -> None:
    traces = Traces()
    world.outside.breaks.add("hello")
    limited = App(world.outside, limits=Limits(message_deliveries=1)).with_jobs(orders).with_sinks(traces.sink())
    jobs = await world.open(limited)
    await world.run(jobs.handle(orders).send("a", Tell("b", "hello")))
    await world.settle()
    world.outside.breaks.clear()
    (dead,) = await world.run(jobs.dead_letters())
    await world.run(jobs.redrive(dead.message_id))
    await world.settle()
    sent, failed, redriven = traces.named("send task:orders")
    assert is_linked(failed, to=sent)
    assert is_linked(redriven, to=sent)


# ---------------------------------------------------------------- crashes
@on_each_store
async def test_a_recovery_is_linked_to_the_turn_that_a_crash_ended(world: World) -> None:
    """The process that died exported its finished spans only; its turn is known by its context alone."""
    before, after = Traces(), Traces()
    world.suspension("hello")
    jobs = await world.open(app(world, before))
    caller = before.provider.get_tracer("caller").start_span("checkout")

    async def call() -> Result[None, Any]:
        with trace.use_span(caller):
            await jobs.handle(orders).send("a", Say("hello"))
        return Success(None)

    world.start(Call(call, "call of the test"))
    await world.settle()
    await world.crash()
    world.outside.held.clear()
    await world.open(app(world, after))
    await world.settle()
    recovery = after.one("recover task:orders")
    (link,) = recovery.links
    assert recovery.parent is None
    assert after.tree(recovery) == ("recover task:orders", ["say"])
    assert attribute(recovery, "perdure.cause") == "recovery"
    assert attribute(recovery, "perdure.delivery") == 2
    assert not before.named("send task:orders")
    assert link.context.trace_id == caller.get_span_context().trace_id
    assert link.context.span_id != caller.get_span_context().span_id


@on_each_store
async def test_an_alarm_and_a_message_keep_their_link_over_a_crash(world: World) -> None:
    before, after = Traces(), Traces()
    jobs = await world.open(app(world, before))
    await world.run(jobs.handle(orders).send("a", Say("late", "1 hour")))
    await world.crash()
    await world.open(app(world, after))
    await world.advance(hours=1)
    assert is_linked(after.one("alarm task:orders"), to=before.one("send task:orders"))


@on_each_store
async def test_an_engine_without_tracing_keeps_the_trace_of_an_alarm_until_it_sets_another(world: World) -> None:
    traces = Traces()
    untraced = App(world.outside).with_jobs(orders)
    jobs = await world.open(app(world, traces))
    await world.run(jobs.handle(orders).send("a", Say("late", "1 hour")))
    await world.close()
    jobs = await world.open(untraced)
    await world.run(jobs.handle(orders).trigger("a"))
    row = await world.row(orders.address("a"))
    assert row is not None
    assert row.alarm_trace is not None
    await world.run(jobs.handle(orders).send("a", Say("later", "2 hours")))
    row = await world.row(orders.address("a"))
    assert row is not None
    assert row.alarm_trace is None


# ---------------------------------------------------------------- errors
@frozen
class Vault:
    token: Annotated[str, Secret] = "hunter2-secret"  # noqa: S105


@frozen
class Denied:
    reason: str


@effect
def unlock(services: object, token: str, way: str) -> Result[None, Denied]:
    if way == "denied":
        return Failure(Denied(f"bad {token}"))
    raise ValueError(f"cannot read {token}")


@program
def on_unlock(ctx: TaskContext[Vault], event: str) -> Do[None, Denied]:
    vault = yield from ctx.state
    yield from ctx.set_state(vault)
    yield from unlock(vault.token, event)


vaults = Task("vaults", state=Vault, event=str, initial=Vault(), on_event=on_unlock)


@on_each_store
async def test_secrets_are_scrubbed_from_recorded_exceptions(world: World) -> None:
    traces = Traces()
    jobs = await world.open(App(None).with_jobs(vaults).with_sinks(traces.sink()))
    await world.attempt(jobs.handle(vaults).send("a", "raises"))
    await world.attempt(jobs.handle(vaults).send("a", "denied"))
    (raised, denied), (raising, rejecting) = traces.named("unlock"), traces.named("send task:vaults")
    (exception,) = exceptions(raised)
    assert exception["exception.type"] == "ValueError"
    assert exception["exception.message"] == "cannot read <secret>"
    assert "in unlock" in str(exception["exception.stacktrace"])
    assert [attribute(span, "error.type") for span in (raised, denied)] == ["ValueError", "Denied"]
    assert [span.status.status_code for span in (raised, denied)] == [StatusCode.ERROR, StatusCode.ERROR]
    assert [attribute(span, "perdure.outcome") for span in (raising, rejecting)] == ["failed", "rejected"]
    assert raising.status.description == "cannot read <secret>"
    assert [attribute(span, "error.type") for span in (raising, rejecting)] == ["ValueError", "Denied"]
    assert rejecting.status.status_code is StatusCode.UNSET
    assert "hunter2" not in "".join(span.to_json() for span in traces.spans)


# ---------------------------------------------------------------- sampling
@on_each_store
async def test_a_turn_that_is_not_sampled_passes_that_on(world: World) -> None:
    traces = Traces(sampler=ParentBased(ALWAYS_OFF))
    jobs = await world.open(app(world, traces))
    await world.run(jobs.handle(orders).send("a", Say("late", "1 hour")))
    row = await world.row(orders.address("a"))
    assert row is not None
    assert row.alarm_trace is not None
    assert int(row.alarm_trace[-2:], 16) & TraceFlags.SAMPLED == 0
    await world.advance(hours=1)
    assert not traces.spans
    assert sorted(world.outside.heard) == ["late 1", "late 2"]


@on_each_store
async def test_nothing_is_stored_without_an_sdk(world: World) -> None:
    from perdure.telemetry.opentelemetry import opentelemetry  # noqa: PLC0415

    jobs = await world.open(App(world.outside).with_jobs(orders).with_sinks(opentelemetry()))
    await world.run(jobs.handle(orders).send("a", Say("late", "1 hour")))
    row = await world.row(orders.address("a"))
    assert row is not None
    assert row.alarm_trace is None
    await world.advance(hours=1)
    assert sorted(world.outside.heard) == ["late 1", "late 2"]
