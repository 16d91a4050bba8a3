"""Recovers abandoned claims: delivers them again, alone after two crashes, and parks them after three."""

from __future__ import annotations

from typing import Any

import attrs

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.event_recorder import EventRecorder
from perdure.jobs.request import Inbound, Request
from perdure.jobs.run import park_run
from perdure.jobs.step import Commit, Execute
from perdure.jobs.writes import answered, put, reply, stored
from perdure.values.address import Address
from perdure.values.answer import PauseResult
from perdure.values.event import JobParked, JobRecovered
from perdure.values.failure import FailureRecord
from perdure.values.instance import Claim, Instance
from perdure.values.turn_inputs import TurnInputs

MAX_RECOVERIES = 2
"""A run whose process died this often is delivered alone; after one more crash it is parked."""


def is_running(instance: Instance, inputs: TurnInputs) -> bool:
    """Return whether a run of the instance is in progress in this process."""
    return instance.claim is not None and instance.claim.run_id in inputs.running


def left_behind(instance: Instance, running: tuple[str, ...]) -> Claim | None:
    """Return the claim that must be recovered, if there is one; the claim of a run precedes that of an event.

    A parked claim does not keep another claim of the instance from being delivered.

    Args:
        instance: the stored instance.
        running: the ids of its runs that are in progress in this process.
    """
    if instance.claim is None and instance.event_claim is None:
        return None
    if instance.suspension == "undecodable":
        return None
    for claim in (instance.claim, instance.event_claim):
        if claim is None or claim.run_id in running:
            continue
        if instance.suspension != "recovery_exhausted" or claim.recoveries < MAX_RECOVERIES:
            return claim
    return None


def recover(
    job: AnyDefinition, instance: Instance, claim: Claim, request: Request, inputs: TurnInputs
) -> Commit | Execute:
    """Deliver a run again.

    A claim of this engine was left by a failed commit, or by a shutdown that released it: no process crashed, and no
    recovery is counted.

    Raises:
        InvalidInput: this code cannot decode the input of the run.
    """
    crashed = claim.owner not in (inputs.epoch, RELEASED)
    if crashed and claim.recoveries >= MAX_RECOVERIES:
        return _park(job, instance, claim, inputs)
    instance = job.present(instance)
    recoveries = claim.recoveries + 1 if crashed else claim.recoveries
    again = attrs.evolve(
        claim, owner=inputs.epoch, claimed_ms=inputs.now_ms, deliveries=claim.deliveries + 1, recoveries=recoveries
    )
    log = EventRecorder(inputs, instance.address, instance.run_count)
    recovered = log.add(
        JobRecovered,
        run_id=again.run_id,
        cause=again.cause,
        attempt=again.attempt,
        delivery=again.deliveries,
        recoveries=recoveries,
    )
    transition = put(instance, inputs.now_ms, events=(recovered,), **_in_place(instance, claim, again))
    claimed = stored(transition) or instance
    hook, program = job.program(claimed, again, claimed_command(job, again))
    return Execute(
        hook=hook,
        program=program,
        instance=instance,
        draft=job.draft(claimed, again, inputs),
        claim=again,
        claiming=transition,
        claimed="before_run",
        request=_request_of(again, request),
        started_ms=inputs.now_ms,
        alone="alone" if recoveries >= MAX_RECOVERIES else "beside_others",
    )


RELEASED = 0
"""The owner of a claim that a graceful shutdown released. Epochs begin at 1."""


def release(instance: Instance, run_id: str, inputs: TurnInputs) -> Commit:
    """Release a claim on a graceful shutdown: the next start delivers it again without counting a crash."""
    changes: dict[str, Any] = {  # fields of Instance
        name: attrs.evolve(claim, owner=RELEASED)
        for name, claim in (("claim", instance.claim), ("event_claim", instance.event_claim))
        if claim is not None and claim.run_id == run_id
    }
    if not changes:
        return reply(instance.address, PauseResult(changed=False, status=instance.status))
    return answered(put(instance, inputs.now_ms, **changes), PauseResult(changed=True, status=instance.status))


def claimed_command(job: AnyDefinition, claim: Claim) -> object:
    """Rebuild the command of a claimed event; None for a run, which needs none.

    Raises:
        InvalidInput: this code cannot decode the event.
    """
    if claim.cause != "event" or claim.action is None:
        return None
    return job.parse(claim.action, claim.payload or "").command


def _in_place(instance: Instance, claim: Claim, replacement: Claim) -> dict[str, Any]:  # fields of Instance
    return {"claim": replacement} if instance.claim is claim else {"event_claim": replacement}


def _request_of(claim: Claim, request: Request) -> Request:
    """Return the request of the recovered run: with the claim's message, if it has one."""
    if claim.message_id is None or claim.message_sender is None:
        return request
    inbound = Inbound(message_id=claim.message_id, sender=Address.parse(claim.message_sender))
    return attrs.evolve(request, inbound=inbound)


def _park(job: AnyDefinition, instance: Instance, claim: Claim, inputs: TurnInputs) -> Commit:
    log = EventRecorder(inputs, instance.address, instance.run_count)
    detail = f"the process died {claim.recoveries + 1} times during this run"
    parked = log.add(JobParked, reason="recovery_exhausted", detail=detail)
    changes: dict[str, Any] = {}  # fields of Instance
    left = instance
    if instance.claim is claim:
        left = job.alarm_consumed(instance, claim, inputs)
        record = FailureRecord(form="defect", error_type="RecoveryExhausted", message=detail)
        pending_retry = park_run(claim, record, first_failed_ms=inputs.now_ms, now_ms=inputs.now_ms)
        changes = {"claim": None, "pending_retry": pending_retry, "last_error": record}
    transition = put(left, inputs.now_ms, events=(parked,), suspension="recovery_exhausted", **changes)
    return answered(transition, PauseResult(changed=True, status="parked"))
