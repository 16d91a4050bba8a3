"""The life of one run, for every kind of job: claimed, retried, parked, given up."""

from __future__ import annotations

from typing import Any, Literal

import attrs
from returns.result import Failure

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.failures import error_for_hook, record_failure
from perdure.jobs.keys import remember
from perdure.jobs.log import Log
from perdure.jobs.request import Alarm, Request
from perdure.jobs.step import Commit, Execute
from perdure.jobs.writes import answered, purge, put, stored
from perdure.program import Died, Halted
from perdure.values.answer import OutcomeRecord, RunAnswer
from perdure.values.event import (
    Event,
    JobExecuted,
    JobFailed,
    JobParked,
    JobRetryExhausted,
    JobStarted,
    JobTerminated,
)
from perdure.values.facts import Facts
from perdure.values.failure import FailureRecord
from perdure.values.instance import Cause, Claim, Instance, Retrial
from perdure.values.retry import Exhausted, RetryAt
from perdure.values.transition import Transition


# ---------------------------------------------------------------- beginning
def begin_run(
    job: AnyDefinition,
    before: Instance,
    request: Request,
    facts: Facts,
    *,
    cause: Cause,
    found: Literal["created", "exists"] = "exists",
    **changes: Any,  # fields of Instance that the claim changes as well
) -> Execute:
    """Begin a new logical run. An open retry of an older run is given up for it, and says so in the log."""
    run_count = before.run_count + 1
    log = Log(facts, before.address, run_count)
    events: tuple[Event, ...] = (log.add(JobStarted),) if found == "created" else ()
    if before.retrial is not None:
        events += (attrs.evolve(superseded(log, before.retrial), run_count=before.run_count),)
    claim = _claim(request, facts, cause=cause, run_id=facts.id(), found=found)
    transition = put(before, facts.now_ms, events=events, claim=claim, run_count=run_count, retrial=None, **changes)
    return _execute(job, before, transition, claim, request, facts, found=found)


def begin_attempt(job: AnyDefinition, before: Instance, retrial: Retrial, request: Request, facts: Facts) -> Execute:
    """Begin the next attempt of a run that failed before."""
    claim = attrs.evolve(
        _claim(request, facts, cause=retrial.cause, run_id=retrial.run_id, found="exists"),
        attempt=retrial.attempt,
        deliveries=retrial.deliveries + 1,
    )
    return _execute(job, before, put(before, facts.now_ms, claim=claim), claim, request, facts, found="exists")


def _claim(request: Request, facts: Facts, *, cause: Cause, run_id: str, found: Literal["created", "exists"]) -> Claim:
    inbound = request.inbound
    return Claim(
        owner=facts.epoch,
        cause=cause,
        run_id=run_id,
        claimed_ms=facts.now_ms,
        created="here" if found == "created" else "before",
        action=None if isinstance(request.command, Alarm) else request.action,
        payload=request.payload if request.idempotency_key else None,
        key=request.idempotency_key,
        message_id=inbound.message_id if inbound else None,
        message_sender=str(inbound.sender) if inbound else None,
    )


def _execute(
    job: AnyDefinition,
    before: Instance,
    transition: Transition,
    claim: Claim,
    request: Request,
    facts: Facts,
    *,
    found: Literal["created", "exists"],
) -> Execute:
    claimed = stored(transition) or before
    hook, program = job.program(claimed, claim, request.command)
    return Execute(
        hook=hook,
        program=program,
        instance=before,
        draft=job.draft(claimed, claim, facts),
        claim=claim,
        claiming=remembering(job, transition, claim, running_answer(found), facts),
        claimed="before_run",
        request=request,
        started_ms=facts.now_ms,
    )


def running_answer(found: Literal["created", "exists"]) -> RunAnswer:
    """What a caller gets who does not wait for the run."""
    return RunAnswer(found=found, status="running", outcome=OutcomeRecord(form="running"))


def remembering(job: AnyDefinition, transition: Transition, claim: Claim, answer: object, facts: Facts) -> Transition:
    """Remember the answer under the claim's idempotency key, if it has one."""
    if claim.key is None or claim.action is None:
        return transition
    remembered = remember(job, claim.key, claim.action, claim.payload or "", answer, facts)
    return attrs.evolve(transition, remember=remembered)


def superseded(log: Log, retrial: Retrial) -> JobFailed:
    """Say that an open retry was given up for a newer run."""
    return log.add(
        JobFailed,
        run_id=retrial.run_id,
        hook="superseded",
        attempt=retrial.attempt,
        delivery=retrial.deliveries,
        duration_ms=0,
        error=retrial.error,
    )


def held_answer(instance: Instance) -> RunAnswer:
    """What a caller is told who asks a paused or parked instance to run."""
    if instance.hold == "paused" or instance.hold is None:
        outcome = OutcomeRecord(form="paused")
    else:
        outcome = OutcomeRecord(form="parked", reason=instance.hold)
    return RunAnswer(found="exists", status=instance.status, outcome=outcome)


# ---------------------------------------------------------------- success
def executed(log: Log, execute: Execute, facts: Facts) -> JobExecuted:
    """Say that a run succeeded."""
    return log.add(
        JobExecuted,
        run_id=execute.claim.run_id,
        cause=execute.claim.cause,
        attempt=execute.claim.attempt,
        delivery=execute.claim.deliveries,
        duration_ms=max(0, facts.now_ms - execute.started_ms),
    )


def run_answer(execute: Execute, after: Instance | None, outcome: OutcomeRecord) -> RunAnswer:
    """What the caller of a run is told at its end."""
    return RunAnswer(
        found="created" if execute.claim.created == "here" else "exists",
        status=None if after is None else after.status,
        outcome=outcome,
    )


# ---------------------------------------------------------------- failure
def run_failed(
    job: AnyDefinition, execute: Execute, exit_: Failure[Any] | Died | Halted, facts: Facts
) -> Commit | Execute:
    """Settle an attempt that failed: a retry, the job's own rescue, or the end of the run."""
    record = record_failure(exit_, job.plan.errors)
    if execute.prior is not None:  # the rescue failed as well: both errors are recorded
        return _exhausted(job, execute, facts, record=execute.prior, reason=f"{execute.hook}_failed", also=record)
    match _next_attempt(job, execute, exit_, facts):
        case RetryAt(at_ms=at_ms):
            return _retried(job, execute, record, at_ms, facts)
        case Exhausted(reason=reason):
            program = job.rescue(execute, error_for_hook(exit_, record))
            if program is None:
                return _exhausted(job, execute, facts, record=record, reason=reason)
            return rescued(job, execute, program, record, facts)


def rescued(job: AnyDefinition, execute: Execute, program: Any, record: FailureRecord, facts: Facts) -> Execute:
    """Go on with ``on_error``, on a fresh draft of what is stored."""
    fresh = job.draft(execute.instance, execute.claim, facts)
    return attrs.evolve(execute, hook="on_error", program=program, draft=fresh, prior=record, prior_hook=execute.hook)


def _next_attempt(
    job: AnyDefinition, execute: Execute, exit_: Failure[Any] | Died | Halted, facts: Facts
) -> RetryAt | Exhausted:
    retry = job.plan.retry
    if retry is None:
        return Exhausted("max_attempts")
    first_failed_ms = _first_failed_ms(execute, facts)
    if isinstance(exit_, Failure):
        return retry.after_failure(
            exit_.failure(),
            attempt=execute.claim.attempt,
            first_failed_ms=first_failed_ms,
            now_ms=facts.now_ms,
            jitter=facts.jitter,
        )
    return retry.after_defect(
        attempt=execute.claim.attempt, first_failed_ms=first_failed_ms, now_ms=facts.now_ms, jitter=facts.jitter
    )


def _first_failed_ms(execute: Execute, facts: Facts) -> int:
    """When the run's first attempt failed: now, if it is this one. A parked run that is resumed begins at its first."""
    retrial = execute.instance.retrial
    return facts.now_ms if retrial is None or execute.claim.attempt == 1 else retrial.first_failed_ms


def _retried(job: AnyDefinition, execute: Execute, record: FailureRecord, at_ms: int, facts: Facts) -> Commit:
    claim = execute.claim
    left = job.consumed(execute.instance, claim, facts)
    retrial = Retrial(
        run_id=claim.run_id,
        cause=claim.cause,
        attempt=claim.attempt + 1,
        first_failed_ms=_first_failed_ms(execute, facts),
        at_ms=at_ms,
        error=record,
    )
    log = Log(facts, left.address, left.run_count)
    transition = put(
        left,
        facts.now_ms,
        events=(attempt_failed(log, execute, record, facts, at_ms),),
        claim=None,
        retrial=retrial,
        last_error=record,
    )
    return answered(
        transition,
        run_answer(execute, stored(transition), OutcomeRecord(form="retrying", error=record, at_ms=at_ms)),
    )


def attempt_failed(
    log: Log, execute: Execute, record: FailureRecord, facts: Facts, retry_at_ms: int | None = None
) -> JobFailed:
    """Say that an attempt failed."""
    return log.add(
        JobFailed,
        run_id=execute.claim.run_id,
        hook=execute.hook,
        attempt=execute.claim.attempt,
        delivery=execute.claim.deliveries,
        duration_ms=max(0, facts.now_ms - execute.started_ms),
        error=record,
        retry_at_ms=retry_at_ms,
    )


def prior_failed(log: Log, execute: Execute, facts: Facts) -> tuple[Event, ...]:
    """Say what ``on_error`` was called for, if it was."""
    if execute.prior is None:
        return ()
    return (attempt_failed(log, attrs.evolve(execute, hook=execute.prior_hook), execute.prior, facts),)


def _exhausted(
    job: AnyDefinition,
    execute: Execute,
    facts: Facts,
    *,
    record: FailureRecord,
    reason: str,
    also: FailureRecord | None = None,
) -> Commit:
    log = Log(facts, execute.instance.address, execute.instance.run_count)
    failed = attempt_failed(log, execute, also or record, facts)
    events: tuple[Event, ...] = (*prior_failed(log, execute, facts), failed)
    if job.plan.retry is not None:
        run_id, attempt = execute.claim.run_id, execute.claim.attempt
        events += (log.add(JobRetryExhausted, run_id=run_id, attempt=attempt, reason=reason, error=record),)
    transition = _after_exhaustion(job, execute, log, events, record, facts)
    return answered(transition, run_answer(execute, stored(transition), OutcomeRecord(form="failed", error=record)))


def _after_exhaustion(
    job: AnyDefinition,
    execute: Execute,
    log: Log,
    events: tuple[Event, ...],
    record: FailureRecord,
    facts: Facts,
) -> Transition:
    claim = execute.claim
    if job.plan.exhausted == "park":
        left = job.consumed(execute.instance, claim, facts)
        parked = log.add(JobParked, reason="retries_exhausted", detail=record.message)
        retrial = park_run(claim, record, first_failed_ms=_first_failed_ms(execute, facts), now_ms=facts.now_ms)
        return put(
            left,
            facts.now_ms,
            events=(*events, parked),
            claim=None,
            retrial=retrial,
            hold="retries_exhausted",
            last_error=record,
        )
    left_over = job.given_up(execute.instance, claim, facts)
    if left_over is None:
        ended = log.add(JobTerminated, reason="retries_exhausted")
        return purge(execute.instance, events=(*events, ended))
    return put(left_over, facts.now_ms, events=events, claim=None, retrial=None, last_error=record)


def park_run(claim: Claim, error: FailureRecord, *, first_failed_ms: int, now_ms: int) -> Retrial:
    """Keep a run that is parked: resuming begins its attempts again, as a repeat that the program can see."""
    return Retrial(
        run_id=claim.run_id,
        cause=claim.cause,
        attempt=1,
        first_failed_ms=first_failed_ms,
        at_ms=now_ms,
        error=error,
        deliveries=claim.deliveries,
    )
