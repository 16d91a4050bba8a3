"""Terminates, pauses and resumes instances of every kind of job, and leaves those that this code cannot read."""

from __future__ import annotations

from typing import Any

import attrs

from perdure.codecs import UpcastFailed
from perdure.jobs.code import code_of
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.event_recorder import EventRecorder
from perdure.jobs.failures import record_failure
from perdure.jobs.readable import check_readable
from perdure.jobs.recovery import RELEASED
from perdure.jobs.redaction import secrets_of_instance
from perdure.jobs.request import Terminate
from perdure.jobs.step import Commit
from perdure.jobs.writes import answered, failed, purge, put, refuse, reply, stored
from perdure.programs import Raised
from perdure.values.address import Address
from perdure.values.answer import PauseResult, Terminated
from perdure.values.errors import InvalidInput, Undecodable
from perdure.values.event import Event, JobFailed, JobLeft, JobPaused, JobResumed, JobTerminated
from perdure.values.excerpt import shortened
from perdure.values.failure import FailureRecord
from perdure.values.instance import Claim, Instance, left_by
from perdure.values.message import Message
from perdure.values.secret import why_unreadable
from perdure.values.turn_inputs import TurnInputs


def terminate(
    job: AnyDefinition, address: Address, instance: Instance | None, command: Terminate, inputs: TurnInputs
) -> Commit:
    """Purge the instance in any state, with the last messages of its kind."""
    if instance is None:
        return reply(address, Terminated(terminated=False, reason="not_found"))
    ended = EventRecorder(inputs, address, instance.run_count).add(JobTerminated, reason=command.reason)
    transition = purge(instance, events=(ended,), messages=_last_messages(job, instance, command.reason, inputs))
    return answered(transition, Terminated(terminated=True, reason=command.reason))


def _last_messages(job: AnyDefinition, instance: Instance, reason: str, inputs: TurnInputs) -> tuple[Message, ...]:
    """Return the last messages of an instance; none if this code cannot read it, which must not prevent its end."""
    try:
        return job.last_messages(instance, reason, inputs)
    except InvalidInput:
        return ()


def pause(address: Address, instance: Instance | None, inputs: TurnInputs) -> Commit:
    """Suspend alarms and retries. A parked instance stays parked, and one that has ended stays as it ended."""
    if instance is None or instance.suspension is not None or instance.ended_ms is not None:
        return reply(address, PauseResult(changed=False, status=None if instance is None else instance.status))
    paused = EventRecorder(inputs, address, instance.run_count).add(JobPaused)
    return _held(put(instance, inputs.now_ms, events=(paused,), suspension="paused"))


def resume(job: AnyDefinition, address: Address, instance: Instance | None, inputs: TurnInputs) -> Commit:
    """Resume the instance: an overdue alarm fires once, and a parked run starts new attempts."""
    if instance is None or instance.suspension is None:
        return reply(address, PauseResult(changed=False, status=None if instance is None else instance.status))
    resumed = EventRecorder(inputs, address, instance.run_count).add(JobResumed, was=instance.suspension)
    pending_retry = instance.pending_retry
    if pending_retry is not None and instance.suspension != "paused":
        pending_retry = attrs.evolve(pending_retry, at_ms=inputs.now_ms)
    changed = attrs.evolve(
        job.rearmed(instance, inputs),
        suspension=None,
        pending_retry=pending_retry,
        claim=_fresh(instance.claim, inputs),
        event_claim=_fresh(instance.event_claim, inputs),
    )
    return _held(put(changed, inputs.now_ms, events=(resumed,)))


def _fresh(claim: Claim | None, inputs: TurnInputs) -> Claim | None:
    if claim is None:
        return None
    if inputs.others and (claim.owner in inputs.others or claim.run_id in inputs.running):
        return attrs.evolve(claim, recoveries=0)  # an engine runs it: released, another one would run it too
    return attrs.evolve(claim, owner=RELEASED, recoveries=0)


def _held(transition: Any) -> Commit:
    after = stored(transition)
    return answered(transition, PauseResult(changed=True, status=None if after is None else after.status))


def leave(
    job: AnyDefinition, instance: Instance, problem: InvalidInput, inputs: TurnInputs, *, ended: str | None = None
) -> Commit:
    """Leave an instance that this code cannot read to other code: only the mark changes, and claims are released.

    A run that stops here keeps its claim, so that the code that continues it repeats it, marked, under the same run id.
    The exception of an upcaster is recorded.

    Args:
        job: the definition.
        instance: the stored instance.
        problem: why this code cannot read it.
        inputs: the clock and the ids.
        ended: the id of the run that stops here, if one does.
    """
    error = Undecodable(str(instance.address), problem.problems)
    code = code_of(job, inputs.reads)
    released = _released(instance, ended, inputs)
    if instance.left is not None and code in instance.left.codes and not released:
        return refuse(instance.address, error)
    log = EventRecorder(inputs, instance.address, instance.run_count)
    events: tuple[Event, ...] = ()
    if isinstance(problem, UpcastFailed):
        record = record_failure(Raised(problem.defect), None, secrets=secrets_of_instance(job, instance))
        events = (
            log.add(
                JobFailed,
                run_id=inputs.id(),
                hook=problem.upcast,
                attempt=1,
                delivery=1,
                duration_ms=0,
                error=record,
            ),
        )
    why = FailureRecord(form="defect", error_type=_type_of(problem, instance), message=_detail(problem))
    events = (*events, log.add(JobLeft, code=code, error_type=why.error_type, detail=why.message))
    mark = left_by(instance.left, code, why, inputs.now_ms)
    return failed(put(instance, inputs.now_ms, events=events, left=mark, **released), error)


def _detail(problem: InvalidInput) -> str:
    return shortened("; ".join(problem.problems))


def _type_of(problem: InvalidInput, instance: Instance) -> str:
    if any(why_unreadable(text) is not None for text in (instance.state, instance.data)):
        return "Unreadable"
    return type(problem).__name__


def _released(instance: Instance, ended: str | None, inputs: TurnInputs) -> dict[str, Any]:  # fields of Instance
    """Release the claims of this engine that no run holds: it lives, and so no other engine would take them over."""
    return {
        name: attrs.evolve(claim, owner=RELEASED)
        for name, claim in (("claim", instance.claim), ("event_claim", instance.event_claim))
        if claim is not None
        and claim.owner == inputs.epoch
        and (claim.run_id == ended or claim.run_id not in inputs.running)
    }


def take_up(job: AnyDefinition, address: Address, instance: Instance | None, inputs: TurnInputs) -> Commit:
    """Continue an instance that other code left, if this code can read it: an overdue alarm fires once.

    Raises:
        InvalidInput: this code cannot read it either.
    """
    if instance is None or instance.left is None:
        return reply(address, PauseResult(changed=False, status=None if instance is None else instance.status))
    present = check_readable(job, instance)
    resumed = EventRecorder(inputs, address, instance.run_count).add(JobResumed, was="left")
    return _held(put(present, inputs.now_ms, events=(resumed,), left=None))


def resume_left(job: AnyDefinition, address: Address, instance: Instance, inputs: TurnInputs) -> Commit:
    """Try to read an instance that is left, whatever code left it, because a caller says so; and resume it.

    One that is paused as well is not paused afterwards, although this code cannot read it.

    Raises:
        InvalidInput: this code cannot read it.
    """
    try:
        present = check_readable(job, instance)
    except InvalidInput:
        if instance.suspension != "paused":
            raise
        resumed = EventRecorder(inputs, address, instance.run_count).add(JobResumed, was="paused")
        return _held(put(instance, inputs.now_ms, events=(resumed,), suspension=None))
    if instance.suspension is None:
        return take_up(job, address, instance, inputs)
    return resume(job, address, present.changed(left=None), inputs)
