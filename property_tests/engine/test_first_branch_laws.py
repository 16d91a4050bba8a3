"""The first branches of ``begin`` and ``finish`` decide as the rest of them does, and write no more than they say."""

from __future__ import annotations

from typing import Any

from attrs import evolve, frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from returns.result import Result, Success

from perdure import (
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Do,
    ItemContext,
    Limits,
    Migrations,
    Task,
    TaskContext,
    WorkerPool,
    effect,
    every,
    fail,
    program,
    tell,
)
from perdure.jobs.request import ALARM, Inbound, Request, TriggerOptions
from perdure.jobs.run import claim_event
from perdure.jobs.step import Commit, Execute
from perdure.jobs.turn import begin, decide_any, finish, recorded
from perdure.kinds.debounce.context import AddCommand
from perdure.kinds.task.context import SendCommand, TriggerTaskCommand
from perdure.programs import Exit, Raised
from perdure.programs.drivers import Suspended, default_handler, run_inline, run_while_answered
from perdure.values.address import Address
from perdure.values.errors import InvalidInput
from perdure.values.instance import Claim, Instance, Left, PendingRetry
from perdure.values.status import FailureRecord
from perdure.values.transition import Loaded, Put, Transition
from perdure.values.turn_inputs import NO_OTHERS, Decoded, OtherEngines, TurnInputs

NOW_MS = 1_000
ERROR = FailureRecord(form="defect", error_type="ValueError", message="no")


@frozen
class Total:
    total: int = 0
    deed: str = ""


@effect
def add(services: int, number: int) -> Result[int, str]:
    return Success(services + number)


@program
def handle(ctx: TaskContext[Total], deed: str) -> Do[None, str, object]:
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
        yield from ctx.schedule(after="0 ms")
    if deed == "no alarm":
        yield from ctx.cancel_schedule()
    if deed == "tell":
        yield from tell(common, "other").send("set")
    if deed != "read":
        yield from ctx.set_state(evolve(state, total=state.total + 1))


@program
def execute(ctx: TaskContext[Total]) -> Do[None, str, int]:
    state = yield from ctx.state
    yield from add(state.total)
    if state.deed == "fail":
        yield from fail("refused")
    if state.deed == "end":
        yield from ctx.terminate("over")
    if state.deed == "alarm":
        yield from ctx.schedule(after="1 minute")
    if state.deed == "no alarm":
        yield from ctx.cancel_schedule()
    if state.deed == "tell":
        yield from tell(common, "other").send("set")
    if state.deed != "read":
        yield from ctx.set_state(evolve(state, total=state.total + 1))


@program
def tick(ctx: ContinuousContext[Total]) -> Do[None, str, int]:
    state = yield from ctx.state
    yield from add(state.total)
    yield from ctx.set_state(evolve(state, total=state.total + 1))


@program
def on_idle(ctx: TaskContext[Total]) -> Do[None, str, object]:
    yield from ctx.update_state(lambda state: evolve(state, total=-state.total))


@program
def on_error(ctx: Any, _error: object) -> Do[None, str, object]:
    yield from ctx.set_state(Total(-1))


@program
def flush(ctx: DebounceContext[str]) -> Do[None, str, int]:
    state = yield from ctx.state
    yield from add(len(state))


@program
def work(ctx: ItemContext[Total]) -> Do[int, str, int]:
    state = yield from ctx.item
    return (yield from add(state.total))


@frozen
class Then:
    """An older type of the state."""


def upgrade(_: Then) -> Total:
    return Total()


def task(name: str, **more: Any) -> Any:
    kind: Any = Task
    options = {"state": Total, "event": str, "initial": Total(), "on_event": handle, "execute": execute}
    return kind(name, **options | more)


def first_of(_id: str) -> Total:
    return Total()


common = task("common")
jobs = st.sampled_from(
    (
        common,
        common,
        task("idle", on_idle=on_idle),
        task("rescued", on_error=on_error),
        task("shown", state_in_events=True),
        task("computed", initial=first_of),
        task("newer", versions=Migrations(Then).then(upgrade)),
        Debounce("batch", event=str, flush_after="1 minute", execute=flush),
        Continuous("ticker", state=Total, schedule=every("1 minute"), execute=tick),
        WorkerPool("pool", item=Total, work=work),
    )
)
COUNTED = '{"total":7,"deed":"set"}'
deeds = st.sampled_from(("set", "set", "read", "fail", "raise", "end", "alarm", "now", "no alarm", "tell"))
claim = Claim(owner=1, cause="event", run_id="r", claimed_ms=1, action="send", payload='"set"')
retry = PendingRetry(run_id="r", cause="alarm", attempt=2, first_failed_ms=1, at_ms=900, error=ERROR)
DATA = {
    "debounce": '{"collecting":{"event_count":1,"started_ms":1,"flush_ms":500,"reason":"flush_after"},"flushing":null}',
    "continuous": '{"anchor_ms":1,"next_ms":500,"taken_ms":null,"missed":0,"owed_ms":null,"failed":null}',
    "pool": '{"key":"k","head_start_ms":0}',
}


def seldom(value: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from((None,) * 15 + (value,))


rows = st.builds(
    Instance,
    address=st.just(Address("task", "common", "a")),
    created_ms=st.just(1),
    updated_ms=st.just(2),
    incarnation=st.just(3),
    version=st.integers(1, 4),
    state=deeds.map(lambda deed: f'{{"total":7,"deed":"{deed}"}}') | st.just('{"total":"?"}') | st.just('"text"'),
    state_version=st.sampled_from((1, 1, 1, 1, 2)),
    alarm_ms=st.sampled_from((None, 0, NOW_MS, NOW_MS, NOW_MS + 1)),
    suspension=seldom("paused") | seldom("retries_exhausted"),
    pending_retry=seldom(retry),
    claim=seldom(claim),
    event_claim=seldom(claim),
    run_count=st.integers(0, 2),
    event_count=st.integers(0, 2),
    last_error=seldom(ERROR),
    alarm_trace=seldom("t"),
    lane=seldom("k"),
    ended_ms=seldom(1),
    left=seldom(Left(codes=("code",), since_ms=1, error=ERROR)),
)
requests = st.builds(
    Request,
    command=deeds.map(SendCommand) | deeds.map(SendCommand) | deeds.map(AddCommand) | st.just(TriggerTaskCommand()),
    action=st.just("send"),
    payload=st.just('"set"'),
    idempotency_key=seldom("k"),
    unread_key_ms=seldom(NOW_MS - 1),
    inbound=seldom(Inbound(message_id=1, sender=Address("task", "common", "b"))),
    by=seldom("caller"),
) | st.just(ALARM)
moments = st.builds(
    TurnInputs,
    now_ms=st.just(NOW_MS),
    jitter=st.just(0.5),
    id_base=st.just(1 << 100),
    epoch=st.just(5),
    limits=st.sampled_from((Limits(), Limits(), Limits(state_bytes=40))),
    wants_events=st.booleans(),
    trace=seldom("00-trace"),
    code=st.sampled_from(("trusted", "trusted", "suspect")),
    hold=st.sampled_from(("released", "released", "held")),
    others=st.sampled_from((NO_OTHERS, OtherEngines(frozenset({1, 9}), 9, 5))),
)


def fitting(job: Any, row: Instance | None, request: Request) -> tuple[Instance | None, Request]:
    """A row and a request as a job of this kind has them."""
    if row is not None:
        row = row.changed(address=Address(job.kind, job.name, "a"), data=DATA.get(job.kind, ""))
    command = request.command
    if job.kind != "task" and request is not ALARM:
        request = evolve(request, command=AddCommand("set"), action="add") if job.kind == "debounce" else ALARM
    elif isinstance(command, AddCommand):
        request = evolve(request, command=SendCommand(command.event))
    return row, request


def shown(step: object) -> object:
    """A decision, without the programs and the traceback, which no two runs share."""
    if isinstance(step, Execute):
        draft = step.draft
        seen = draft.state, draft.encoded, draft.alarm, draft.messages, draft.current_alarm_ms, draft.now_ms
        return step.hook, step.instance, step.claim, step.claimed, step.claiming, step.request, step.started_ms, seen
    return (step.transition, repr(step.result)) if isinstance(step, Commit) else repr(step)


def at(job: Any) -> Address:
    return Address(job.kind, job.name, "a")


def the_long_way(job: Any, row: Instance | None, request: Request, inputs: TurnInputs) -> object:
    """The decision of ``begin`` without its first branch; None if this code cannot read the row."""
    try:
        step = decide_any(job, at(job), row, request, inputs)
    except InvalidInput:
        return None
    return shown(recorded(job, step, row, request, inputs))


COMMON = TurnInputs(now_ms=NOW_MS, jitter=0.5, id_base=1 << 100, epoch=5)
ROW = Instance(address=at(common), created_ms=1, updated_ms=2, incarnation=3, version=1, state=COUNTED, alarm_ms=NOW_MS)
SEND = Request(command=SendCommand("set"), action="send", payload='"set"')
NEW_RUN = Request(command=TriggerTaskCommand(TriggerOptions(new_run=True)), action="trigger")
NEWER = task("newer", versions=Migrations(Then).then(upgrade))


@settings(max_examples=400)
@example(common, ROW.changed(claim=claim), SEND, COMMON)
@example(common, ROW.changed(event_claim=claim), SEND, COMMON)
@example(common, ROW.changed(left=Left(codes=("code",), since_ms=1, error=ERROR)), SEND, COMMON)
@example(common, ROW.changed(alarm_ms=NOW_MS + 1), ALARM, COMMON)
@example(common, ROW, ALARM, evolve(COMMON, hold="held"))
@example(NEWER, ROW.changed(state="{}"), SEND, COMMON)
@given(jobs, rows | rows | st.none(), requests, moments)
def test_the_first_branch_decides_as_the_rest(
    job: Any, row: Instance | None, request: Request, inputs: TurnInputs
) -> None:
    row, request = fitting(job, row, request)
    expected = the_long_way(job, row, request, inputs)
    if expected is not None:
        assert shown(begin(job, at(job), Loaded(instance=row), request, inputs)) == expected


def ended(step: Execute) -> Exit[Any, Any]:
    begun = run_inline(step.program, 1, step.draft)
    exit_: Any = begun
    if isinstance(begun, Suspended):
        exit_ = run_while_answered(begun, default_handler, lambda _: False)
    assert not isinstance(exit_, Suspended)
    ended_: Exit[Any, Any] = exit_
    return ended_


OWN = {
    "state": ("state", "event_count"),
    "event_end": ("state", "event_count", "event_claim"),
    "event_claim": ("event_claim",),
    "claim": ("claim", "run_count"),
    "run": ("claim", "state", "alarm_ms"),
}


def check(transition: Transition | None, before: Instance | None) -> None:
    """Check that a row differs from the one before only where its ``Put`` says so."""
    if transition is None or not isinstance(transition.write, Put) or transition.write.changes == "any":
        return
    after, changes = transition.write.instance, transition.write.changes
    assert before is not None
    own = {name: getattr(after, name) for name in OWN[changes]}
    assert after == before.changed(version=after.version, updated_ms=after.updated_ms, **own)
    if changes == "claim":
        assert before.claim is None
    if changes == "run":
        assert (after.lane, after.suspension, after.pending_retry, after.event_claim, after.ended_ms) == (None,) * 5
    if changes in {"event_claim", "event_end"}:
        assert after.claim is None
        assert after.lane is None


@settings(max_examples=400)
@example(common, ROW.changed(last_error=ERROR), ALARM, COMMON, 0, "claimed")
@example(common, ROW.changed(lane="k"), SEND, COMMON, 0, "claimed")
@example(common, ROW.changed(pending_retry=retry), ALARM, COMMON, 0, "claimed")
@example(common, ROW, SEND, COMMON, 0, "claimed")
@example(common, ROW, evolve(SEND, command=SendCommand("alarm")), COMMON, 0, "unclaimed")
@example(common, ROW.changed(pending_retry=retry), NEW_RUN, COMMON, 0, "claimed")
@example(NEWER, ROW.changed(state="{}"), SEND, COMMON, 0, "claimed")
@example(NEWER, ROW.changed(state="{}"), SEND, COMMON, 0, "unclaimed")
@given(jobs, rows, requests, moments, st.integers(0, 70_000), st.sampled_from(("claimed", "unclaimed")))
def test_a_decision_about_a_known_row_is_that_about_any_and_names_its_columns(
    job: Any, row: Instance, request: Request, inputs: TurnInputs, took_ms: int, memory: str
) -> None:
    """The row in memory, and its decoded state, change neither decision nor row: a write only names its columns."""
    before, request = fitting(job, row, request)
    assert before is not None
    loaded, known = Loaded(instance=before), evolve(inputs, row=before)
    if before.state == COUNTED and before.state_version == job.plan.state_version and job.kind == "task":
        known = evolve(known, decoded=Decoded(before.state, Total(7, "set")))
    try:
        general: Any = begin(job, at(job), loaded, request, inputs)
    except InvalidInput:
        return
    step: Any = begin(job, at(job), loaded, request, known)
    later = evolve(inputs, now_ms=NOW_MS + took_ms, id_base=1 << 101)
    while isinstance(step, Execute):
        assert shown(step) == shown(general)
        transition = step.claiming
        if step.claimed == "before_effect" and memory == "claimed":
            transition = claim_event(step)
            assert transition == claim_event(general)
        if step.claimed != "recorded" and transition is not None:
            check(transition, before)
            assert isinstance(transition.write, Put)
            before = transition.write.instance
            step, general = step.recorded(before), evolve(general.recorded(before), is_row=False)
        exit_, other = ended(step), ended(general)
        if isinstance(exit_, Raised):
            other = exit_  # a traceback of its own is recorded
        step, general = finish(job, step, exit_, later), finish(job, general, other, later)
    assert shown(step) == shown(general)
    if isinstance(step, Commit):
        check(step.transition, before)
