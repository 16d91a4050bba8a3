"""Terminates, pauses, resumes and parks instances of every kind of job."""

from __future__ import annotations

from typing import Any

import attrs

from perdure.codecs import UpcastFailed
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
from perdure.values.event import Event, JobFailed, JobParked, JobPaused, JobResumed, JobTerminated
from perdure.values.excerpt import shortened
from perdure.values.instance import Claim, Instance
from perdure.values.message import Message
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


def undecodable(job: AnyDefinition, instance: Instance, problem: InvalidInput, inputs: TurnInputs) -> Commit:
    """Park an undecodable instance: only its status changes. The exception of an upcaster is recorded."""
    error = Undecodable(str(instance.address), problem.problems)
    if instance.suspension is not None:
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
    parked = log.add(JobParked, reason="undecodable", detail=shortened("; ".join(problem.problems)))
    return failed(put(instance, inputs.now_ms, events=(*events, parked), suspension="undecodable"), error)


def redecode(job: AnyDefinition, address: Address, instance: Instance | None, inputs: TurnInputs) -> Commit:
    """Resume an instance that was parked as undecodable, if this code can decode it.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    if instance is None or instance.suspension != "undecodable":
        return reply(address, PauseResult(changed=False, status=None if instance is None else instance.status))
    return resume(job, address, check_readable(job, instance), inputs)
