"""The pure handler for workflows: decides their commands and alarms. It never reads the journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, assert_never, cast

import attrs
import orjson

from perdure.jobs.hooks import record_failure
from perdure.jobs.redaction import secrets_of_instance
from perdure.jobs.request import AlarmDue, Request, too_large
from perdure.jobs.step import Commit, Step
from perdure.jobs.transitions import EventRecorder, answered, nothing, put, refuse, reply, stored
from perdure.kinds.workflow.children import (
    arrived_end,
    has_secret_end,
    told,
    with_parked,
    without_parked,
)
from perdure.kinds.workflow.commands import (
    REASON,
    AskQuery,
    AskUpdate,
    CancelWorkflow,
    ChildEnd,
    ChildEnded,
    ChildParked,
    ChildResumed,
    ForkWorkflow,
    NoteFork,
    PromiseSettled,
    QueryAnswer,
    ReadOutcome,
    SendSignal,
    SendUpdate,
    SettlePromise,
    Signalled,
    SignalWithStart,
    StartChild,
    StartTimed,
    StartWorkflow,
    UnwatchInstance,
    UpdateSent,
    WatchInstance,
    WorkflowOutcome,
)
from perdure.kinds.workflow.header import (
    END,
    FAILURE,
    MAX_WATCHERS,
    PUBLISHED,
    REPLY_TO,
    CancelRequest,
    Header,
    Publication,
    Watcher,
    has_timed_out,
    header_of,
    shared_in,
    with_published,
    with_shared,
    written,
)
from perdure.kinds.workflow.instructions import update_signal
from perdure.kinds.workflow.journal import MAX_PUBLISHED_BYTES, body_of
from perdure.kinds.workflow.starts import arrived_signal, due, note_fork, signal_with_start, start
from perdure.kinds.workflow.waits import arrival
from perdure.programs import Raised
from perdure.values.address import Address
from perdure.values.errors import (
    HookRaised,
    InvalidInput,
    Overloaded,
    SignalRefused,
    Undecodable,
    UnknownAction,
    UpdateRefused,
)
from perdure.values.event import Event, JobNoted, JobResumed
from perdure.values.excerpt import REFERENCE, shown_value
from perdure.values.instance import Instance
from perdure.values.listings import InstanceOutcome
from perdure.values.status import InstanceStatus
from perdure.values.status_wait import PublishedValue
from perdure.values.times import from_ms
from perdure.values.transition import JournalChange
from perdure.values.turn_inputs import TurnInputs

if TYPE_CHECKING:
    from perdure.kinds.workflow.context import AnyWorkflow

WorkflowCommand: TypeAlias = (
    StartWorkflow
    | StartTimed
    | StartChild
    | ChildEnded
    | ChildParked
    | ChildResumed
    | WatchInstance
    | UnwatchInstance
    | SendSignal
    | SignalWithStart
    | SendUpdate
    | AskUpdate
    | SettlePromise
    | CancelWorkflow
    | ForkWorkflow
    | NoteFork
    | AskQuery
    | ReadOutcome
    | AlarmDue
)


_OF_WORKFLOWS = (
    StartChild,
    ChildEnded,
    ChildParked,
    ChildResumed,
    WatchInstance,
    UnwatchInstance,
    NoteFork,
    AskUpdate,
)


def begin(
    job: AnyWorkflow,
    address: Address,
    instance: Instance | None,
    request: Request,
    inputs: TurnInputs,
) -> Step:
    """Decide a workflow's command or alarm."""
    command = cast("WorkflowCommand", request.command)
    # only workflows send these
    if request.inbound is None and isinstance(command, _OF_WORKFLOWS):
        return refuse(address, UnknownAction(f"{job.kind}:{job.name}", request.action, tuple(job.plan.offered)))
    step: Step
    match command:
        case StartWorkflow() | StartTimed() | StartChild() | ForkWorkflow():
            step = start(job, address, instance, request, inputs)
        case SendSignal() | ChildEnded() | ChildParked() | ChildResumed():
            step = _arrived(job, address, instance, command, request, inputs)
        case SignalWithStart():
            step = _signal_with_start(job, address, instance, command, request, inputs)
        case WatchInstance() | UnwatchInstance() | NoteFork():
            step = _watch(job, address, instance, command, request, inputs)
        case CancelWorkflow():
            step = _cancel(address, instance, command, inputs)
        case SendUpdate() | AskUpdate() | SettlePromise():
            step = _asked(job, address, instance, command, request, inputs)
        case AskQuery() | ReadOutcome():
            step = _query(job, address, instance, command, inputs)
        case AlarmDue():
            step = due(job, address, instance, request, inputs)
        case _:
            assert_never(command)
    return step


def begin_unread(
    job: AnyWorkflow, address: Address, instance: Instance, request: Request, inputs: TurnInputs
) -> Step | None:
    """Decide a command for a workflow that this code cannot read or follow: it stores signals, and runs nothing."""
    if isinstance(request.command, AlarmDue):
        return None
    # A deployment that this code cannot follow must not lose signals: they need the header, and not the journal.
    return begin(job, address, instance, request, inputs)


def _signal_with_start(
    job: AnyWorkflow,
    address: Address,
    instance: Instance | None,
    command: SignalWithStart,
    request: Request,
    inputs: TurnInputs,
) -> Step:
    """Store a signal. A workflow that is absent, or has ended and may start again, begins with it in its inbox."""
    ended = instance is not None and header_of(instance).ended is not None
    if instance is None or (ended and command.start.if_ended == "start"):
        return signal_with_start(job, address, instance, command, request, inputs)
    return _arrived(job, address, instance, SendSignal(command.name, command.start.value), request, inputs)


def _arrived(
    job: AnyWorkflow,
    address: Address,
    instance: Instance | None,
    command: SendSignal | ChildEnded | ChildParked | ChildResumed,
    request: Request,
    inputs: TurnInputs,
) -> Step:
    """Store a signal, or a child's end. Also while the workflow is parked: the program receives it later."""
    header = None if instance is None else header_of(instance)
    if instance is None or header is None or header.ended is not None:
        found: Literal["absent", "ended"] = "absent" if instance is None else "ended"
        if isinstance(command, SendSignal):
            # An answer that looks like success would lose the signal: the sender must know.
            return refuse(address, SignalRefused(str(address), command.name, found))
        return reply(
            address, Signalled(accepted=False, found=found, status=None if instance is None else instance.status)
        )
    if isinstance(command, ChildParked | ChildResumed):
        return _noted(instance, header, command, request, inputs)
    number, waiting, parts = header.signals + 1, header.waiting, tuple[str, ...]()
    if isinstance(command, SendSignal):
        if waiting >= job.inbox:
            return refuse(address, Overloaded(f"inbox of {address}", job.inbox))
        waiting += 1
        try:
            row = arrived_signal(job, number, command.name, command.value, request, inputs)
        except InvalidInput as refused:
            return refuse(address, refused)
    else:  # never refused for the limit of the inbox: the workflow itself started the child, and waits for its end
        end = command.end
        value, parts = arrived_end(end.form, end.value, inputs, secret=end.secret)
        row = arrival(number, end.call, value, inputs.now_ms, secret=end.secret)
        # A parked child may end without a resumption: a caller may terminate it.
        header = without_parked(header, end.call)
    header = attrs.evolve(header, signals=number, waiting=waiting)
    journal = JournalChange((*parts, body_of(row)))
    return _wake(instance, header, inputs, journal=journal, event_count=instance.event_count + 1)


def _noted(
    instance: Instance, header: Header, command: ChildParked | ChildResumed, request: Request, inputs: TurnInputs
) -> Commit:
    """Note that a child is parked, or was resumed. The program does not see it: it waits for the child's end."""
    call, reason = command.parking.call, command.parking.reason
    child = "" if request.inbound is None else str(request.inbound.sender)
    if isinstance(command, ChildParked):
        name, changed = "child.parked", with_parked(header, call, child, reason)
    else:
        name, changed = "child.resumed", without_parked(header, call)
    data = orjson.dumps({"child": child, "reason": reason}).decode()
    noted = EventRecorder(inputs, instance.address, instance.run_count).add(JobNoted, name=name, data=data)
    transition = put(instance, inputs.now_ms, events=(noted,), data=written(changed))
    return answered(transition, Signalled(accepted=True, found="running", status=instance.status))


def _cancel(address: Address, instance: Instance | None, command: CancelWorkflow, inputs: TurnInputs) -> Step:
    if instance is None:
        return reply(address, Signalled(accepted=False, found="absent", status=None))
    header = header_of(instance)
    if header.ended is not None:
        return reply(address, Signalled(accepted=False, found="ended", status=instance.status))
    before = header.cancel
    # A stronger request must get through: an operator may find that the workflow waits for a step that never ends.
    if before is not None and (before.interrupt or not command.interrupt):
        return reply(address, Signalled(accepted=True, found="running", status=instance.status))
    if before is None:
        request = CancelRequest(reason=command.reason, interrupt=command.interrupt)
    else:
        request = attrs.evolve(before, interrupt=True)
    header = attrs.evolve(header, cancel=request)
    if instance.suspension in (None, "paused"):
        return _wake(instance, header, inputs)
    # A parked workflow is resumed, or its compensations would never run.
    resumed = EventRecorder(inputs, address, instance.run_count).add(JobResumed, was=instance.suspension)
    return _wake(instance.changed(suspension=None), header, inputs, (resumed,))


def _asked(
    job: AnyWorkflow,
    address: Address,
    instance: Instance | None,
    command: SendUpdate | AskUpdate | SettlePromise,
    request: Request,
    inputs: TurnInputs,
) -> Commit:
    if isinstance(command, SettlePromise):
        return _settle(job, address, instance, command, request, inputs)
    return _update(job, address, instance, command, request, inputs)


def _update(
    job: AnyWorkflow,
    address: Address,
    instance: Instance | None,
    command: SendUpdate | AskUpdate,
    request: Request,
    inputs: TurnInputs,
) -> Commit:
    """Store an update, as a signal. Its ticket says where the journal was, so that its reply is found behind that."""
    header = None if instance is None else header_of(instance)
    watcher = _asker(command, request)
    if instance is None or header is None or header.ended is not None:
        found: Literal["absent", "ended"] = "absent" if instance is None else "ended"
        sent = UpdateSent(accepted=False, found=found, status=None if instance is None else instance.status)
        return reply(address, sent) if watcher is None else _told(address, watcher, found, inputs, sent)
    full = header.waiting >= job.inbox or len(header.unanswered) >= job.inbox
    codec = job.updates[command.name].values
    given = command.value if isinstance(command, SendUpdate) else command.asked.value
    refusal = _refusal(job, instance, command.name, given)
    # A caller is refused: it can try again. A workflow cannot, and is answered below.
    if watcher is None or isinstance(refusal, Undecodable):
        refused = Overloaded(f"inbox of {address}", job.inbox) if full else refusal
        if refused is not None:
            return refuse(address, refused)
        return _stored_update(job, instance, header, command.name, request.encode(codec, given).decode(), inputs)
    # Answered, and not refused: the sender waits for an answer, and would wait for a dead letter without end.
    sent = UpdateSent(accepted=False, found="running", status=instance.status)
    watchers = shared_in(header).watchers
    if full or len(watchers) >= MAX_WATCHERS:
        return _told(address, watcher, "full", inputs, sent)
    if refusal is not None:
        data = refusal.data if isinstance(refusal, UpdateRefused) else "null"
        form = "refused" if isinstance(refusal, UpdateRefused) else "its validator raised an exception"
        return _told(address, watcher, form, inputs, sent, data, secret=True)
    header = with_shared(header, watchers=(*watchers, attrs.evolve(watcher, wants=f"{REPLY_TO}{header.signals + 1}")))
    return _stored_update(job, instance, header, command.name, request.encode(codec, given).decode(), inputs)


def _asker(command: SendUpdate | AskUpdate, request: Request) -> Watcher | None:
    """Return the workflow that waits for the reply to an update. None for a caller, which reads it."""
    if isinstance(command, SendUpdate) or request.inbound is None:
        return None
    return Watcher(address=str(request.inbound.sender), call=command.asked.call, wants=REPLY_TO)


def _told(
    address: Address,
    watcher: Watcher,
    form: str,
    inputs: TurnInputs,
    answer: object,
    value: str = "null",
    *,
    secret: bool = False,
) -> Commit:
    """Answer a workflow that waits, and store nothing."""
    end = ChildEnd(call=watcher.call, form=form, value=value, secret=secret)
    messages = told((watcher,), address, lambda _: end, inputs.now_ms)
    return answered(attrs.evolve(nothing(address), messages=messages), answer)


def _refusal(
    job: AnyWorkflow, instance: Instance, name: str, given: Any
) -> UpdateRefused | Undecodable | HookRaised | None:
    """Return why an update is refused before it is stored. None if it is not."""
    update = job.updates[name]
    validate, errors = update.validate, update.errors
    if validate is None or errors is None:
        return None

    def data(state: Any) -> str:
        error = validate(state, given)
        return "" if error is None else errors.encode(error).decode()

    found = _of_state(job, instance, data)
    if not isinstance(found, str):
        return found
    return UpdateRefused(str(instance.address), name, found) if found else None


def _of_state(job: AnyWorkflow, instance: Instance, function: Callable[[Any], str]) -> str | Undecodable | HookRaised:
    """Return the value of a user's function of the committed state."""
    try:
        state = job.open_state(instance).value
    except InvalidInput as problem:
        return Undecodable(str(instance.address), problem.problems)
    try:
        return function(state)
    # Of the user's function: raised here, it would be taken for a defect of the engine.
    except Exception as raised:  # noqa: BLE001
        record = record_failure(Raised(raised), None, secrets=secrets_of_instance(job, instance))
        return HookRaised(record.error_type, record.message, record.traceback or "")


def _stored_update(
    job: AnyWorkflow,
    instance: Instance,
    header: Header,
    name: str,
    value: str,
    inputs: TurnInputs,
) -> Commit:
    number, codec = header.signals + 1, job.updates[name].values
    row = arrival(number, update_signal(name), value, inputs.now_ms, secret=codec.secret)
    header = attrs.evolve(header, signals=number, waiting=header.waiting + 1, unanswered=(*header.unanswered, number))
    stored_ = _wake(
        instance, header, inputs, journal=JournalChange((body_of(row),)), event_count=instance.event_count + 1
    )
    after = stored(stored_.transition)
    # The length before this row: the reply can only be behind it.
    ticket = f"{instance.incarnation}.{number}.{instance.journal_length}"
    sent = UpdateSent(accepted=True, found="running", ticket=ticket, status=None if after is None else after.status)
    return answered(stored_.transition, sent)


def _settle(
    job: AnyWorkflow,
    address: Address,
    instance: Instance | None,
    command: SettlePromise,
    request: Request,
    inputs: TurnInputs,
) -> Commit:
    """Store the outcome of a promise, and let those that wait for it continue. An earlier outcome stays."""
    header, name = None if instance is None else header_of(instance), command.name
    found = None if header is None else next((each for each in shared_in(header).published if each.name == name), None)
    # The first outcome stays: those who waited have it already.
    if instance is not None and found is not None:
        return reply(address, PromiseSettled(accepted=False, settled=found.value, status=instance.status))
    if instance is None or header is None or header.ended is not None:
        why: Literal["absent", "ended"] = "absent" if instance is None else "ended"
        return refuse(address, SignalRefused(str(address), f"of promise {name}", why))
    codec = job.promises[name].outcomes
    value = request.encode(codec, command.outcome).decode()
    # Every commit writes the outcome with the header, so it has the limit of a published value.
    refused = too_large(value, min(inputs.limits.payload_bytes, MAX_PUBLISHED_BYTES), what=codec.what)
    if refused is not None:
        return refuse(address, refused)
    after = with_published(header, (Publication(name=name, value=value, secret=codec.secret),))
    waiting = tuple(each for each in shared_in(header).watchers if each not in shared_in(after).watchers)
    news = told(waiting, address, lambda watcher: cast("ChildEnd", answer_to(after, watcher)), inputs.now_ms)
    commit = _wake(instance, after, inputs, messages=news, event_count=instance.event_count + 1)
    stored_ = cast("Instance", stored(commit.transition))
    return answered(commit.transition, PromiseSettled(accepted=True, settled=value, status=stored_.status))


def has_answered(instance: Instance, ticket: tuple[int, int, int]) -> bool:
    """Return whether an update has its reply, or will never have one."""
    incarnation, number, _ = ticket
    header = header_of(instance)
    # Another incarnation: the update belonged to a workflow that is gone.
    return instance.incarnation != incarnation or header.ended is not None or number not in header.unanswered


def _watch(
    job: AnyWorkflow,
    address: Address,
    instance: Instance | None,
    command: WatchInstance | UnwatchInstance | NoteFork,
    request: Request,
    inputs: TurnInputs,
) -> Commit:
    """Answer a workflow that waits for something of this one, or store that it waits. Or note this one's fork."""
    if isinstance(command, NoteFork):
        return note_fork(address, instance, command, request, inputs)
    header, watch = None if instance is None else header_of(instance), command.watch
    sender = "" if request.inbound is None else str(request.inbound.sender)
    watcher = Watcher(address=sender, call=watch.call, wants=watch.wants)
    answer = Signalled(
        accepted=True,
        found="absent" if instance is None else "running" if header is None or header.ended is None else "ended",
        status=None if instance is None else instance.status,
    )
    found = ChildEnd(call=watch.call, form="absent", value="null") if header is None else answer_to(header, watcher)
    if header is not None and header.ended is not None and watch.wants == END:
        form, value = header.ended.form, header.ended.value
        found = ChildEnd(call=watch.call, form=form, value=value, secret=has_secret_end(job))
    watchers = () if header is None else shared_in(header).watchers
    if isinstance(command, UnwatchInstance):
        # The answer may have been sent already: then the other program ignores it.
        left = tuple(each for each in watchers if (each.address, each.call) != (sender, watch.call))
        # Unchanged: without a write, a repeated message costs nothing.
        if instance is None or header is None or left == watchers:
            return reply(address, answer)
        watchers = left
    else:
        # Every commit writes the watchers: without a limit, others could fill the header.
        if found is None and len(watchers) >= MAX_WATCHERS:
            found = ChildEnd(call=watch.call, form="full", value="null")
        if found is not None or instance is None or header is None:
            end = cast("ChildEnd", found)
            return _told(address, watcher, end.form, inputs, answer, end.value, secret=end.secret)
        watchers = (*watchers, watcher)
    transition = put(instance, inputs.now_ms, data=written(with_shared(header, watchers=watchers)))
    return answered(transition, answer)


def answer_to(header: Header, watcher: Watcher) -> ChildEnd | None:
    """Return the answer to a workflow that waits for something of this one. None if there is none yet."""
    found = next((each for each in shared_in(header).published if watcher.wants == f"{PUBLISHED}{each.name}"), None)
    if found is not None:
        return ChildEnd(call=watcher.call, form="published", value=found.value, secret=found.secret)
    return None if header.ended is None else ChildEnd(call=watcher.call, form="ended", value="null")


def published(instance: Instance, name: str) -> PublishedValue:
    """Return the value that a workflow published under a name."""
    header = header_of(instance)
    found = next((each for each in shared_in(header).published if each.name == name), None)
    if found is not None:
        return PublishedValue(form="published", value=found.value)
    return PublishedValue(form="waiting" if header.ended is None else "ended")


def _query(
    job: AnyWorkflow, address: Address, instance: Instance | None, command: AskQuery | ReadOutcome, inputs: TurnInputs
) -> Commit:
    """Answer a query from the committed state. Nothing is written, and no journal is read."""
    if isinstance(command, ReadOutcome):
        return reply(address, outcome_of(instance))
    if instance is None:
        return reply(address, QueryAnswer(found="absent"))
    query, codec = job.queries[command.name]
    value = _of_state(job, instance, lambda state: codec.encode(query.read(state, command.value)).decode())
    if not isinstance(value, str):
        return refuse(address, value)
    refused = too_large(value, inputs.limits.payload_bytes, what=codec.what)
    if refused is not None:
        return refuse(address, refused)
    ended = header_of(instance).ended is not None
    return reply(address, QueryAnswer(found="ended" if ended else "running", value=value))


def _wake(
    instance: Instance, header: Header, inputs: TurnInputs, events: tuple[Event, ...] = (), **changes: Any
) -> Commit:
    """Store a request, and let an alarm continue the workflow. A run in progress sees it at its next commit.

    A run that a crash interrupted keeps its deliveries: its next one is marked, and knows that a step may have begun.
    """
    data = written(header)
    # A queued start keeps its turn, whatever arrives meanwhile. A cancellation ends it without one.
    # With a claim, a run is in progress: it reads the request with its next commit, and its end sets the alarm.
    if instance.claim is None and (instance.lane is None or header.cancel is not None):
        pending = instance.pending_retry
        crashed = pending is not None and pending.deliveries > 0
        # Dropped, the next run would take itself for the first delivery, and not know that a step may have begun.
        kept = attrs.evolve(pending, at_ms=inputs.now_ms) if pending is not None and crashed else None
        # A signal does not begin a workflow before its time. A cancellation does: it ends it there.
        waits = header.cancel is None and instance.run_count == 0
        alarm_ms = max(inputs.now_ms, header.started_ms) if waits else inputs.now_ms
        changes |= {"alarm_ms": alarm_ms, "pending_retry": kept, "lane": None}
    transition = put(instance, inputs.now_ms, events=events, data=data, **changes)
    after = stored(transition)
    return answered(
        transition, Signalled(accepted=True, found="running", status=None if after is None else after.status)
    )


def report(instance: Instance, status: InstanceStatus) -> InstanceStatus:
    """Return the ``status`` result."""
    header = header_of(instance)
    if header.parent is not None:
        status = attrs.evolve(status, parent=header.parent.address)
    if header.deadline_ms is not None:
        status = attrs.evolve(status, deadline_at=from_ms(header.deadline_ms))
    if status.heals:
        status = attrs.evolve(status, heals=f"{status.heals}{_cancelled_then(header)}")
    if header.ended is not None:
        return attrs.evolve(status, phase="timed_out" if has_timed_out(header) else header.ended.form)
    return attrs.evolve(status, phase="child_parked") if header.parked else status


def _cancelled_then(header: Header) -> str:
    """Return the sentence that a suspended workflow ends when it continues. Empty if it does not."""
    if header.ended is not None:
        return ""
    if header.cancel is not None:
        return " A stored cancellation ends it then."
    return "" if header.deadline_ms is None else " If its deadline has passed, it is cancelled then."


def shown_outcome(instance: Instance) -> InstanceOutcome | None:
    """Return how a workflow ended. None while it has not."""
    found = outcome_of(instance)
    if found.form == "running":
        return None
    value = found.value
    if value is not None and value[:1] == REFERENCE:
        ended = header_of(instance).ended
        value = None if ended is None else shown_value(ended.value)
    return InstanceOutcome(form=found.form, value=value, error=found.error, reason=found.reason)


def outcome_of(instance: Instance | None) -> WorkflowOutcome:
    """Return how a workflow ended."""
    if instance is None:
        return WorkflowOutcome(form="absent")
    header = header_of(instance)
    ended = header.ended
    if ended is None:
        return WorkflowOutcome(form="running")
    match ended.form:
        case "done" if ended.value[:1] == REFERENCE:
            # A ticket, as of an update's reply: the value is read from the journal.
            return WorkflowOutcome(form="done", value=f"{REFERENCE}{instance.incarnation}.0.0")
        case "done":
            return WorkflowOutcome(form="done", value=ended.value)
        case "failed":
            return WorkflowOutcome(form="failed", error=FAILURE.decode(ended.value.encode()))
        case "cancelled":
            form: Literal["cancelled", "timed_out"] = "timed_out" if has_timed_out(header) else "cancelled"
            return WorkflowOutcome(form=form, reason=REASON.decode(ended.value.encode()))
        case _:
            assert_never(ended.form)


def rearmed(instance: Instance, inputs: TurnInputs) -> Instance:
    """Return a workflow that is resumed: a step that failed for good gets new attempts."""
    header = header_of(instance)
    # A pause is not the end of a step: its attempts still count.
    if header.ended is not None or instance.suspension == "paused":
        return instance
    failing = tuple(
        # Earlier attempts do not count any more, or the resumed step would be parked at its first failure.
        attrs.evolve(step, at_ms=inputs.now_ms, uncounted=step.attempts, reason="") if step.at_ms is None else step
        for step in header.failing
    )
    return instance.changed(data=written(attrs.evolve(header, failing=failing)), alarm_ms=inputs.now_ms)
