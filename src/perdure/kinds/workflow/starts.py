"""The pure decisions about a workflow's start: at once, later, by a signal, as a child or a fork, or from the queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast

import attrs
import orjson

from perdure.jobs.definition import START_LANE
from perdure.jobs.parts import stored_state
from perdure.jobs.request import AlarmDue, Request, within
from perdure.jobs.run import begin_attempt, begin_run
from perdure.jobs.step import Commit, Defer, Step
from perdure.jobs.transitions import EventRecorder, answered, nothing, purge, put, refuse, reply, stored
from perdure.kinds.workflow.children import (
    report_end,
)
from perdure.kinds.workflow.commands import (
    Forked,
    ForkInput,
    ForkWorkflow,
    NoteFork,
    Signalled,
    SignalWithStart,
    StartChild,
    StartTimed,
    StartWorkflow,
)
from perdure.kinds.workflow.header import (
    ContinuedSteps,
    Header,
    Parent,
    Shared,
    header_of,
    written,
)
from perdure.kinds.workflow.instructions import KeyedValue, signal_of_key
from perdure.kinds.workflow.journal import JournalPrefix, Row, body_of, prefix_of
from perdure.kinds.workflow.waits import arrival
from perdure.values.address import Address
from perdure.values.answer import RunAnswer
from perdure.values.errors import (
    ForkRefused,
    InvalidInput,
    RequestError,
    Undecodable,
)
from perdure.values.event import JobNoted, JobStarted
from perdure.values.excerpt import fields_in_line, size_only
from perdure.values.instance import Instance
from perdure.values.message import Message
from perdure.values.transition import JournalChange
from perdure.values.turn_inputs import TurnInputs

if TYPE_CHECKING:
    from perdure.kinds.workflow.context import AnyWorkflow


def start(
    job: AnyWorkflow,
    address: Address,
    instance: Instance | None,
    request: Request,
    inputs: TurnInputs,
) -> Step:
    """Store a new workflow, and begin it now, at its time, or when it has its place."""
    command = cast("StartWorkflow | StartTimed | StartChild | ForkWorkflow", request.command)
    if isinstance(command, ForkWorkflow):
        return _fork(job, address, instance, command, inputs)
    parent, state = None, command.state if isinstance(command, StartWorkflow) else command.start.state
    if isinstance(command, StartChild):
        parent = command.start.parent
    if instance is not None:
        return _exists(address, instance, parent, inputs)
    try:
        state_ = stored_state(job, request.encode(job.plan.state, state), inputs)
    except InvalidInput as refused:
        return refuse(address, refused)
    # One id for all runs of the workflow: keys of steps are made of it, and must not change between its parts.
    header = Header(run_id=inputs.id(), started_ms=inputs.now_ms, parent=parent)
    if isinstance(command, StartTimed):
        header = _timed(header, command, inputs)
    fresh = _fresh(address, state_.text, header, inputs)
    begins_now = header.started_ms == inputs.now_ms
    if request.inbound is None and begins_now and job.concurrency is None and state_.journal is None:
        return begin_run(job, fresh, request, inputs, cause="start", creates=True, run_id=header.run_id)
    # The message is consumed when the workflow is stored, and not at the end of its first run.
    events = EventRecorder(inputs, address, 0).optional(JobStarted)
    lane = _lane(job) if begins_now else None
    transition = put(fresh, inputs.now_ms, events=events, journal=state_.journal, alarm_ms=header.started_ms, lane=lane)
    status: Literal["queued", "scheduled"] = "scheduled" if lane is None else "queued"
    return answered(transition, RunAnswer(created=True, found="absent", status=status))


def _lane(job: AnyWorkflow) -> str | None:
    """Return the lane in which a start waits for its place. None if it needs none."""
    return None if job.concurrency is None else START_LANE


def _timed(header: Header, command: StartTimed, inputs: TurnInputs) -> Header:
    """Return a new workflow's header with the instants at which it begins and is cancelled."""
    # The clock of the program begins there as well.
    begins_ms = max(inputs.now_ms, inputs.now_ms + command.after_ms if command.at_ms is None else command.at_ms)
    deadline_ms = None if command.within_ms is None else begins_ms + command.within_ms
    return attrs.evolve(header, started_ms=begins_ms, deadline_ms=deadline_ms)


def _fresh(address: Address, state: str, header: Header, inputs: TurnInputs) -> Instance:
    return Instance(
        address=address,
        created_ms=inputs.now_ms,
        updated_ms=inputs.now_ms,
        state=state,
        data=written(header),
    )


def _fork(
    job: AnyWorkflow, address: Address, instance: Instance | None, command: ForkWorkflow, inputs: TurnInputs
) -> Commit:
    """Begin a workflow with the rows that the gateway has copied, and let both histories name the other one."""
    if instance is not None:
        return reply(address, Forked(created=False, status=instance.status))
    copied: ForkCopy | RequestError | None = command.copied
    source = job.address(command.wanted.source)
    if not isinstance(copied, ForkCopy):
        return refuse(address, copied or ForkRefused(str(source), command.wanted.step or "", "message"))
    prefix = copied.prefix
    last = attrs.evolve(prefix.forked.parts[-1], gap_ms=max(0, inputs.now_ms - prefix.cut_ms))
    header = Header(
        run_id=inputs.id(),
        # The clock of a program begins here: a replay must read the same instants.
        started_ms=copied.started_ms,
        signals=prefix.signals,
        waiting=prefix.waiting,
        cancel=prefix.cancel,
        shared=Shared(published=prefix.published) if prefix.published else None,
        forked=attrs.evolve(prefix.forked, parts=(*prefix.forked.parts[:-1], last)),
        continued=copied.continued,
    )
    fresh = _fresh(address, copied.state, header, inputs).changed(state_version=job.plan.state_version)
    recorder = EventRecorder(inputs, address, 0)
    data = orjson.dumps({"source": str(source), "step": prefix.step, "kept": prefix.kept}).decode()
    started = recorder.optional(JobStarted)
    note = orjson.dumps({"run_id": header.run_id, "step": prefix.step}).decode()
    told = Message(sender=address, target=source, action="forked_into", payload=note, sent_ms=inputs.now_ms)
    transition = put(
        fresh,
        inputs.now_ms,
        events=(*started, recorder.add(JobNoted, name="workflow.forked_from", data=data)),
        messages=(told,),
        journal=JournalChange(prefix.bodies) if prefix.bodies else None,
        alarm_ms=inputs.now_ms,
        lane=_lane(job),
    )
    after = stored(transition)
    status = None if after is None else after.status
    return answered(transition, Forked(created=True, kept=prefix.kept, step=prefix.step, status=status))


def note_fork(
    address: Address, instance: Instance | None, command: NoteFork, request: Request, inputs: TurnInputs
) -> Commit:
    """Note in the source's history that it was forked. The source continues as it is."""
    if instance is None:
        return reply(address, Signalled(accepted=False, found="absent", status=None))
    fork = "" if request.inbound is None else str(request.inbound.sender)
    data = orjson.dumps({"fork": fork, "run_id": command.run_id, "step": command.step}).decode()
    noted = EventRecorder(inputs, address, instance.run_count).add(JobNoted, name="workflow.forked_into", data=data)
    found: Literal["ended", "running"] = "running" if header_of(instance).ended is None else "ended"
    return answered(
        put(instance, inputs.now_ms, events=(noted,)), Signalled(accepted=True, found=found, status=instance.status)
    )


@attrs.frozen(kw_only=True)
class ForkCopy:
    """The parts of a stored workflow that its fork begins with.

    Attributes:
        state: the state that it was started with.
        prefix: its journal, up to the step.
        continued: the stopped steps whose heartbeats count. None without them.
    """

    __repr__ = fields_in_line

    state: str = attrs.field(repr=size_only)
    started_ms: int
    prefix: JournalPrefix
    continued: ContinuedSteps | None = None


def is_same_run(before: Instance, after: Instance | None) -> bool:
    """Return whether a journal has only grown between two reads of its workflow: it has not started over."""
    if after is None or after.incarnation != before.incarnation:
        return False
    return header_of(after).run_id == header_of(before).run_id


def copied(
    job: AnyWorkflow, source: Address, instance: Instance | None, rows: Sequence[str], wanted: ForkInput
) -> ForkCopy | RequestError:
    """Return the parts that a fork takes over, or why there is none.

    Args:
        job: the definition.
        source: the workflow to fork.
        instance: its row. None if there is none.
        rows: its journal.
        wanted: the step.
    """
    if instance is None:
        return ForkRefused(str(source), wanted.step or "", "absent")
    try:
        present = job.present(instance)
        header = header_of(present)
        # A replay begins with the state of the start.
        state = present.state if header.first is None else header.first
        prefix = prefix_of(str(source), header, rows, wanted, promises=job.promises, state=state)
    except InvalidInput as problem:
        return Undecodable(str(source), problem.problems)
    if isinstance(prefix, ForkRefused):
        return prefix
    # Only for jobs with heartbeats: code that does not know this member cannot read the fork.
    continued = (
        ContinuedSteps(incarnation=instance.incarnation, run_id=header.run_id, paths=prefix.stopped)
        if prefix.stopped and job.plan.heartbeats
        else None
    )
    return ForkCopy(state=state, started_ms=header.started_ms, prefix=prefix, continued=continued)


def arrived_signal(
    job: AnyWorkflow, number: int, name: str, value: object, request: Request, inputs: TurnInputs
) -> Row:
    """Return the row that a signal has in the journal.

    Raises:
        InvalidInput: the value has more than ``payload_bytes`` bytes.
    """
    codec = job.signals[name]
    # The input of `signal_with_start` may be larger, for the state beside the value.
    encoded = within(request.encode(codec, value), inputs.limits.payload_bytes, what=codec.what)
    return arrival(number, stored_name(name, value), encoded, inputs.now_ms, secret=codec.secret)


def signal_with_start(
    job: AnyWorkflow,
    address: Address,
    instance: Instance | None,
    command: SignalWithStart,
    request: Request,
    inputs: TurnInputs,
) -> Step:
    """Start a workflow, or an ended one again, with a signal in its inbox."""
    number = 1 if instance is None else header_of(instance).signals + 1  # no ticket of the earlier one may name it
    try:
        state = stored_state(job, request.encode(job.plan.state, command.start.state), inputs)
        row = arrived_signal(job, number, command.name, command.start.value, request, inputs)
    except InvalidInput as refused:
        return refuse(address, refused)
    parts = () if state.journal is None else state.journal.bodies
    header = Header(run_id=inputs.id(), started_ms=inputs.now_ms, signals=number, waiting=1)
    # The same row for the next workflow of the id: a purge and an insert would need two commits.
    before = _fresh(address, state.text, header, inputs) if instance is None else instance
    run_count = before.run_count
    transition = put(
        before,
        inputs.now_ms,
        events=EventRecorder(inputs, address, run_count).optional(JobStarted),
        journal=JournalChange((*parts, body_of(row)), "kept" if instance is None else "cut"),
        state=state.text,
        data=written(header),
        event_count=before.event_count + 1,
        alarm_ms=inputs.now_ms,
        lane=_lane(job),
        pending_retry=None,
        suspension=None,
        ended_ms=None,
        last_error=None,
    )
    after = stored(transition)
    status = None if after is None else after.status
    return answered(
        transition, Signalled(accepted=True, found="absent" if instance is None else "ended", status=status)
    )


def _exists(address: Address, instance: Instance, parent: Parent | None, inputs: TurnInputs) -> Commit:
    """Leave a workflow unchanged. One that would be another parent's child is reported to that parent."""
    answer = RunAnswer(found="exists", status=instance.status)
    if parent is None or header_of(instance).parent == parent:
        return reply(address, answer)
    # Without this message, the parent would wait for the end of a child that is not its own.
    refusal = report_end(address, parent, "exists", "null", inputs.now_ms)
    return answered(attrs.evolve(nothing(address), messages=(refusal,)), answer)


def due(job: AnyWorkflow, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
    """Begin or continue a workflow whose alarm is due or whose start has its place, or delete one that has ended."""
    if instance is None or instance.lane is not None:
        return reply(address, None) if instance is None else _begin_queued(job, address, instance, request, inputs)
    if instance.claim is not None:  # its run is in progress, here or in another process
        return Defer()
    header = header_of(instance)
    if header.ended is not None:
        # The messages that it has sent are still delivered.
        return answered(purge(instance, own_messages="kept"), None)
    # Its time has come, and now it waits for its place. A cancelled one ends at its first step, and needs none.
    if job.concurrency is not None and instance.run_count == 0 and header.cancel is None:
        return answered(put(instance, inputs.now_ms, lane=START_LANE), None)
    before = instance.changed(alarm_ms=None)
    if instance.pending_retry is not None:
        return begin_attempt(job, before, instance.pending_retry, request, inputs)
    # See `start`: a drawn id would change the keys of all steps.
    return begin_run(job, before, request, inputs, cause="alarm", run_id=header.run_id)


def _begin_queued(job: AnyWorkflow, address: Address, instance: Instance, request: Request, inputs: TurnInputs) -> Step:
    """Begin a start that has waited for its place, if it is still the one that got it."""
    command, run_id = request.command, queued_start(instance)
    if not isinstance(command, AlarmDue) or command.start != run_id:
        return reply(address, None)
    before = instance.changed(alarm_ms=None, lane=None, data=written(_begun_now(header_of(instance), inputs.now_ms)))
    return begin_run(job, before, request, inputs, cause="start", run_id=run_id)


def _begun_now(header: Header, now_ms: int) -> Header:
    """Return a header whose program begins now, with its deadline. The clock of a fork's program has begun."""
    if header.forked is not None:
        return header
    waited_ms = max(0, now_ms - header.started_ms)
    deadline_ms = None if header.deadline_ms is None else header.deadline_ms + waited_ms
    return attrs.evolve(header, started_ms=header.started_ms + waited_ms, deadline_ms=deadline_ms)


def queued_start(instance: Instance) -> str:
    """Return the run id that names a queued start."""
    return header_of(instance).run_id


def stored_name(name: str, value: object) -> str:
    """Return the name under which a signal is stored."""
    return signal_of_key(name, value.key) if isinstance(value, KeyedValue) else name
