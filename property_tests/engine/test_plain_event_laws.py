"""The decisions for events that nothing is special about are those for any request."""

from __future__ import annotations

from typing import Any

from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.result import Success

from perdure import Do, Limits, Migrations, Task, TaskContext, fail, program, tell
from perdure.jobs.fast_paths import begin_fast_event, with_key
from perdure.jobs.keys import condition_of
from perdure.jobs.request import Inbound, Request
from perdure.jobs.run import claim_event
from perdure.jobs.step import Commit, Execute
from perdure.jobs.turn import begin, finish, finish_any
from perdure.kinds.task.context import SendCommand, TriggerTaskCommand
from perdure.programs import Exit, Raised
from perdure.programs.drivers import Suspended
from perdure.programs.inline import run_inline, run_to_first_effect
from perdure.programs.interpreter import interpret
from perdure.values.address import Address
from perdure.values.failure import FailureRecord
from perdure.values.instance import Claim, Instance, PendingRetry
from perdure.values.transition import Loaded, Put
from perdure.values.turn_inputs import Decoded, TurnInputs

NOW_MS = 1_000
AT = Address("task", "plain", "a")
ERROR = FailureRecord(form="defect", error_type="ValueError", message="no")


@frozen
class Total:
    total: int = 0


@program
def on_event(ctx: TaskContext[Total], deed: str) -> Do[None, str, object]:
    state = yield from ctx.state
    if deed == "fail":
        yield from fail("refused")
    if deed == "raise":
        raise ValueError(deed)
    if deed == "end":
        yield from ctx.terminate("over")
    if deed == "alarm":
        yield from ctx.schedule(after="1 minute")
    if deed == "now":
        yield from ctx.schedule(after=0)
    if deed == "no alarm":
        yield from ctx.cancel_schedule()
    if deed == "tell":
        yield from tell(plain, "other").send("set")
    if deed != "read":
        yield from ctx.set_state(evolve(state, total=state.total + 1))


@program
def on_idle(ctx: TaskContext[Total]) -> Do[None, str, object]:
    yield from ctx.update_state(lambda state: evolve(state, total=-state.total))


@frozen
class Then:
    """An older type of the state."""


def upgrade(_: Then) -> Total:
    return Total()


def task(name: str, **more: Any) -> Any:
    return Task(name, **{"state": Total, "event": str, "initial": Total(), "on_event": on_event, **more})


plain = task("plain")
jobs = st.sampled_from(
    (
        plain,
        plain,
        task("idle", on_idle=on_idle),
        task("shown", state_in_events=True),
        task("computed", initial=lambda _: Total()),
        task("newer", versions=Migrations(Then).then(upgrade)),
    )
)
deeds = st.sampled_from(("set", "set", "read", "fail", "raise", "end", "alarm", "now", "no alarm", "tell"))
claim = Claim(owner=1, cause="event", run_id="r", claimed_ms=1, action="send", payload='"set"')
retry = PendingRetry(run_id="r", cause="alarm", attempt=2, first_failed_ms=1, at_ms=9_000, error=ERROR)


def seldom(value: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from((None,) * 15 + (value,))


ordinary = st.builds(
    Instance,
    address=st.just(AT),
    created_ms=st.just(1),
    updated_ms=st.just(2),
    incarnation=st.just(3),
    version=st.integers(1, 4),
    state=st.sampled_from(('{"total":7}', '{"total":7}', '{"total":7}', '{"total":"?"}')),
    alarm_ms=st.none() | st.sampled_from((NOW_MS, NOW_MS + 60_000)) | st.integers(500, 2_000),
    run_count=st.integers(0, 2),
    event_count=st.integers(0, 2),
)
peculiar: tuple[dict[str, Any], ...] = (
    {"suspension": "paused"},
    {"suspension": "retries_exhausted"},
    {"pending_retry": retry},
    {"event_claim": claim},
    {"last_error": ERROR},
    {"alarm_trace": "t"},
)
peculiarities = st.sampled_from((*({},) * len(peculiar), *peculiar))  # most rows have one at most, which decides
instances = st.builds(lambda row, one, other: evolve(row, **one | other), ordinary, peculiarities, peculiarities)
requests = st.builds(
    Request,
    command=deeds.map(SendCommand) | deeds.map(SendCommand) | st.just(TriggerTaskCommand()),
    action=st.just("send"),
    payload=st.just('"set"'),
    idempotency_key=seldom("k"),
    unread_key_ms=seldom(NOW_MS - 1),
    inbound=seldom(Inbound(message_id=1, sender=Address("task", "plain", "b"))),
    by=seldom("caller"),
)
claimed_requests = st.builds(
    Request,
    command=deeds.map(SendCommand),
    action=st.just("send"),
    payload=st.just('"set"'),
    idempotency_key=st.sampled_from((None, "k")),
    unread_key_ms=st.sampled_from((None, NOW_MS)),
)
inputs = st.builds(
    TurnInputs,
    now_ms=st.just(NOW_MS),
    jitter=st.just(0.5),
    id_base=st.just(1 << 100),
    epoch=st.just(5),
    limits=st.sampled_from((Limits(), Limits(), Limits(state_bytes=20))),
    wants_events=st.booleans(),
    hold=st.sampled_from(("released", "released", "held")),
)


def ended(program: Any, draft: Any) -> Exit[Any, Any]:
    exit_ = run_to_first_effect(interpret(program, None, (draft,)))
    assert not isinstance(exit_, Suspended)
    return exit_


def shown(step: object) -> object:
    """A decision, without the programs and the traceback, which no two runs share."""
    if isinstance(step, Execute):
        draft = step.draft
        seen = draft.state, draft.encoded, draft.alarm, draft.messages, draft.current_alarm_ms, draft.now_ms
        return step.hook, step.instance, step.claim, step.claimed, step.request, step.started_ms, seen
    return (step.transition, repr(step.result)) if isinstance(step, Commit) else repr(step)


def changes_as_declared(commit: Commit, before: Instance) -> bool:
    """Whether a row differs from the one before only where its ``Put`` says so."""
    write = commit.transition.write
    assert isinstance(write, Put)
    if write.changes == "any":
        return True
    after = write.instance
    expected = before.changed(
        state=after.state, event_count=after.event_count, updated_ms=after.updated_ms, version=after.version
    )
    return after == expected


@settings(max_examples=500)
@given(jobs, instances | instances | st.none(), requests, inputs, st.sampled_from(("decoded", "encoded")))
def test_a_plain_event_is_decided_as_any_request(
    job: Any, instance: Instance | None, request: Request, given_inputs: TurnInputs, memory: str
) -> None:
    decoded = None
    if memory == "decoded" and instance is not None and instance.state == '{"total":7}':
        decoded = Decoded(instance.state, Total(7))
    plain = begin_fast_event(
        job,
        AT,
        instance,
        request,
        decoded,
        now_ms=given_inputs.now_ms,
        limits=given_inputs.limits,
        epoch=given_inputs.epoch,
        new_id=lambda: given_inputs.id_base,
    )
    if plain is None:
        return
    event, program_ = plain
    general = begin(job, AT, Loaded(instance=instance), request, given_inputs)
    assert isinstance(general, Execute)
    assert shown(event.run(program_)) == shown(general)
    exit_, other = run_inline(program_, None, event), ended(general.program, general.draft)
    handled = (
        job.fast_event_handled(event, wants_events=given_inputs.wants_events) if isinstance(exit_, Success) else None
    )
    if handled is not None:
        if request.idempotency_key is not None:
            event.now_ms = given_inputs.now_ms
            handled = with_key(job, handled, event, condition_of(request))
        assert shown(handled) == shown(finish(job, general, other, given_inputs))
        assert changes_as_declared(handled, general.instance)
        return
    step: Any = event.run(program_)
    while isinstance(step, Execute):
        assert shown(step) == shown(general)
        if isinstance(exit_, Raised):
            other = exit_  # a traceback of its own is recorded
        step, general = finish(job, step, exit_, given_inputs), finish(job, general, other, given_inputs)
        if isinstance(step, Execute):
            assert isinstance(general, Execute)
            exit_, other = ended(step.program, step.draft), ended(general.program, general.draft)
    assert shown(step) == shown(general)


@settings(max_examples=300)
@given(jobs, ordinary | instances, claimed_requests, inputs)
def test_the_end_of_a_claimed_event_is_that_of_any_request(
    job: Any, instance: Instance, request: Request, given_inputs: TurnInputs
) -> None:
    """A handler with an effect is claimed, and then ends as any run of an event does, in fewer columns."""
    plain = begin_fast_event(
        job,
        AT,
        instance,
        request,
        None,
        now_ms=given_inputs.now_ms,
        limits=given_inputs.limits,
        epoch=given_inputs.epoch,
        new_id=lambda: given_inputs.id_base,
    )
    if plain is None:
        return
    event, program_ = plain
    general = begin(job, AT, Loaded(instance=instance), request, given_inputs)
    assert isinstance(general, Execute)
    claiming = claim_event(general)
    assert isinstance(claiming.write, Put)
    row = claiming.write.instance
    exit_, other = run_inline(program_, None, event), ended(general.program, general.draft)
    if not isinstance(exit_, Success):
        return
    fast = finish(job, event.run(program_).recorded(row), exit_, given_inputs)
    assert shown(fast) == shown(finish_any(job, general.recorded(row), other, given_inputs))
    if isinstance(fast, Commit) and isinstance(fast.transition.write, Put):
        write = fast.transition.write
        if write.changes == "event_end":
            after = write.instance
            assert after == row.changed(
                state=after.state,
                event_count=after.event_count,
                updated_ms=after.updated_ms,
                version=after.version,
                event_claim=None,
            )
