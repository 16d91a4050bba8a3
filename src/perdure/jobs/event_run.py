"""Handles one event on a draft. The event is claimed only before its handler's first effect, unless code is suspect."""

from __future__ import annotations

from typing import Any, Literal

import attrs
from returns.result import Failure

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.event_recorder import EventRecorder
from perdure.jobs.failures import error_for_hook, record_failure, refusal
from perdure.jobs.keys import run_id_of
from perdure.jobs.redaction import secrets_of_request, secrets_of_run
from perdure.jobs.request import Request
from perdure.jobs.run import attempt_failed, prior_failed, rescued
from perdure.jobs.step import Commit, Execute, Mark
from perdure.jobs.writes import failed, nothing, purge, put
from perdure.programs import Halted, Raised
from perdure.values.event import Event, JobFailed, JobStarted
from perdure.values.failure import FailureRecord
from perdure.values.instance import Claim, Instance
from perdure.values.transition import Transition
from perdure.values.turn_inputs import Decoded, TurnInputs


def begin_event(
    job: AnyDefinition,
    before: Instance,
    request: Request,
    inputs: TurnInputs,
    *,
    found: Literal["created", "exists"],
    state: Decoded | None = None,
) -> Execute:
    """Begin to handle an event, on a state that is decoded already or is decoded here.

    Its claim is prepared for the handler's first effect.
    """
    run_id = run_id_of(before.address, request, inputs)
    claim = event_claim(request, owner=inputs.epoch, run_id=run_id, now_ms=inputs.now_ms, found=found)
    hook, program = job.program(before, claim, request.command)
    draft = job.draft(before, claim, inputs) if state is None else job.draft_of(state.value, before, claim, inputs)
    draft.received = request.command
    return Execute(
        hook=hook,
        program=program,
        instance=before,
        draft=draft,
        claim=claim,
        claimed="before_effect",
        request=request,
        started_ms=inputs.now_ms,
    )


def mark_first_event(fresh: Instance, request: Request, inputs: TurnInputs) -> Mark:
    """Claim the event that creates an instance before the code runs that returns its first state.

    Args:
        fresh: the instance, without a state.
        request: the request of the event.
        inputs: the epoch, the clock and the id of the run.
    """
    run_id = run_id_of(fresh.address, request, inputs)
    claim = event_claim(request, owner=inputs.epoch, run_id=run_id, now_ms=inputs.now_ms, found="created")
    return Mark(transition=put(fresh, inputs.now_ms, event_claim=claim), claim=claim)


def event_claim(
    request: Request, *, owner: int, run_id: str, now_ms: int, found: Literal["created", "exists"]
) -> Claim:
    """Return the claim of an event.

    Args:
        request: the request of the event.
        owner: the epoch of the engine.
        run_id: the id of its run.
        now_ms: the clock.
        found: whether the event creates the instance.
    """
    inbound = request.inbound
    return Claim(
        owner=owner,
        cause="event",
        run_id=run_id,
        claimed_ms=now_ms,
        attempt=request.attempt,
        created="here" if found == "created" else "before",
        action=request.action,
        payload=request.payload,
        key=request.idempotency_key,
        message_id=inbound.message_id if inbound else None,
        message_sender=str(inbound.sender) if inbound else None,
        by=request.by,
    )


def broken_before(
    job: AnyDefinition, before: Instance, request: Request, hook: str, defect: BaseException, inputs: TurnInputs
) -> Commit:
    """Settle an event whose handler raised before it began: only the history is written, and no instance remains."""
    died = Raised(defect)
    record = record_failure(died, job.plan.errors, secrets=secrets_of_request(job, request))
    run_id = run_id_of(before.address, request, inputs)
    event = EventRecorder(inputs, before.address, before.run_count).add(
        JobFailed, run_id=run_id, hook=hook, attempt=request.attempt, delivery=1, duration_ms=0, error=record
    )
    return failed(purge(before, events=(event,)), refusal(died, record))


def claim_event(execute: Execute) -> Transition:
    """Return the transition that claims an event, before its handler's first effect."""
    return put(execute.instance, execute.claim.claimed_ms, event_claim=execute.claim)


def started(log: EventRecorder, execute: Execute) -> tuple[Event, ...]:
    """Return the event of a created instance, if this event created it."""
    return log.optional(JobStarted) if execute.claim.created == "here" else ()


def event_failed(
    job: AnyDefinition, execute: Execute, exit_: Failure[Any] | Raised | Halted, inputs: TurnInputs
) -> Commit | Execute:
    """Settle an event whose handler failed: run ``on_error``, or return the error to the caller."""
    record = record_failure(exit_, job.plan.errors, secrets=secrets_of_run(job, execute))
    if execute.prior is None:
        program = job.error_handler(execute, error_for_hook(exit_, record))
        if program is not None:
            return rescued(job, execute, program, record, inputs)
    log = EventRecorder(inputs, execute.instance.address, execute.instance.run_count)
    return failed(_without(execute, _events(log, execute, exit_, record, inputs), inputs), refusal(exit_, record))


def _events(
    log: EventRecorder,
    execute: Execute,
    exit_: Failure[Any] | Raised | Halted,
    record: FailureRecord,
    inputs: TurnInputs,
) -> tuple[Event, ...]:
    """Return the events of a failure. A declared error goes only to the caller; a defect is recorded too."""
    events = prior_failed(log, execute, inputs)
    if execute.prior is not None or not isinstance(exit_, Failure):
        events += (attempt_failed(log, execute, record, inputs),)
    return events


def _without(execute: Execute, events: tuple[Event, ...], inputs: TurnInputs) -> Transition:
    """Remove the event's claim, and the instance that the claim created."""
    instance = execute.instance
    if instance.event_claim is None:
        return attrs.evolve(nothing(instance.address), events=events)
    if execute.claim.created == "here":
        return purge(instance, events=events)
    return put(instance, inputs.now_ms, events=events, event_claim=None)
