"""The pure handler for batches of a pool's items: their puts, their seal, and their items' ends.

A batch's row has the counts, the first failures and the waiting workflows: its size does not grow with its items. Each
item reports its end with the commit of the end, as a message to the batch. So nothing is lost or counted twice, and the
messages of many items share a commit of the batch.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, assert_never, cast

import attrs
import orjson

from perdure.codecs import Codec
from perdure.codecs.codec import RowCodec
from perdure.jobs.checkpoint import HasWork
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import AlarmDue, Request, too_large
from perdure.jobs.run import begin_attempt, begin_run, executed, prior_failed, run_answer
from perdure.jobs.step import Commit, Defer, Execute, Step
from perdure.jobs.transitions import EventRecorder, answered, nothing, purge, put, refuse, reply, stored
from perdure.kinds.worker_pool.batch import (
    AwaitEnd,
    BatchChanged,
    BatchFailure,
    BatchPolicy,
    BatchProgress,
    EndWaiter,
    ItemEnd,
    ItemEnded,
    PutItems,
    SealBatch,
    WatchPool,
)
from perdure.kinds.worker_pool.handler import key_of_item
from perdure.kinds.worker_pool.items import ItemForm, NewItem
from perdure.kinds.workflow.children import report_end
from perdure.kinds.workflow.header import Parent
from perdure.programs import Program, perform, succeed
from perdure.values.address import Address
from perdure.values.answer import OutcomeRecord
from perdure.values.errors import InvalidInput, UnknownAction
from perdure.values.event import Event, JobNoted, JobStarted
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen
from perdure.values.instance import Instance
from perdure.values.message import Message
from perdure.values.times import from_ms
from perdure.values.turn_inputs import TurnInputs

BatchCommand: TypeAlias = PutItems | SealBatch | WatchPool | AwaitEnd | ItemEnded | AlarmDue

MAX_WAITERS: Final = 100
"""Workflows that wait for one batch: each commit of the batch writes their addresses."""

NOTHING: Final = succeed(None)
LOOK: Final = "look at the pool"
"""The name of the run that looks at the pool."""


@frozen(kw_only=True)
class BatchData:
    """A batch's stored data.

    Attributes:
        run: tells this batch from an earlier one with its id, whose items may still end.
        waiters: the workflows that wait for its end.
    """

    __repr__ = fields_in_line

    run: str
    waiters: tuple[Parent, ...] = ()


BATCH_DATA: RowCodec[BatchData] = RowCodec(Codec.of(BatchData, what="data of a batch"))
WATCH_DATA: RowCodec[tuple[BatchData, int]] = RowCodec(
    Codec.of(tuple[BatchData, int], what="data of a batch that watches its pool")
)
_WATCHES: Final = "["
"""How the data of a batch begins that watches its pool: older code, which would purge it, leaves it to newer code."""

STATES: RowCodec[BatchProgress] = RowCodec(Codec.of(BatchProgress, what="state of a batch"))


def data_of(instance: Instance) -> BatchData:
    """Decode a batch's stored data.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    data = instance.data
    # Two stored forms: a batch that watches its pool has the second one, so that older code leaves it alone.
    return WATCH_DATA.read(data)[0] if data.startswith(_WATCHES) else BATCH_DATA.read(data)


def watches_since(instance: Instance) -> int | None:
    """Return the instant from which a batch watches its pool. None if it does not, or not any more.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    return WATCH_DATA.read(instance.data)[1] if instance.data.startswith(_WATCHES) else None


def _with_waiters(instance: Instance, waiters: tuple[Parent, ...]) -> str:
    """Encode a batch's data with other workflows that wait."""
    data, since_ms = attrs.evolve(data_of(instance), waiters=waiters), watches_since(instance)
    return BATCH_DATA.write(data) if since_ms is None else WATCH_DATA.write((data, since_ms))


def begin(
    job: AnyDefinition,
    how: BatchPolicy,
    address: Address,
    instance: Instance | None,
    request: Request,
    inputs: TurnInputs,
) -> Step:
    """Decide a batch's command or alarm."""
    command = cast("BatchCommand", request.command)
    if request.inbound is None and isinstance(command, AwaitEnd | ItemEnded):  # only instances send these
        return refuse(address, UnknownAction(f"{job.kind}:{job.name}", request.action, tuple(job.plan.offered)))
    step: Step
    match command:
        case PutItems():
            step = _put(how, address, instance, request, inputs)
        case SealBatch():
            step = _seal(how, address, instance, inputs)
        case WatchPool():
            step = _watch(address, instance, request, inputs)
        case AwaitEnd():
            step = _wait(address, instance, command.waiter, inputs)
        case ItemEnded():
            step = _item_ended(how, address, instance, request, inputs)
        case AlarmDue():
            step = reply(address, None) if instance is None else _alarm(job, instance, request, inputs)
        case _:
            assert_never(command)
    return step


# ---------------------------------------------------------------- puts and the seal
def _opened(address: Address, instance: Instance | None, inputs: TurnInputs) -> tuple[Instance, BatchProgress]:
    """Return the batch, which is a new one if there is none."""
    if instance is not None:
        return instance, STATES.read(instance.state)
    fresh = Instance(address=address, created_ms=inputs.now_ms, updated_ms=inputs.now_ms)
    state = BatchProgress()
    return fresh.changed(data=BATCH_DATA.write(BatchData(run=inputs.id())), state=STATES.write(state)), state


def _found(instance: Instance | None, state: BatchProgress) -> Literal["absent", "open", "sealed", "done"]:
    if instance is None:
        return "absent"
    if state.ended_at is not None:
        return "done"
    return "sealed" if state.sealed else "open"


def _put(how: BatchPolicy, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Commit:
    command = cast("PutItems", request.command)
    before, state = _opened(address, instance, inputs)
    found = _found(instance, state)
    # Counted items are complete only if none follows the seal.
    if state.sealed:
        return _refused(before, "batch.not_put", {"items": len(command.items)}, found, request, inputs)
    most = inputs.limits.messages_per_turn
    if len(command.items) > most:
        expected = f"items: at most {most:,} for each put (Limits.messages_per_turn), not {len(command.items):,}"
        return refuse(address, InvalidInput(f"input of put of {address.kind}:{address.name}", (expected,)))
    messages: list[Message] = []
    # The run as well: a later batch of the same id must not count the items of this one.
    batch = f"{data_of(before).run} {address}"
    for id_, item in command.items:
        message = _message_to_item(how, address, id_, item, batch, inputs)
        if isinstance(message, InvalidInput):
            return refuse(address, message)
        messages.append(message)
    after = attrs.evolve(state, put=state.put + len(messages))
    events = EventRecorder(inputs, address, 0).optional(JobStarted) if instance is None else ()
    transition = put(before, inputs.now_ms, events=events, messages=tuple(messages), state=STATES.write(after))
    now = stored(transition) or before
    return answered(transition, BatchChanged(accepted=True, found=found, put=len(messages), status=now.status))


def _refused(
    before: Instance, name: str, facts: dict[str, int], found: Any, request: Request, inputs: TurnInputs
) -> Commit:
    """Refuse a request, because of the batch's state. One in a message is noted: its sender gets no answer."""
    transition = nothing(before.address)
    if request.inbound is not None:
        data = orjson.dumps({**facts, "sender": str(request.inbound.sender)}).decode()
        log = EventRecorder(inputs, before.address, before.run_count)
        transition = attrs.evolve(transition, events=(log.add(JobNoted, name=name, data=data),))
    return answered(transition, BatchChanged(accepted=False, found=found, status=before.status))


def _message_to_item(
    how: BatchPolicy, address: Address, id_: str, item: NewItem[Any], batch: str, inputs: TurnInputs
) -> Message | InvalidInput:
    """Return the message that puts an item. All that the pool would refuse is refused here."""
    pool = how.pool
    # Refused later, the item would never end, and the batch with it.
    key_of_item(pool, how.items, item.item)
    states = pool.plan.state
    refused = too_large(states.encode(item.item).decode(), inputs.limits.state_bytes, what=states.what)
    if refused is not None:
        return refused
    payload = pool.encode_input("put_in_batch", (item, batch), inputs.limits.payload_bytes)
    return Message(
        sender=address, target=pool.address(id_), action="put_in_batch", payload=payload, sent_ms=inputs.now_ms
    )


def _seal(how: BatchPolicy, address: Address, instance: Instance | None, inputs: TurnInputs) -> Commit:
    before, state = _opened(address, instance, inputs)
    found = _found(instance, state)
    # A repeated seal is the usual case after a lost answer: it must not end the batch a second time.
    if state.sealed:
        return reply(address, BatchChanged(accepted=True, found=found, status=before.status))
    events = EventRecorder(inputs, address, 0).optional(JobStarted) if instance is None else ()
    commit = _changed(how, before, attrs.evolve(state, sealed=True), inputs, events)
    after = stored(commit.transition) or before
    return answered(commit.transition, BatchChanged(accepted=True, found=found, status=after.status))


# ---------------------------------------------------------------- a pool without work
MIN_PAUSE_MS: Final = 1_000
MAX_PAUSE_MS: Final = 60_000
PAUSES_OF_WAIT: Final = 10
"""A batch looks at its pool again after a tenth of the time that it has watched it, within these bounds."""
LOOKS_OF_PAUSE: Final = 20
"""A look reads the kept results of a pool: at most this part of the time, so that it delays few commits."""


def pause_ms(waited_ms: int, took_ms: int) -> int:
    """Return the pause until the next look at a pool.

    Args:
        waited_ms: how long the batch has watched it.
        took_ms: how long the last look took.
    """
    return max(min(max(waited_ms // PAUSES_OF_WAIT, MIN_PAUSE_MS), MAX_PAUSE_MS), took_ms * LOOKS_OF_PAUSE)


def _watch(address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Commit:
    """Let a batch without items be done when its pool has no work. Its alarm looks at the pool, now and later."""
    before, state = _opened(address, instance, inputs)
    found = _found(instance, state)
    if watches_since(before) is not None:
        return reply(address, BatchChanged(accepted=True, found=found, status=before.status))
    # A count of items and an empty pool are two different ends: one batch can wait for one of them.
    if state.sealed or state.put:
        return _refused(before, "batch.not_watched", {}, found, request, inputs)
    events = EventRecorder(inputs, address, 0).optional(JobStarted) if instance is None else ()
    transition = put(
        before,
        inputs.now_ms,
        events=events,
        state=STATES.write(attrs.evolve(state, sealed=True)),
        data=WATCH_DATA.write((data_of(before), inputs.now_ms)),
        alarm_ms=inputs.now_ms,
    )
    now = stored(transition) or before
    return answered(transition, BatchChanged(accepted=True, found=found, status=now.status))


def has_work(how: BatchPolicy, instance: Instance) -> Program[bool] | None:
    """Return the program that looks at the pool. None if the batch does not watch it, or has its end."""
    watches = watches_since(instance) is not None and STATES.read(instance.state).ended_at is None
    return perform(HasWork((how.pool.kind, how.pool.name))) if watches else None


def looked(how: BatchPolicy, execute: Execute, value: object, inputs: TurnInputs) -> Commit:
    """Settle a look at the pool: it is the end if there was no work. Otherwise the batch looks again later."""
    instance, since_ms = execute.instance, watches_since(execute.instance) or 0
    if value is False:
        return _ended(how, instance, STATES.read(instance.state), inputs, claim=None)
    next_ms = inputs.now_ms + pause_ms(inputs.now_ms - since_ms, inputs.now_ms - execute.started_ms)
    return answered(put(instance, inputs.now_ms, claim=None, alarm_ms=next_ms), None)


# ---------------------------------------------------------------- waits
def _wait(address: Address, instance: Instance | None, waiter: EndWaiter, inputs: TurnInputs) -> Commit:
    """Note a workflow that waits. It is answered immediately if the batch is done."""
    before, state = _opened(address, instance, inputs)
    parent, data = waiter.parent, data_of(before)
    if state.ended_at is not None:
        answer = report_end(address, parent, "done", STATES.write(state), inputs.now_ms)
        return answered(attrs.evolve(nothing(address), messages=(answer,)), None)
    # A message that is delivered again must not be answered twice.
    if parent in data.waiters:
        return reply(address, None)
    if len(data.waiters) >= MAX_WAITERS:
        # A workflow that is not told would wait for ever.
        why = orjson.dumps(f"{MAX_WAITERS} workflows wait for {address}, which is the limit").decode()
        answer = report_end(address, parent, "cancelled", why, inputs.now_ms)
        return answered(attrs.evolve(nothing(address), messages=(answer,)), None)
    events = EventRecorder(inputs, address, 0).optional(JobStarted) if instance is None else ()
    after = _with_waiters(before, (*data.waiters, parent))
    return answered(put(before, inputs.now_ms, events=events, data=after), None)


def last_messages(instance: Instance, reason: str, inputs: TurnInputs) -> tuple[Message, ...]:
    """Return the messages to workflows that wait for a batch that is terminated."""
    if not instance.data or STATES.read(instance.state).ended_at is not None:
        return ()
    why = orjson.dumps(reason).decode()
    waiters = data_of(instance).waiters
    return tuple(report_end(instance.address, each, "terminated", why, inputs.now_ms) for each in waiters)


# ---------------------------------------------------------------- the items' ends
def _item_ended(
    how: BatchPolicy, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs
) -> Commit:
    """Count an item's end. One of an earlier batch with this id, or after the end, changes nothing."""
    if instance is None or request.inbound is None:
        return reply(address, None)
    state, end = STATES.read(instance.state), cast("ItemEnded", request.command).end
    # The end is told once: what an operator changes afterwards is in the pool, and not in the counts.
    if state.ended_at is not None or data_of(instance).run != end.run:
        return reply(address, None)
    return _changed(how, instance, counted(state, request.inbound.sender.id, end, how.failures), inputs)


def counted(state: BatchProgress, item: str, end: ItemEnd, most: int) -> BatchProgress:
    """Return a batch's state after an item's report.

    Args:
        state: the state.
        item: the item's id.
        end: the report.
        most: how many failures are kept.
    """
    form: ItemForm = end.form
    match form:
        case "done" | "cancelled" | "existed":
            return attrs.evolve(state, **{form: getattr(state, form) + 1})
        case "failed":
            # The counts stay exact: only the list of failures is bounded.
            failures = state.failures
            if len(failures) < most:
                failures += (BatchFailure(id=item, error_type=end.error_type, message=end.message),)
            return attrs.evolve(state, failed=state.failed + 1, failures=failures)
        case "resumed":
            # An operator resumed it: its next end is counted again.
            kept = tuple(failure for failure in state.failures if failure.id != item)
            return attrs.evolve(state, failed=state.failed - 1, failures=kept)
        case _:
            assert_never(form)


def _changed(
    how: BatchPolicy, before: Instance, state: BatchProgress, inputs: TurnInputs, events: tuple[Event, ...] = ()
) -> Commit:
    """Write a batch's state. If it is sealed and no item waits, this is its end."""
    # Sealed and nothing waits: no later turn would end the batch, because no message follows.
    if not state.sealed or state.waiting:
        return answered(put(before, inputs.now_ms, events=events, state=STATES.write(state)), None)
    return _ended(how, before, state, inputs, events)


def _ended(
    how: BatchPolicy,
    before: Instance,
    state: BatchProgress,
    inputs: TurnInputs,
    events: tuple[Event, ...] = (),
    **changes: Any,  # fields of Instance that the end changes as well
) -> Commit:
    """Write a batch's end, and report it."""
    state = attrs.evolve(state, ended_at=from_ms(inputs.now_ms))
    encoded, data = STATES.write(state), data_of(before)
    messages = tuple(report_end(before.address, each, "done", encoded, inputs.now_ms) for each in data.waiters)
    noted = EventRecorder(inputs, before.address, before.run_count, used=1 + len(events)).optional(
        JobNoted, name="batch.done", data=encoded
    )
    is_over = how.at_end == "nothing"
    transition = put(
        before,
        inputs.now_ms,
        events=(*events, *noted),
        messages=messages,
        state=encoded,
        data=BATCH_DATA.write(attrs.evolve(data, waiters=())),
        **changes,
        # Without a hook it is over: its alarm is the end of its retention. With one, the alarm runs the hook.
        alarm_ms=_kept_until(how, inputs) if is_over else inputs.now_ms,
        ended_ms=inputs.now_ms if is_over else None,
    )
    return answered(transition, None)


def _kept_until(how: BatchPolicy, inputs: TurnInputs) -> int | None:
    return None if how.keep_ms is None else inputs.now_ms + how.keep_ms


# ---------------------------------------------------------------- the hook, and the retention
def _alarm(job: AnyDefinition, instance: Instance, request: Request, inputs: TurnInputs) -> Step:
    if instance.ended_ms is not None:
        return answered(purge(instance, own_messages="kept"), None)
    # Deferred, not dropped: the alarm is still due when the run has ended.
    if instance.claim is not None:  # its run is in progress, here or in another process
        return Defer()
    if instance.pending_retry is not None:
        return begin_attempt(job, instance, instance.pending_retry, request, inputs)
    return begin_run(job, instance, request, inputs, cause="alarm")


def succeeded(how: BatchPolicy, execute: Execute, value: object, inputs: TurnInputs) -> Commit:
    """Settle a look at the pool, or ``on_done``: then the batch is over, and kept."""
    instance = execute.instance
    if execute.hook == LOOK:
        return looked(how, execute, value, inputs)
    log = EventRecorder(inputs, instance.address, instance.run_count)
    events: tuple[Event, ...]
    events = executed(log, execute, inputs) if execute.prior is None else prior_failed(log, execute, inputs)
    transition = put(
        instance,
        inputs.now_ms,
        events=events,
        messages=tuple(execute.draft.messages),
        alarm_ms=_kept_until(how, inputs),
        ended_ms=inputs.now_ms,
        claim=None,
        pending_retry=None,
        suspension=None,
        last_error=None,
    )
    return answered(transition, run_answer(execute, stored(transition), OutcomeRecord(form="completed")))
