"""The pure handler for tasks: events, triggers and alarms."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeAlias, TypeVar, assert_never, cast

import attrs
import orjson
from returns.result import Failure, Success

from perdure.codecs import Codec
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.draft import Draft
from perdure.jobs.hooks import record_failure
from perdure.jobs.recovery import claimed_command
from perdure.jobs.redaction import secrets_of_request
from perdure.jobs.request import AlarmDue, Request
from perdure.jobs.run import (
    begin_attempt,
    begin_event,
    begin_run,
    broken_before,
    event_failed,
    executed,
    mark_first_event,
    paused_answer,
    prior_failed,
    run_answer,
    started,
)
from perdure.jobs.step import Commit, Execute, Step, TurnResult
from perdure.jobs.transitions import EventRecorder, answered, refuse, reply
from perdure.kinds.task.context import (
    SendCommand,
    TaskContext,
    TaskErrorContext,
    TaskHooks,
    TriggerTaskCommand,
)
from perdure.programs import Program, Raised, succeed
from perdure.programs.instructions import ENDS_PROCESS
from perdure.values.address import Address
from perdure.values.answer import OutcomeRecord, RunAnswer, Sent
from perdure.values.errors import DefinitionError, InstanceParked, Rejected, UnknownAction
from perdure.values.event import Event, TaskScheduled
from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.frozen import frozen
from perdure.values.instance import Claim, Fence, Instance
from perdure.values.message import Message
from perdure.values.outcome import Replied
from perdure.values.status import FailureRecord
from perdure.values.times import from_ms
from perdure.values.transition import Changes, Put, Transition
from perdure.values.turn_inputs import Decoded, TurnInputs

V = TypeVar("V")

MAX_BYTES_OF_CHARACTER: Final = 4


@frozen(kw_only=True)
class EventCall(Generic[V]):
    """The ``ask_send.NAME`` input.

    Attributes:
        call: the call that waits.
    """

    __repr__ = fields_in_line

    call: str
    value: V


@frozen
class AskEvent:
    """Handle an event, and send a reply to the workflow that waits for it. Only workflows send this."""

    __repr__ = fields_in_line

    asked: EventCall[Any]
    reply: str

    @property
    def event(self) -> object:
        """The event."""
        return self.asked.value


TaskCommand: TypeAlias = SendCommand | AskEvent | TriggerTaskCommand | AlarmDue


# ---------------------------------------------------------------- begin
def begin(
    job: AnyDefinition,
    first: Decoded | None,
    address: Address,
    instance: Instance | None,
    request: Request,
    inputs: TurnInputs,
) -> Step:
    """Decide a task's command or alarm.

    Args:
        job: the definition.
        first: every instance's first state, if it is known. Otherwise the handler calls the definition for it.
        address: the instance.
        instance: the stored instance.
        request: the request.
        inputs: the clock, the random value and the ids.
    """
    command = cast("TaskCommand", request.command)
    match command:
        case SendCommand() | AskEvent():
            # Only workflows send these.
            if request.inbound is None and isinstance(command, AskEvent):
                return refuse(address, UnknownAction(f"{job.kind}:{job.name}", request.action, tuple(job.plan.offered)))
            if instance is None:
                return _create(job, first, address, request, inputs)
            # Refused, so that the state remains as it was when the run failed.
            if instance.suspension is not None and instance.suspension != "paused":
                return refuse(address, InstanceParked(str(address), instance.suspension))
            return begin_event(job, instance, request, inputs, creates=False)
        case TriggerTaskCommand():
            return _trigger(job, address, instance, command, request, inputs)
        case AlarmDue():
            return _alarm(job, address, instance, request, inputs)
        case _:
            assert_never(command)


def _create(job: AnyDefinition, first: Decoded | None, address: Address, request: Request, inputs: TurnInputs) -> Step:
    fresh = Instance(address=address, created_ms=inputs.now_ms, updated_ms=inputs.now_ms)
    # For messages as well: `initial` may be the code that ends the process.
    if inputs.code == "suspect":
        return mark_first_event(fresh, request, inputs)
    # A cheap bound, so that the common case need not encode the text to measure it.
    if first is not None and len(first.text) <= inputs.limits.state_bytes // MAX_BYTES_OF_CHARACTER:
        return begin_event(job, fresh.changed(state=first.text), request, inputs, creates=True, state=first)
    try:
        state = job.first_state(address.id, inputs.limits)
    except ENDS_PROCESS:
        raise
    except BaseException as defect:  # noqa: BLE001 - `initial` may raise any class, as each hook
        return broken_before(job, fresh, request, "initial", defect, inputs)
    return begin_event(job, fresh.changed(state=state), request, inputs, creates=True)


def _trigger(
    job: AnyDefinition,
    address: Address,
    instance: Instance | None,
    command: TriggerTaskCommand,
    request: Request,
    inputs: TurnInputs,
) -> Step:
    if instance is None:
        return reply(address, RunAnswer(found="absent"))
    if instance.suspension is not None:
        return reply(address, paused_answer(instance))
    # A failed run may have had effects: the trigger repeats it under its id, unless the caller gives it up.
    if instance.pending_retry is not None and not command.options.new_run:
        return begin_attempt(job, instance, instance.pending_retry, request, inputs)
    return begin_run(job, instance, request, inputs, cause="trigger")


def _alarm(
    job: AnyDefinition, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs
) -> Step:
    # A retry continues its run. A new one would have a new id, and services would take it for other work.
    if instance is None:
        return reply(address, None)
    if instance.pending_retry is not None:
        return begin_attempt(job, instance, instance.pending_retry, request, inputs)
    return begin_run(job, instance, request, inputs, cause="alarm")


# ---------------------------------------------------------------- the program of a claim
def execute_of(hooks: TaskHooks, ctx: TaskContext[Any], claim: Claim) -> Program[Any, Any, Any]:
    """Return a run's program."""
    return _nothing(claim) if hooks.execute is None else hooks.execute(ctx)


def _nothing(claim: Claim) -> Program[None]:
    """Return a task's run without ``execute``: one for an alarm, which only older code can have set, fails."""
    # Success would use up the alarm of older code without a word: it fails, so that an operator sees it.
    return succeed(None) if claim.cause == "trigger" else succeed(None).bind(_refuse)


def _refuse(_: None) -> Program[None]:
    expected = "execute=... in its definition, as the one that set the alarm had: it runs when the alarm fires"
    raise DefinitionError("task whose alarm fired", "no execute", expected)


def error_handler(
    job: AnyDefinition, hooks: TaskHooks, execute: Execute, error: object
) -> Program[Any, Any, Any] | None:
    """Return the ``on_error`` program. None if there is none, or ``on_idle`` failed, which fails the turn."""
    if hooks.on_error is None or execute.hook == "on_idle":
        return None
    claim = execute.claim
    command = execute.request.command
    if not isinstance(command, SendCommand | AskEvent):  # delivered again, or not an event
        command = claimed_command(job, claim)
    ctx: TaskErrorContext[Any, Any] = hooks.error_context(
        execute.instance,
        claim,
        failed_hook="on_event" if claim.cause == "event" else "execute",
        event=command.event if isinstance(command, SendCommand | AskEvent) else None,
        failed_draft=execute.draft.state,
    )
    return hooks.on_error(ctx, error)


# ---------------------------------------------------------------- finish
def event_handled(execute: Execute, alarm_ms: int | None, inputs: TurnInputs) -> Commit:
    """Settle an event whose hooks succeeded."""
    draft, before = execute.draft, execute.instance
    after = before.after_event(draft.encoded or before.state, inputs.now_ms, alarm_ms)
    events: tuple[Event, ...] = ()
    changes: Changes = "any"
    # The common case first: it changes the state of a stored instance alone, and logs nothing.
    is_new = execute.claim.created == "here"
    if not is_new and alarm_ms == before.alarm_ms and execute.prior is None:
        # The narrow write stores the state and few more columns. Another field that differs in `after` would be lost.
        if execute.is_row and before.claim is None:
            changes = "state"
            if before.event_claim is not None:
                changes = "event_end" if before.lane is None else "any"
    else:
        log = EventRecorder(inputs, before.address, before.run_count)
        events = (*started(log, execute), *prior_failed(log, execute, inputs), *_scheduled(log, execute, alarm_ms))
    transition = Transition(
        address=before.address,
        expected=Fence(before.incarnation, before.version) if before.incarnation else None,
        write=Put(after, changes),
        messages=tuple(draft.messages) if draft.messages else (),
        events=events,
        # A store compares its index columns with this row: one that it does not hold would hide a change.
        before=before if before.incarnation and execute.is_row else None,
    )
    # The answer is the same object for each of these: it saves three objects for the most frequent turn.
    if (
        not is_new
        and alarm_ms is None
        and before.pending_retry is None
        and before.suspension is None
        and before.claim is None
        and before.lane is None
    ):
        return Commit(transition, _IDLE)
    return Commit(transition, _sent(execute, after))


_IDLE: Final[Success[Sent]] = Success(Sent(created=False, status="idle", scheduled_at=None))


def _sent(execute: Execute, after: Instance) -> Success[Sent]:
    return Success(
        Sent(
            created=execute.claim.created == "here",
            status=after.status,
            scheduled_at=None if after.alarm_ms is None else from_ms(after.alarm_ms),
        )
    )


def with_replies(job: AnyDefinition, execute: Execute, commit: Commit, inputs: TurnInputs) -> Commit | Execute:
    """Add a settled event's replies to the answer. An undeclared reply is a defect."""
    wrong = undeclared(job, execute.draft)
    if wrong is not None:
        return event_failed(job, execute, Raised(wrong), inputs)
    sent: Sent = cast("Any", commit.result.unwrap())
    return Commit(commit.transition, Success(replied(sent, execute.draft)))


def undeclared(job: AnyDefinition, draft: Draft) -> DefinitionError | None:
    """Return the error for a reply that a handler sent, and its definition does not declare. None if there is none."""
    for name, (codec, _) in (draft.replies or {}).items():
        if job.plan.replies.get(name) is not codec:
            return DefinitionError(f"reply of {job.kind}:{job.name}", name, "a reply that its definition declares")
    return None


def replied(sent: Sent, draft: Draft) -> Replied:
    """Return an event's answer with the replies that its handler sent."""
    # From the stored form, so that members of newer code are in it, and a repeat with the key returns the same.
    replies = {name: orjson.loads(text) for name, (_, text) in (draft.replies or {}).items()}
    return Replied(created=sent.created, status=sent.status, scheduled_at=sent.scheduled_at, replies=replies)


def reply_message(
    job: AnyDefinition, address: Address, request: Request, result: TurnResult, now_ms: int
) -> tuple[Message, ...]:
    """Return the message with a reply, or with the typed error, to the workflow that asked for it."""
    asked = request.command
    if not isinstance(asked, AskEvent):  # delivered again
        asked = job.parse(request.action, request.payload).command
    asked = cast("AskEvent", asked)
    if request.inbound is None:
        return ()
    form, value = _told(job, request, asked.reply, result)
    # The workflow does not know the secrets of this job's types.
    given = {"call": asked.asked.call, "form": form, "value": value, "secret": job.plan.has_secrets}
    payload = orjson.dumps(given).decode()
    sender = request.inbound.sender
    return (Message(sender=address, target=sender, action="child_ended", payload=payload, sent_ms=now_ms),)


def _told(job: AnyDefinition, request: Request, reply: str, result: TurnResult) -> tuple[str, str]:
    match result:
        case Success(Replied(replies=replies)) if reply in replies:
            return "done", orjson.dumps(replies[reply]).decode()
        case Failure(Rejected()):
            error: Any = cast("Any", result).failure().error  # of the job's own type
            record = record_failure(Failure(error), job.plan.errors, secrets=secrets_of_request(job, request))
            return "failed", ERROR.encode(record).decode()
        case Failure(error):
            return f"it refused the event: {excerpt(error)}", "null"
        case _:
            return "its handler sent no reply", "null"


ERROR: Final[Codec[FailureRecord]] = Codec.of(FailureRecord, what="error of an event")


def run_executed(execute: Execute, alarm_ms: int | None, inputs: TurnInputs) -> Commit:
    """Settle a run whose hooks succeeded."""
    draft, before, prior = execute.draft, execute.instance, execute.prior
    log = EventRecorder(inputs, before.address, before.run_count)
    events: tuple[Event, ...] = executed(log, execute, inputs) if prior is None else prior_failed(log, execute, inputs)
    after = before.changed(
        version=before.version + 1,
        updated_ms=inputs.now_ms,
        state=draft.encoded or before.state,
        alarm_ms=alarm_ms,
        claim=None,
        pending_retry=None,
        last_error=prior,
    )
    # The narrow write does not clear an old error, and it is of an instance that is idle or has an alarm.
    is_narrow = (
        execute.is_row
        and prior is None
        and before.last_error is None
        and before.pending_retry is None
        and before.suspension is None
        and before.event_claim is None
        and before.lane is None
        and before.ended_ms is None
    )
    transition = Transition(
        address=before.address,
        expected=before.fence,
        write=Put(after, "run" if is_narrow else "any"),
        messages=tuple(draft.messages) if draft.messages else (),
        events=(*events, *_scheduled(log, execute, alarm_ms)),
        before=before if before.incarnation and execute.is_row else None,
    )
    outcome = _COMPLETED if prior is None else OutcomeRecord(form="failed", error=prior)
    return answered(transition, run_answer(execute, after, outcome))


_COMPLETED: Final = OutcomeRecord(form="completed")


def _scheduled(log: EventRecorder, execute: Execute, alarm_ms: int | None) -> tuple[Event, ...]:
    # Unchanged: an event for each turn that keeps its alarm would fill the log.
    if alarm_ms is None or alarm_ms == execute.instance.alarm_ms:
        return ()
    return log.optional(TaskScheduled, scheduled_at_ms=alarm_ms, hook=execute.hook)


def alarm_consumed(instance: Instance, claim: Claim) -> Instance:
    """Return the instance without the alarm that a failed first attempt consumed, unless the alarm was set since."""
    # Only the first attempt used the alarm up. One that is set now was set by an event since then.
    if claim.cause == "alarm" and instance.pending_retry is None:
        return attrs.evolve(instance, alarm_ms=None)
    return instance
