"""The pure handler for a pool's items."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, assert_never, cast

import attrs
import orjson

from perdure.codecs import Codec, NewerOnly
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.draft import Draft
from perdure.jobs.parts import names_in, stored_state, stored_value
from perdure.jobs.recovery import is_running
from perdure.jobs.request import AlarmDue, Request, within
from perdure.jobs.run import begin_attempt, begin_run, executed, prior_failed, result_not_stored, run_answer
from perdure.jobs.step import Commit, Defer, Execute, Step
from perdure.jobs.suspension import leave
from perdure.jobs.transitions import EventRecorder, answered, nothing, purge, put, refuse, reply, stored
from perdure.kinds.worker_pool.items import (
    MAX_ITEM_WAITERS,
    MAX_KEY_CHARACTERS,
    AwaitItem,
    CancelCommand,
    ItemCancelled,
    ItemData,
    ItemOutcome,
    ItemPolicy,
    ItemPut,
    ItemTriggered,
    LeaveItem,
    OutcomeCommand,
    PutCommand,
    TriggerItemCommand,
    Waiter,
    batch_of,
    data_of,
    encoded_data,
    report_item,
    tell_waiter,
    waiters_of,
)
from perdure.values.address import Address
from perdure.values.answer import OutcomeRecord
from perdure.values.errors import InvalidInput, UnknownAction
from perdure.values.event import Event, JobParked, JobResumed, JobStarted, JobTerminated, Parking
from perdure.values.excerpt import REFERENCE, shown_value
from perdure.values.instance import Claim, Instance, PendingRetry
from perdure.values.listings import InstanceOutcome
from perdure.values.message import Message
from perdure.values.status import FailureRecord
from perdure.values.times import from_ms
from perdure.values.turn_inputs import TurnInputs

PoolCommand: TypeAlias = (
    PutCommand | CancelCommand | TriggerItemCommand | OutcomeCommand | AwaitItem | LeaveItem | AlarmDue
)

FAILURE: Final[Codec[FailureRecord]] = Codec.of(FailureRecord, what="error of an item")


def begin(
    job: AnyDefinition,
    how: ItemPolicy,
    address: Address,
    instance: Instance | None,
    request: Request,
    inputs: TurnInputs,
) -> Step:
    """Decide an item's command or alarm."""
    command = cast("PoolCommand", request.command)
    step: Step
    match command:
        case PutCommand():
            # A put of a known id changes nothing: this is what makes producers safe to repeat.
            if command.batch:
                return _put_in_batch(job, how, instance, request, inputs, address=address)
            step = _exists(instance) if instance is not None else _put(job, how, address, request, inputs)
        case CancelCommand():
            step = _cancel(address, instance, inputs)
        case TriggerItemCommand():
            step = _trigger(address, instance, inputs)
        case OutcomeCommand():
            step = reply(address, _outcome(instance))
        case AwaitItem() | LeaveItem():
            step = _wait(job, address, instance, command, request, inputs)
        case AlarmDue():
            step = reply(address, None) if instance is None else _alarm(job, instance, request, inputs)
        case _:
            assert_never(command)
    return step


def _exists(instance: Instance) -> Commit:
    return reply(instance.address, _item_put(instance, created=False))


def _item_put(instance: Instance, *, created: bool) -> ItemPut:
    # A kept item's alarm is the end of its retention, and not when it is due.
    due_ms = instance.due_ms if instance.ended_ms is None else None
    return ItemPut(created=created, status=instance.status, due_at=None if due_ms is None else from_ms(due_ms))


def _put_in_batch(
    job: AnyDefinition,
    how: ItemPolicy,
    instance: Instance | None,
    request: Request,
    inputs: TurnInputs,
    *,
    address: Address,
) -> Commit:
    if request.inbound is None:  # only batches send this: of another caller, no batch would count the item
        return refuse(address, UnknownAction(f"{job.kind}:{job.name}", request.action, tuple(job.plan.offered)))
    if instance is None:
        return _put(job, how, address, request, inputs)
    report = report_item(instance, cast("PutCommand", request.command).batch, "existed", inputs.now_ms)
    return answered(attrs.evolve(nothing(address), messages=(report,)), _item_put(instance, created=False))


def _put(job: AnyDefinition, how: ItemPolicy, address: Address, request: Request, inputs: TurnInputs) -> Commit:
    now_ms, command = inputs.now_ms, cast("PutCommand", request.command)
    try:
        item = stored_state(job, request.encode(job.plan.state, command.item), inputs)
    except InvalidInput as refused:
        return refuse(address, refused)
    data = ItemData(key=key_of_item(job, how, command.item), head_start_ms=command.head_start_ms)
    # Both cannot be set: `put_command` refuses that.
    due_ms = now_ms + command.after_ms if command.at_ms is None else command.at_ms
    fresh = Instance(address=address, created_ms=now_ms, updated_ms=now_ms)
    transition = put(
        fresh,
        now_ms,
        events=EventRecorder(inputs, address, 0).optional(JobStarted),
        journal=item.journal,
        state=item.text,
        data=encoded_data(data, command.batch),
        # An item with a delay has no place in its lane yet: the head start is applied when it becomes due.
        alarm_ms=_rank_ms(now_ms, data, inputs) if due_ms <= now_ms else due_ms,
        lane=data.key if due_ms <= now_ms else None,
    )
    return answered(transition, _item_put(stored(transition) or fresh, created=True))


def key_of_item(job: AnyDefinition, how: ItemPolicy, item: object) -> str:
    """Return an item's key.

    Raises:
        TypeError: the pool's function returns another value.
    """
    if how.key is None:
        return ""
    key = how.key(item)
    if isinstance(key, str) and len(key) <= MAX_KEY_CHARACTERS:
        return key
    raise TypeError(
        f"key of {job.kind}:{job.name} returns text of at most {MAX_KEY_CHARACTERS} characters, not "
        + (f"{len(key)} characters" if isinstance(key, str) else type(key).__name__)
    )


def _rank_ms(from_instant_ms: int, data: ItemData, inputs: TurnInputs) -> int:
    # A priority as an instant: an item that waits long enough comes before every later one, so none starves.
    return max(0, from_instant_ms + inputs.ahead_ms - data.head_start_ms)


def _cancel(address: Address, instance: Instance | None, inputs: TurnInputs) -> Commit:
    if instance is None:
        return reply(address, ItemCancelled(cancelled=False, reason="not_found"))
    if instance.ended_ms is not None:
        return reply(address, ItemCancelled(cancelled=False, reason="done"))
    # Its effects have begun: deleted, they would have no record, and a put of the same id would repeat them.
    if is_running(instance, inputs):
        return reply(address, ItemCancelled(cancelled=False, reason="running"))
    events = EventRecorder(inputs, address, instance.run_count).optional(JobTerminated, reason="cancelled")
    gone = purge(instance, events=events, messages=last_messages(instance, "cancelled", inputs))
    return answered(gone, ItemCancelled(cancelled=True, reason=""))


# ---------------------------------------------------------------- workflows that wait
def _wait(
    job: AnyDefinition,
    address: Address,
    instance: Instance | None,
    command: AwaitItem | LeaveItem,
    request: Request,
    inputs: TurnInputs,
) -> Commit:
    """Note a workflow that waits for the item's end. It is answered immediately if there is one, or no item."""
    if request.inbound is None:  # only workflows send these: another caller could not be told
        return refuse(address, UnknownAction(f"{job.kind}:{job.name}", request.action, tuple(job.plan.offered)))
    waiter = (str(request.inbound.sender), command.wait.call)
    waiters = () if instance is None else waiters_of(instance)
    if isinstance(command, LeaveItem):
        if instance is None or waiter not in waiters:
            return reply(address, None)
        return _waited_for(instance, tuple(each for each in waiters if each != waiter), inputs)
    form, value, secret = "full", "null", False
    if instance is None:
        form = "absent"
    elif instance.ended_ms is not None:
        form, value, secret = "done", data_of(instance).result or "null", _results_of(job).secret
    elif instance.status == "parked" and instance.suspension in _FAILED:
        form, value, secret = "failed", _encoded_error(instance.last_error), True
    # A message that is delivered again finds its workflow here already.
    elif waiter in waiters:
        return reply(address, None)
    elif len(waiters) < MAX_ITEM_WAITERS:
        return _waited_for(instance, (*waiters, waiter), inputs)
    told = _tell(address, (waiter,), form, value, inputs, secret=secret)
    return answered(attrs.evolve(nothing(address), messages=told), None)


def _waited_for(instance: Instance, waiters: tuple[Waiter, ...], inputs: TurnInputs) -> Commit:
    data = encoded_data(data_of(instance), batch_of(instance), waiters)
    return answered(put(instance, inputs.now_ms, data=data), None)


def _results_of(job: AnyDefinition) -> Codec[Any]:
    results: Codec[Any] = cast("Any", job).policy.results
    return results


def _encoded_error(error: FailureRecord | None) -> str:
    return "null" if error is None else FAILURE.encode(error).decode()


def _tell(
    address: Address, waiters: tuple[Waiter, ...], form: str, value: str, inputs: TurnInputs, *, secret: bool
) -> tuple[Message, ...]:
    """Return the messages to workflows that wait. The engine reads a value in parts before it delivers them."""
    return tuple(tell_waiter(address, each, form, value, inputs.now_ms, secret=secret) for each in waiters)


# ---------------------------------------------------------------- reports to a batch, and to workflows
def last_messages(instance: Instance, reason: str, inputs: TurnInputs) -> tuple[Message, ...]:
    """Return the messages to the batch and to the workflows of an item that ends before its work succeeded."""
    batch, waiters = batch_of(instance), waiters_of(instance)
    # A parked item was counted when it was parked, and one that is done when its work succeeded.
    # "parked" was reported by `parking_messages`, and "done" by the commit of the end.
    if not (batch or waiters) or instance.ended_ms is not None or instance.status == "parked":
        return ()
    form: Literal["failed", "cancelled"] = "failed" if reason in _FAILED else "cancelled"
    told = _tell(instance.address, waiters, "terminated", orjson.dumps(reason).decode(), inputs, secret=False)
    return (*told, report_item(instance, batch, form, inputs.now_ms)) if batch else told


_FAILED = frozenset({"retries_exhausted", "not_retryable", "recovery_exhausted"})


def parking_messages(instance: Instance, event: Parking, inputs: TurnInputs) -> tuple[Message, ...]:
    """Return the messages to the batch and to the workflows of an item that is parked, or resumed by an operator."""
    batch, waiters = batch_of(instance), waiters_of(instance)
    told: tuple[Message, ...] = ()
    if waiters and isinstance(event, JobParked) and event.reason in _FAILED:
        error = _encoded_error(instance.last_error)
        told = _tell(instance.address, waiters, "failed", error, inputs, secret=True)
    if not batch:
        return told
    if isinstance(event, JobParked):
        return (*told, report_item(instance, batch, "failed", inputs.now_ms, instance.last_error))
    if isinstance(event, JobResumed) and event.was in _FAILED:
        return (report_item(instance, batch, "resumed", inputs.now_ms),)
    return ()  # a pause, and an item that is left to other code: neither is its end


def _reported(
    how: ItemPolicy, execute: Execute, result: str, form: Literal["done", "failed"], inputs: TurnInputs
) -> tuple[Message, ...]:
    """Return the messages of a work that ended, with those to the item's batch and to the workflows that wait."""
    batch, messages = batch_of(execute.instance), tuple(execute.draft.messages)
    waiters = waiters_of(execute.instance)
    if waiters:
        found, encoded, secret = "failed", _encoded_error(execute.prior), True
        if execute.prior is None:
            found, encoded, secret = "done" if result else "not stored", result or "null", how.results.secret
        messages += _tell(execute.instance.address, waiters, found, encoded, inputs, secret=secret)
    if not batch:
        return messages
    report = report_item(execute.instance, batch, form, inputs.now_ms, execute.prior)
    return (*messages, report)


def _encoded_result(how: ItemPolicy, execute: Execute, value: object, most: int) -> str:
    """Return a result that is not kept, for workflows that wait. Empty if it has no form, or no message holds it."""
    try:
        return within(execute.draft.encode_result(how.results, value), most, what=how.results.what)
    except InvalidInput:
        return ""


def _trigger(address: Address, instance: Instance | None, inputs: TurnInputs) -> Commit:
    """Queue an item now that waits for its retry."""
    # In its lane it is queued already.
    if instance is None or instance.status != "retrying" or instance.lane is not None or instance.pending_retry is None:
        return reply(address, ItemTriggered(queued=False, status=None if instance is None else instance.status))
    # Never later than planned: the instant is the item's place in the lane.
    now = _ranked(instance.pending_retry, min(inputs.now_ms, instance.pending_retry.at_ms), inputs)
    transition = put(instance, inputs.now_ms, pending_retry=now, lane=data_of(instance).key)
    return answered(transition, ItemTriggered(queued=True, status=instance.status))


def shown_outcome(instance: Instance) -> InstanceOutcome | None:
    """Return a done item's result, or a parked item's error."""
    if instance.ended_ms is not None:
        return InstanceOutcome(form="done", value=shown_value(data_of(instance).result or "null"))
    return InstanceOutcome(form="failed", error=instance.last_error) if instance.status == "parked" else None


def _outcome(instance: Instance | None) -> ItemOutcome:
    if instance is None:
        return ItemOutcome(form="not_found")
    if instance.ended_ms is not None:
        result = data_of(instance).result
        if result is not None and result[:1] == REFERENCE:
            result = f"{REFERENCE}{instance.incarnation}.0.0"  # a ticket, as of a workflow's outcome
        return ItemOutcome(form="done", status=instance.status, result=result)
    form: Literal["failed", "waiting"] = "failed" if instance.status == "parked" else "waiting"
    return ItemOutcome(form=form, status=instance.status, error=instance.last_error)


def _alarm(job: AnyDefinition, instance: Instance, request: Request, inputs: TurnInputs) -> Step:
    # A run is in progress here, or in another process: the alarm stays due.
    if is_running(instance, inputs):
        return Defer()
    if instance.ended_ms is not None:
        return answered(purge(instance, own_messages="kept"), None)  # its result was kept long enough
    # An alarm without a lane is the end of a delay. It only queues the item: slots of the lane begin runs.
    if instance.lane is None:
        return _queue(instance, inputs)
    if instance.pending_retry is not None:
        return begin_attempt(job, instance, instance.pending_retry, request, inputs)
    return begin_run(job, instance, request, inputs, cause="alarm")


def _queue(instance: Instance, inputs: TurnInputs) -> Commit:
    """Put an item into its lane, because its delay is over: it stands where it became due."""
    data, alarm_ms = data_of(instance), instance.alarm_ms
    # From the instant at which it became due: after a downtime, items keep their order.
    changed, retry = None if alarm_ms is None else _rank_ms(alarm_ms, data, inputs), instance.pending_retry
    retry = None if retry is None else _ranked(retry, retry.at_ms, inputs)
    return answered(put(instance, inputs.now_ms, lane=data.key, alarm_ms=changed, pending_retry=retry), None)


def _ranked(retry: PendingRetry, from_instant_ms: int, inputs: TurnInputs) -> PendingRetry:
    """Return a retry that enters the lane, with its place there."""
    return attrs.evolve(retry, at_ms=from_instant_ms + inputs.ahead_ms)


def alarm_consumed(instance: Instance) -> Instance:
    """Return an item whose attempt failed: it leaves the lane until its retry is due."""
    # In its lane it would be begun again without waiting for its retry.
    return instance.changed(alarm_ms=None, lane=None)


# ---------------------------------------------------------------- finish
def draft_of(job: AnyDefinition, state: object, instance: Instance, claim: Claim, inputs: TurnInputs) -> Draft:
    """Return a draft for work on an item."""
    return Draft(
        address=instance.address,
        state=state,
        codec=job.plan.state,
        # The alarm that began the work is used up. One behind a retry is another.
        current_alarm_ms=None if claim.cause == "alarm" and instance.pending_retry is None else instance.alarm_ms,
        now_ms=inputs.now_ms,
        limits=inputs.limits,
    )


def succeeded(
    job: AnyDefinition, how: ItemPolicy, execute: Execute, value: object, inputs: TurnInputs
) -> Commit | Execute:
    """Keep the result of successful work, or delete the item. An item whose result cannot be stored is parked.

    If newer code's members have no certain place in a result, the item is left to newer code.
    """
    instance, draft = execute.instance, execute.draft
    log = EventRecorder(inputs, instance.address, instance.run_count)
    if execute.prior is not None:  # `on_error` took care of it
        messages = _reported(how, execute, "", "failed", inputs)
        events: tuple[Event, ...] = prior_failed(log, execute, inputs)
        events += log.optional(JobTerminated, reason="on_error")
        # A message to its own id is a new item, which must not be deleted with the old one.
        gone = purge(instance, events=events, messages=messages, own_messages="kept")
        return answered(gone, run_answer(execute, None, OutcomeRecord(form="failed", error=execute.prior)))
    events, outcome = executed(log, execute, inputs), OutcomeRecord(form="completed")
    if how.keep_ms == 0:
        unkept = _encoded_result(how, execute, value, inputs.limits.payload_bytes) if waiters_of(instance) else ""
        messages = _reported(how, execute, unkept, "done", inputs)
        gone = purge(instance, events=events, messages=messages, own_messages="kept")
        return answered(gone, run_answer(execute, None, outcome))
    try:
        encoded = draft.encode_result(how.results, value)
        # The item itself may be in parts: the result shares those with the same content.
        result = stored_value(how.results, encoded, inputs, known=names_in(instance.state))
    except NewerOnly as newer:
        return leave(job, instance, newer, inputs, ended=execute.claim.run_id)
    except InvalidInput as problem:
        # The work is done: an exception here would retry it, with the same result.
        return result_not_stored(job, execute, problem, inputs)
    messages = _reported(how, execute, result.text, "done", inputs)
    transition = put(
        instance,
        inputs.now_ms,
        events=events,
        messages=messages,
        journal=result.journal,
        data=encoded_data(attrs.evolve(data_of(instance), result=result.text), batch_of(instance)),
        alarm_ms=None if how.keep_ms is None else inputs.now_ms + how.keep_ms,
        # A kept item in a lane would be begun again.
        lane=None,
        ended_ms=inputs.now_ms,
        suspension=None,  # of a pause during its work
        claim=None,
        pending_retry=None,
        last_error=None,
    )
    return answered(transition, run_answer(execute, stored(transition), outcome))
