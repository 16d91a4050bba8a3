"""The pure handler for tasks: events, triggers and alarms."""

from __future__ import annotations

from typing import Any, Final, TypeAlias, assert_never, cast

import attrs

from perdure.jobs.context import Alarm
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.fast_paths import fast_event_handled, fast_event_scheduled, fast_event_started, fast_run_executed
from perdure.jobs.recovery import claimed_command
from perdure.jobs.request import AlarmDue, Request
from perdure.jobs.run import (
    begin_attempt,
    begin_event,
    begin_run,
    broken_before,
    executed,
    mark_first_event,
    paused_answer,
    prior_failed,
    run_answer,
    started,
)
from perdure.jobs.step import HOOK, Commit, Execute, FastEvent, Step
from perdure.jobs.transitions import EventRecorder, answered, put, refuse, reply, stored
from perdure.kinds.task.context import SendCommand, TaskContext, TaskErrorContext, TaskHooks, TriggerTaskCommand
from perdure.programs import Program, succeed
from perdure.programs.exit import ENDS_PROCESS
from perdure.values.address import Address
from perdure.values.answer import OutcomeRecord, RunAnswer, Sent
from perdure.values.errors import DefinitionError, InstanceParked
from perdure.values.event import Event, TaskScheduled
from perdure.values.instance import Claim, Instance
from perdure.values.limits import Limits
from perdure.values.times import from_ms
from perdure.values.turn_inputs import Decoded, TurnInputs

MAX_BYTES_OF_CHARACTER: Final = 4

TaskCommand: TypeAlias = SendCommand | TriggerTaskCommand | AlarmDue


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
        case SendCommand():
            return _send(job, first, address, instance, request, inputs)
        case TriggerTaskCommand():
            return _trigger(job, address, instance, command, request, inputs)
        case AlarmDue():
            return _alarm(job, address, instance, request, inputs)
        case _:
            assert_never(command)


def _send(
    job: AnyDefinition,
    first: Decoded | None,
    address: Address,
    instance: Instance | None,
    request: Request,
    inputs: TurnInputs,
) -> Step:
    if instance is None:
        return _create(job, first, address, request, inputs)
    # Refused, so that the state remains as it was when the run failed.
    if instance.suspension is not None and instance.suspension != "paused":
        return refuse(address, InstanceParked(str(address), instance.suspension))
    return begin_event(job, instance, request, inputs, creates=False)


def _create(job: AnyDefinition, first: Decoded | None, address: Address, request: Request, inputs: TurnInputs) -> Step:
    fresh = Instance(address=address, created_ms=inputs.now_ms, updated_ms=inputs.now_ms)
    # For messages as well: `initial` may be the code that ends the process.
    if inputs.code == "suspect":
        return mark_first_event(fresh, request, inputs)
    known = first_state(first, inputs.limits)
    if known is not None:
        return begin_event(job, fresh.changed(state=known.text), request, inputs, creates=True, state=known)
    try:
        state = job.first_state(address.id, inputs.limits)
    except ENDS_PROCESS:
        raise
    except BaseException as defect:  # noqa: BLE001 - `initial` may raise any class, as each hook
        return broken_before(job, fresh, request, "initial", defect, inputs)
    return begin_event(job, fresh.changed(state=state), request, inputs, creates=True)


def first_state(first: Decoded | None, limits: Limits) -> Decoded | None:
    """Return every instance's first state, if it is known and certainly no larger than permitted."""
    # A cheap bound, so that the common case need not encode the text to measure it.
    if first is None or len(first.text) > limits.state_bytes // MAX_BYTES_OF_CHARACTER:
        return None
    return first


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
def program(hooks: TaskHooks, instance: Instance, claim: Claim, command: object) -> tuple[str, Program[Any, Any, Any]]:
    """Return the hook and its program for a claim."""
    ctx: TaskContext[Any] = hooks.context(instance, claim)
    if isinstance(command, SendCommand):
        return "on_event", hooks.on_event(ctx, command.event)
    return "execute", _nothing(claim) if hooks.execute is None else hooks.execute(ctx)


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
    if not isinstance(command, SendCommand):  # delivered again, or not an event
        command = claimed_command(job, claim)
    ctx: TaskErrorContext[Any, Any] = hooks.error_context(
        execute.instance,
        claim,
        failed_hook="on_event" if claim.cause == "event" else "execute",
        event=command.event if isinstance(command, SendCommand) else None,
        failed_draft=execute.draft.state,
    )
    return hooks.on_error(ctx, error)


# ---------------------------------------------------------------- finish
def succeeded(hooks: TaskHooks, execute: Execute, inputs: TurnInputs) -> Commit | Execute:
    """Settle a hook that succeeded: run ``on_idle`` first if no alarm is set, then commit."""
    # From the draft, and not the row: the program may have set the alarm, or cleared it, in this turn.
    alarm_ms = execute.draft.alarm_ms(inputs.now_ms)
    if alarm_ms is None and hooks.on_idle is not None and execute.hook != "on_idle":
        idle = hooks.on_idle(hooks.context(execute.instance, execute.claim))
        return attrs.evolve(execute, hook="on_idle", program=idle)
    if execute.claim.cause == "event":
        return _event_handled(execute, alarm_ms, inputs)
    return _executed(execute, alarm_ms, inputs)


def _event_handled(execute: Execute, alarm_ms: int | None, inputs: TurnInputs) -> Commit:
    instance = execute.instance
    log = EventRecorder(inputs, instance.address, instance.run_count)
    events = (*started(log, execute), *prior_failed(log, execute, inputs), *_scheduled(log, execute, alarm_ms))
    transition = put(
        instance,
        inputs.now_ms,
        events=events,
        messages=tuple(execute.draft.messages),
        state=execute.draft.encoded or instance.state,
        alarm_ms=alarm_ms,
        event_claim=None,
        event_count=instance.event_count + 1,
    )
    return answered(transition, _sent(execute, stored(transition)))


def _sent(execute: Execute, after: Instance | None) -> Sent:
    due_ms = None if after is None else after.alarm_ms
    return Sent(
        created=execute.claim.created == "here",
        status=None if after is None else after.status,
        scheduled_at=None if due_ms is None else from_ms(due_ms),
    )


def event_handled_fast(job: AnyDefinition, hooks: TaskHooks, event: FastEvent, *, wants_events: bool) -> Commit | None:
    """Settle a fast event that succeeded, as `succeeded` does. None if anything is special about it."""
    alarm_ms, before = event.current_alarm_ms, event.instance
    if event.alarm is not Alarm.keep:
        alarm_ms = event.alarm_ms(event.now_ms)
        # The general path runs `on_idle`.
        if alarm_ms is None and hooks.on_idle is not None:
            return None
    if before.incarnation and alarm_ms == before.alarm_ms:
        return fast_event_handled(event)
    if not wants_events:
        return fast_event_scheduled(event, alarm_ms, ())
    # Only the general path adds states, and hides their secrets.
    if job.plan.state_in_events:
        return None
    logged = fast_event_started(event)
    if alarm_ms is not None and alarm_ms != before.alarm_ms:
        scheduled = TaskScheduled(
            event_id=event.id(1 + len(logged)),
            at_ms=event.now_ms,
            address=str(event.address),
            run_count=before.run_count,
            scheduled_at_ms=alarm_ms,
            hook=HOOK,
        )
        logged = (*logged, scheduled)
    return fast_event_scheduled(event, alarm_ms, logged)


def executed_fast(hooks: TaskHooks, execute: Execute, inputs: TurnInputs) -> Commit | None:
    """Settle an ``execute`` run in the common case, as `succeeded` does. None otherwise."""
    draft, alarm_ms = execute.draft, None
    scheduled: tuple[Event, ...] = ()
    if draft.alarm is not Alarm.keep or draft.current_alarm_ms is not None:
        alarm_ms = draft.alarm_ms(inputs.now_ms)
        # 0 is the id of the run, and 1 that of its own event.
        log = EventRecorder(inputs, execute.instance.address, execute.instance.run_count, used=2)
        scheduled = _scheduled(log, execute, alarm_ms)
    if execute.hook != "execute" or (alarm_ms is None and hooks.on_idle is not None):
        return None
    return fast_run_executed(execute, alarm_ms, scheduled, inputs)


def _executed(execute: Execute, alarm_ms: int | None, inputs: TurnInputs) -> Commit:
    instance = execute.instance
    log = EventRecorder(inputs, instance.address, instance.run_count)
    outcome = OutcomeRecord(form="completed")
    events: tuple[Event, ...] = prior_failed(log, execute, inputs)
    if execute.prior is not None:
        outcome = OutcomeRecord(form="failed", error=execute.prior)
    else:
        events = executed(log, execute, inputs)
    transition = put(
        instance,
        inputs.now_ms,
        events=(*events, *_scheduled(log, execute, alarm_ms)),
        messages=tuple(execute.draft.messages),
        state=execute.draft.encoded or instance.state,
        alarm_ms=alarm_ms,
        claim=None,
        pending_retry=None,
        last_error=execute.prior,
    )
    return answered(transition, run_answer(execute, stored(transition), outcome))


def _scheduled(log: EventRecorder, execute: Execute, alarm_ms: int | None) -> tuple[Event, ...]:
    if alarm_ms is None or alarm_ms == execute.instance.alarm_ms:
        return ()
    return log.optional(TaskScheduled, scheduled_at_ms=alarm_ms, hook=execute.hook)


def alarm_consumed(instance: Instance, claim: Claim) -> Instance:
    """Return the instance without the alarm that a failed first attempt consumed, unless the alarm was set since."""
    # Only the first attempt used the alarm up. One that is set now was set by an event since then.
    if claim.cause == "alarm" and instance.pending_retry is None:
        return attrs.evolve(instance, alarm_ms=None)
    return instance
