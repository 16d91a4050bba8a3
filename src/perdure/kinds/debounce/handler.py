"""The pure handler for debounces: events, flushes, clears and alarms.

A flush's claim freezes the batch. Events that arrive meanwhile go into the next batch, which flushes after the first is
settled. So a flush holds the claim, but not the mailbox.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, assert_never, cast

import attrs

from perdure.codecs.codec import RowCodec
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.recovery import is_running
from perdure.jobs.request import AlarmDue, Request
from perdure.jobs.run import begin_attempt, begin_event, begin_run, executed, paused_answer, run_answer, started
from perdure.jobs.step import Commit, Defer, Execute, Step
from perdure.jobs.transitions import EventRecorder, answered, purge, put, refuse, reply, stored
from perdure.kinds.debounce.context import (
    BATCHES,
    AddCommand,
    Batches,
    Batching,
    ClearCommand,
    CollectingBatch,
    DebounceContext,
    FlushCommand,
    FlushReason,
    FrozenBatch,
)
from perdure.programs import Program
from perdure.values.address import Address
from perdure.values.answer import Added, Cleared, OutcomeRecord, RunAnswer
from perdure.values.errors import InstanceParked
from perdure.values.event import DebounceFlushed, DebounceStarted, Event
from perdure.values.instance import Cause, Claim, Instance
from perdure.values.status import InstanceStatus
from perdure.values.times import from_ms
from perdure.values.transition import Transition
from perdure.values.turn_inputs import TurnInputs

DebounceCommand: TypeAlias = AddCommand | FlushCommand | ClearCommand | AlarmDue


# ---------------------------------------------------------------- begin
def begin(
    job: AnyDefinition, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs
) -> Step:
    """Decide a debounce's command or alarm."""
    command = cast("DebounceCommand", request.command)
    match command:
        case AddCommand():
            return _add(job, address, instance, request, inputs)
        case FlushCommand():
            return _flush(job, address, instance, request, inputs)
        case ClearCommand():
            return _clear(address, instance, inputs)
        case AlarmDue():
            return _alarm(job, address, instance, request, inputs)
        case _:
            assert_never(command)


def _add(job: AnyDefinition, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
    if instance is None:
        fresh = Instance(address=address, created_ms=inputs.now_ms, updated_ms=inputs.now_ms, data=_encode(Batches()))
        return begin_event(job, fresh, request, inputs, creates=True)
    # Its claim is the only copy of an event that kills the process. A new event would overwrite it.
    if instance.suspension == "recovery_exhausted" and instance.event_claim is not None:
        return refuse(address, InstanceParked(str(address), instance.suspension))
    return begin_event(job, instance, request, inputs, creates=False)


def _flush(
    job: AnyDefinition, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs
) -> Step:
    if instance is None:
        return reply(address, RunAnswer(found="empty"))
    # Two flushes at a time would run the same batch twice.
    if is_running(instance, inputs):
        return Defer()
    # After the check for a run in progress: a pause does not stop it, and its end is awaited.
    if instance.suspension is not None:
        return reply(address, paused_answer(instance))
    return _flush_now(job, address, instance, request, inputs, cause="flush", reason="manual")


def _alarm(
    job: AnyDefinition, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs
) -> Step:
    if instance is None:
        return reply(address, None)
    if is_running(instance, inputs):
        return Defer()  # the batch is being flushed by hand, and its retry is still due
    collecting = batches_of(instance).collecting
    reason = "flush_after" if collecting is None else collecting.reason
    return _flush_now(job, address, instance, request, inputs, cause="alarm", reason=reason)


def _flush_now(
    job: AnyDefinition,
    address: Address,
    instance: Instance,
    request: Request,
    inputs: TurnInputs,
    *,
    cause: Cause,
    reason: FlushReason,
) -> Step:
    """Flush the batch that has a pending retry, or else the collecting batch."""
    # The frozen batch first: batches are flushed in the order in which they were collected.
    if instance.pending_retry is not None:
        return begin_attempt(job, instance, instance.pending_retry, request, inputs)
    batch = batches_of(instance).collecting
    if batch is None:
        return reply(address, RunAnswer(found="empty", status=instance.status))
    # A copy of its own: events during the flush go into the next batch, and a retry sees exactly the batch of the first
    # attempt.
    frozen = FrozenBatch(
        state=instance.state, event_count=batch.event_count, started_ms=batch.started_ms, reason=reason
    )
    data = _encode(Batches(flushing=frozen))
    # The row's own state is emptied: the next batch begins without a trace of this one.
    return begin_run(job, instance, request, inputs, cause=cause, state="", data=data, alarm_ms=None)


def _clear(address: Address, instance: Instance | None, inputs: TurnInputs) -> Commit:
    """Discard every batch that is not being flushed."""
    if instance is None:
        return reply(address, Cleared(cleared=False, discarded=0))
    batches = batches_of(instance)
    # The batch of a run in progress stays: its effects have begun, and its end expects it.
    flushing = batches.flushing if is_running(instance, inputs) else None
    discarded = sum(
        batch.event_count
        for batch in (batches.collecting, batches.flushing if flushing is None else None)
        if batch is not None
    )
    answer = Cleared(cleared=discarded > 0, discarded=discarded)
    if flushing is None:
        # A message to itself is an event that has not been collected yet.
        return answered(purge(instance, own_messages="kept"), answer)
    return answered(put(instance, inputs.now_ms, state="", data=_encode(Batches(flushing=flushing))), answer)


# ---------------------------------------------------------------- the program of a claim
def program(how: Batching, instance: Instance, claim: Claim, command: object) -> tuple[str, Program[Any, Any, Any]]:
    """Return the hook and its program for a claim."""
    batches = batches_of(instance)
    if isinstance(command, AddCommand):
        batch = batches.collecting or _new_batch(claim)
        return "on_event", how.on_event(_context(instance, claim, batch, None), command.event)
    frozen = batches.flushing or FrozenBatch(state="", event_count=0, started_ms=claim.claimed_ms, reason="manual")
    return "execute", how.execute(_context(instance, claim, frozen, frozen.reason))


def _context(
    instance: Instance, claim: Claim, batch: CollectingBatch | FrozenBatch, reason: FlushReason | None
) -> DebounceContext[Any]:
    started_at = from_ms(batch.started_ms)
    return DebounceContext(instance, claim, event_count=batch.event_count, started_at=started_at, flush_reason=reason)


def state_of_run(how: Batching, instance: Instance, claim: Claim) -> str:
    """Return the encoded state: the collecting or a new batch's for an event, the frozen batch's for a flush."""
    batches = batches_of(instance)
    if claim.cause != "event":
        return instance.state if batches.flushing is None else batches.flushing.state
    # While a flush is in progress the row's state is the next batch's, which may not have begun.
    if batches.collecting is not None:
        return instance.state
    return how.initial if how.initial is not None else claim.payload or ""


def _new_batch(claim: Claim) -> CollectingBatch:
    """Return the batch that an event starts. It is stored with the event: a refused event leaves no batch."""
    return CollectingBatch(event_count=0, started_ms=claim.claimed_ms, flush_ms=claim.claimed_ms)


# ---------------------------------------------------------------- finish
def succeeded(how: Batching, execute: Execute, inputs: TurnInputs) -> Commit:
    """Settle an added event, or a flushed batch."""
    if execute.claim.cause == "event":
        return _added(how, execute, inputs)
    return _flushed(execute, inputs)


def _added(how: Batching, execute: Execute, inputs: TurnInputs) -> Commit:
    instance = execute.instance
    batches = batches_of(instance)
    before = batches.collecting or _new_batch(execute.claim)
    batch = _timed(how, before, inputs.now_ms)
    log = EventRecorder(inputs, instance.address, instance.run_count)
    events: tuple[Event, ...] = started(log, execute)
    # The first event of a batch, whatever the instance did before.
    if before.event_count == 0:
        events += log.optional(DebounceStarted, will_flush_at_ms=batch.flush_ms)
    transition = put(
        instance,
        inputs.now_ms,
        events=events,
        messages=tuple(execute.draft.messages),
        state=execute.draft.encoded or state_of_run(how, instance, execute.claim),
        data=_encode(attrs.evolve(batches, collecting=batch)),
        # During a flush no alarm is set: it could only wait for the flush, whose end arms it.
        alarm_ms=batch.flush_ms if batches.flushing is None else None,
        event_claim=None,
        event_count=instance.event_count + 1,
    )
    return answered(transition, _added_answer(before, batch, stored(transition)))


def _timed(how: Batching, batch: CollectingBatch, now_ms: int) -> CollectingBatch:
    """Count an event, and set when the batch flushes: never later than ``flush_after`` after its first event."""
    # From the first event of the batch: counted from the last one, steady events would put the flush off for ever.
    count, latest_ms = batch.event_count + 1, batch.started_ms + how.flush_after_ms
    # `min`: an event after the latest time, such as one during a pause, must not move the flush.
    if how.max_events is not None and count >= how.max_events:
        return attrs.evolve(batch, event_count=count, flush_ms=min(now_ms, latest_ms), reason="max_events")
    if how.inactivity_ms is not None and now_ms + how.inactivity_ms < latest_ms:
        return attrs.evolve(batch, event_count=count, flush_ms=now_ms + how.inactivity_ms, reason="inactivity")
    return attrs.evolve(batch, event_count=count, flush_ms=latest_ms, reason="flush_after")


def _added_answer(before: CollectingBatch, batch: CollectingBatch, after: Instance | None) -> Added:
    held = after is not None and after.suspension is not None
    return Added(
        created=before.event_count == 0,
        event_count=batch.event_count,
        # A paused batch has no time of its flush: it is flushed after the resumption.
        will_flush_at=None if held else from_ms(batch.flush_ms),
    )


def _flushed(execute: Execute, inputs: TurnInputs) -> Commit:
    instance = execute.instance
    batches = batches_of(instance)
    log = EventRecorder(inputs, instance.address, instance.run_count)
    events: tuple[Event, ...] = executed(log, execute, inputs)
    if batches.flushing is not None:
        events += log.optional(
            DebounceFlushed,
            run_id=execute.claim.run_id,
            reason=batches.flushing.reason,
            event_count=batches.flushing.event_count,
            attempt=execute.claim.attempt,
            delivery=execute.claim.deliveries,
            duration_ms=max(0, inputs.now_ms - execute.started_ms),
        )
    transition = _dropped(instance, events, execute, inputs)
    return answered(transition, run_answer(execute, stored(transition), OutcomeRecord(form="completed")))


def _dropped(instance: Instance, events: tuple[Event, ...], execute: Execute, inputs: TurnInputs) -> Transition:
    messages = tuple(execute.draft.messages)
    left = without_flushed(instance)
    if left is None:
        # messages of the instance to itself start the next batch
        return purge(instance, events=events, messages=messages, own_messages="kept")
    return put(left, inputs.now_ms, events=events, messages=messages, claim=None, pending_retry=None, last_error=None)


def without_flushed(instance: Instance) -> Instance | None:
    """Drop the frozen batch and arm the next one. None if there is no next one."""
    batch = batches_of(instance).collecting
    if batch is None:
        return None
    # The only place that arms a batch that was collected during a flush.
    return attrs.evolve(instance, data=_encode(Batches(collecting=batch)), alarm_ms=batch.flush_ms)


# ---------------------------------------------------------------- reading
def report(instance: Instance, status: InstanceStatus) -> InstanceStatus:
    """Return the ``status`` result, about the collecting batch, or else the one being flushed."""
    batches = batches_of(instance)
    batch = batches.collecting or batches.flushing
    # A suspended instance has an alarm that does not fire: its instant would be a false promise.
    flush_ms = None if batches.collecting is None or instance.suspension is not None else batches.collecting.flush_ms
    return attrs.evolve(
        status,
        event_count=0 if batch is None else batch.event_count,
        started_at=None if batch is None else from_ms(batch.started_ms),
        will_flush_at=None if flush_ms is None else from_ms(flush_ms),
    )


def visible_state(instance: Instance) -> str | None:
    """Return the encoded state for ``get_state``. None until the first batch's first event is stored."""
    batches = batches_of(instance)
    if batches.collecting is not None:
        return instance.state
    return None if batches.flushing is None else batches.flushing.state


def map_states(instance: Instance, change: Callable[[str], str]) -> Instance:
    """Apply a function to the frozen batch's encoded state, if there is one."""
    batches = batches_of(instance)
    frozen = batches.flushing
    # A frozen batch without a state has nothing to change.
    if frozen is None or not frozen.state:
        return instance
    changed = attrs.evolve(frozen, state=change(frozen.state))
    return instance.changed(data=_encode(attrs.evolve(batches, flushing=changed)))


def ended(execute: Execute) -> Added:
    """Return the sender's result for an event that ended the instance: no batch is left."""
    return Added(created=execute.claim.created == "here", event_count=0, will_flush_at=None)


_DATA: RowCodec[Batches] = RowCodec(BATCHES)


def batches_of(instance: Instance) -> Batches:
    """Decode the batches' stored data.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    return _DATA.read(instance.data)


def _encode(batches: Batches) -> str:
    return _DATA.write(batches)
