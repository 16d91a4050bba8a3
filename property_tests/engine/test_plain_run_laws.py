"""The decisions for runs of alarms that nothing is special about are those for any request."""

from __future__ import annotations

from typing import Any

from attrs import evolve, frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from returns.result import Result, Success

from perdure import Do, ItemContext, Task, TaskContext, WorkerPool, effect, fail, program, tell
from perdure.jobs.request import ALARM
from perdure.jobs.step import Commit, Execute
from perdure.jobs.turn import begin, begin_any, finish, finish_any
from perdure.programs import Exit, Raised
from perdure.programs.drivers import Suspended, default_handler, run_while_answered
from perdure.programs.inline import run_to_first_effect
from perdure.programs.interpreter import interpret
from perdure.values.address import Address
from perdure.values.failure import FailureRecord
from perdure.values.instance import Claim, Instance, PendingRetry
from perdure.values.transition import Loaded, Put, Transition
from perdure.values.turn_inputs import NO_OTHERS, Decoded, OtherEngines, TurnInputs

NOW_MS = 1_000
ERROR = FailureRecord(form="defect", error_type="ValueError", message="no")
AT = Address("task", "plain", "a")


@frozen
class Total:
    total: int = 0
    deed: str = ""


@effect
def add(services: int, number: int) -> Result[int, str]:
    return Success(services + number)


@program
def on_event(_ctx: TaskContext[Total], _event: str) -> Do[None]:
    yield from fail("unused")  # type: ignore[misc]


@program
def execute(ctx: TaskContext[Total]) -> Do[None, str, int]:
    state = yield from ctx.state
    total = yield from add(state.total)
    if state.deed == "fail":
        yield from fail("refused")
    if state.deed == "raise":
        raise ValueError(state.deed)
    if state.deed == "end":
        yield from ctx.terminate("over")
    if state.deed == "alarm":
        yield from ctx.schedule(after="1 minute")
    if state.deed == "no alarm":
        yield from ctx.cancel_schedule()
    if state.deed == "tell":
        yield from tell(plain, "other").send("set")
    if state.deed != "read":
        yield from ctx.set_state(evolve(state, total=total))


@program
def on_idle(ctx: TaskContext[Total]) -> Do[None, str, object]:
    yield from ctx.update_state(lambda state: evolve(state, total=-state.total))


@program
def on_error(ctx: Any, _error: object) -> Do[None, str, object]:
    yield from ctx.set_state(Total(-1))


def task(**more: Any) -> Any:
    return Task("plain", state=Total, event=str, initial=Total(), on_event=on_event, execute=execute, **more)


plain = task()
jobs = st.sampled_from((plain, plain, task(on_idle=on_idle), task(on_error=on_error), task(state_in_events=True)))
deeds = st.sampled_from(("set", "set", "read", "fail", "raise", "end", "alarm", "no alarm", "tell"))
claim = Claim(owner=1, cause="alarm", run_id="r", claimed_ms=1)
retry = PendingRetry(run_id="r", cause="alarm", attempt=2, first_failed_ms=1, at_ms=900, error=ERROR)


def seldom(value: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from((None,) * 15 + (value,))


instances = st.builds(
    Instance,
    address=st.just(AT),
    created_ms=st.just(1),
    updated_ms=st.just(2),
    incarnation=st.just(3),
    version=st.integers(1, 4),
    state=deeds.map(lambda deed: f'{{"total":7,"deed":"{deed}"}}') | st.just('{"total":"?"}'),
    state_version=st.sampled_from((1, 1, 1, 1, 2)),
    alarm_ms=st.sampled_from((None, 0, 500, NOW_MS, NOW_MS, NOW_MS, NOW_MS + 1)),
    suspension=seldom("paused") | seldom("not_retryable"),
    pending_retry=seldom(retry),
    claim=seldom(claim),
    event_claim=seldom(claim),
    run_count=st.integers(0, 2),
    event_count=st.integers(0, 2),
    last_error=seldom(ERROR),
    alarm_trace=seldom("t"),
    lane=seldom("lane"),
    ended_ms=seldom(1),
)
inputs = st.builds(
    TurnInputs,
    now_ms=st.just(NOW_MS),
    jitter=st.just(0.5),
    id_base=st.just(1 << 100),
    epoch=st.just(5),
    wants_events=st.booleans(),
    trace=seldom("00-trace"),
    code=st.sampled_from(("trusted", "trusted", "trusted", "suspect")),
    hold=st.sampled_from(("released", "released", "released", "held")),
    others=st.sampled_from((NO_OTHERS, OtherEngines(frozenset({1, 9}), 9, 5))),
)


def ended(step: Execute) -> Exit[Any, Any]:
    exit_ = run_to_first_effect(interpret(step.program, 1, (step.draft,)))
    if isinstance(exit_, Suspended):
        exit_ = run_while_answered(exit_, default_handler, lambda _: False)
    assert not isinstance(exit_, Suspended)
    return exit_


def shown(step: object) -> object:
    """A decision, without the programs and the traceback, which no two runs share."""
    if isinstance(step, Execute):
        draft = (step.draft.state, step.draft.current_alarm_ms, step.draft.now_ms)
        return step.hook, step.instance, step.claim, step.claimed, step.claiming, step.started_ms, draft
    return (step.transition, repr(step.result)) if isinstance(step, Commit) else repr(step)


def check_changes(transition: Transition | None, before: Instance) -> None:
    """Check that a row differs from the one before only where its ``Put`` says so."""
    if transition is None or not isinstance(transition.write, Put) or transition.write.changes == "any":
        return
    after, changes = transition.write.instance, transition.write.changes
    own: dict[str, Any]
    if changes == "claim":
        assert before.claim is None
        own = {"claim": after.claim, "run_count": after.run_count}
    else:
        assert changes == "run"
        assert (after.lane, after.suspension, after.pending_retry, after.event_claim, after.ended_ms) == (None,) * 5
        own = {"claim": None, "state": after.state, "alarm_ms": after.alarm_ms}
    assert after == before.changed(version=after.version, updated_ms=after.updated_ms, **own)


PLAINLY = TurnInputs(now_ms=NOW_MS, jitter=0.5, id_base=1 << 100, epoch=5)
FAILED_BEFORE = Instance(
    address=AT,
    created_ms=1,
    updated_ms=2,
    incarnation=3,
    version=1,
    state='{"total":7,"deed":"set"}',
    alarm_ms=500,
    last_error=ERROR,
)


@settings(max_examples=500)
@example(plain, FAILED_BEFORE, PLAINLY, 0, "encoded")
@example(plain, evolve(FAILED_BEFORE, pending_retry=retry), PLAINLY, 0, "encoded")
@given(jobs, instances, inputs, st.integers(0, 70_000), st.sampled_from(("decoded", "encoded")))
def test_a_plain_run_is_decided_as_any_run(
    job: Any, instance: Instance, given_inputs: TurnInputs, took_ms: int, memory: str
) -> None:
    quick, loaded = given_inputs, Loaded(instance=instance)
    if memory == "decoded" and "?" not in instance.state:
        state = job.plan.state.decode(instance.state.encode())
        quick = evolve(given_inputs, decoded=Decoded(instance.state, state))
    step, general = begin(job, AT, loaded, ALARM, quick), begin_any(job, AT, loaded, ALARM, given_inputs)
    later, before = evolve(given_inputs, now_ms=NOW_MS + took_ms, id_base=1 << 101), instance
    while True:
        assert shown(step) == shown(general)
        if not isinstance(step, Execute):
            if isinstance(step, Commit):
                check_changes(step.transition, before)
            return
        assert isinstance(general, Execute)
        if step.claimed == "before_run":
            assert step.claiming is not None
            assert isinstance(step.claiming.write, Put)
            check_changes(step.claiming, before)
            before = step.claiming.write.instance
            step = step.recorded(before)
            general = general.recorded(step.instance)
        exit_, other = ended(step), ended(general)
        if isinstance(exit_, Raised):
            other = exit_  # a traceback of its own is recorded
        step, general = finish(job, step, exit_, later), finish_any(job, general, other, later)


@program
def work(ctx: ItemContext[int]) -> Do[int, str, int]:
    number = yield from ctx.item
    if number < 0:
        yield from fail("refused")
    return (yield from add(number))


pools = st.sampled_from(
    (WorkerPool("plain", item=int, work=work), WorkerPool("plain", item=int, work=work, keep="0 ms"))
)
items = st.builds(
    Instance,
    address=st.just(Address("pool", "plain", "a")),
    created_ms=st.just(1),
    updated_ms=st.just(2),
    incarnation=st.just(3),
    version=st.integers(1, 4),
    state=st.sampled_from(("7", "-7", '"?"')),
    data=st.just('{"key":"k","head_start_ms":0}'),
    alarm_ms=st.sampled_from((None, 0, NOW_MS, NOW_MS, NOW_MS + 1)),
    lane=st.sampled_from(("k", "k", "k", None)),
    suspension=seldom("paused"),
    pending_retry=seldom(retry),
    claim=seldom(claim),
    run_count=st.integers(0, 2),
    last_error=seldom(ERROR),
    ended_ms=seldom(1),
)


@given(pools, items, inputs)
def test_a_plain_run_of_an_item_is_decided_as_any_run(job: Any, instance: Instance, given_inputs: TurnInputs) -> None:
    loaded = Loaded(instance=instance)
    step = begin(job, instance.address, loaded, ALARM, given_inputs)
    general = begin_any(job, instance.address, loaded, ALARM, given_inputs)
    assert shown(step) == shown(general)
    if isinstance(step, Execute) and isinstance(general, Execute) and step.claiming is not None:
        assert isinstance(step.claiming.write, Put)
        check_changes(step.claiming, instance)
        claimed = step.claiming.write.instance
        exit_ = ended(step)
        finished = finish(job, step.recorded(claimed), exit_, given_inputs)
        if isinstance(finished, Commit):
            check_changes(finished.transition, claimed)
        assert shown(finished) == shown(finish_any(job, general.recorded(claimed), exit_, given_inputs))
