"""A run's life cycle, for every job kind: claim, retry, park, fail.

An event is claimed only before its handler's first effect, unless code is suspect.
"""

from __future__ import annotations

from typing import Any

import attrs
from returns.result import Failure

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.hooks import error_for_hook, record_failure, refusal
from perdure.jobs.keys import condition_of, remember
from perdure.jobs.redaction import secrets_of_request, secrets_of_run
from perdure.jobs.request import AlarmDue, Request, run_id_of
from perdure.jobs.step import Commit, Execute, Mark, event_claim
from perdure.jobs.transitions import EventRecorder, answered, failed, nothing, purge, put, stored
from perdure.programs import Halted, Raised
from perdure.values.answer import OutcomeRecord, RunAnswer
from perdure.values.errors import InvalidInput
from perdure.values.event import Event, JobExecuted, JobFailed, JobParked, JobRetryExhausted, JobStarted, JobTerminated
from perdure.values.instance import Cause, Claim, Instance, PendingRetry
from perdure.values.retry import Exhausted, RetryAt
from perdure.values.status import Defect, FailureRecord, Suspension, failed_for_good
from perdure.values.transition import Put, Transition
from perdure.values.turn_inputs import Decoded, TurnInputs


# ---------------------------------------------------------------- beginning
def begin_run(
    job: AnyDefinition,
    before: Instance,
    request: Request,
    inputs: TurnInputs,
    *,
    cause: Cause,
    creates: bool = False,
    run_id: str | None = None,
    **changes: Any,  # fields of Instance that the claim changes as well
) -> Execute:
    """Begin a new run. It replaces an older run's pending retry, and records that.

    Args:
        job: the definition.
        before: the stored instance.
        request: the request that begins it.
        inputs: the clock and the ids.
        cause: the cause.
        creates: whether the claim creates the instance.
        run_id: the run's id if it spans several claims. None for a run that begins here.
        changes: instance fields that the claim changes as well.
    """
    run_count = before.run_count + 1
    if run_id is None:
        run_id = run_id_of(before.address, request, inputs.id)
    # The claim is written before the program starts. A run without one would not be recovered after a crash, and
    # nothing would tell that its effects may have happened.
    claim = _claim(request, inputs, cause=cause, run_id=run_id, creates=creates)
    if before is inputs.row and not changes and _has_room(before):
        claimed = before.changed(version=before.version + 1, updated_ms=inputs.now_ms, claim=claim, run_count=run_count)
        # The narrow write stores the columns of a claim. Any other change in `claimed` would be lost.
        write = Put(claimed, "claim")
        transition = Transition(address=before.address, expected=before.fence, write=write, before=before)
        return _execute(job, before, transition, claim, request, inputs, creates=False)
    log = EventRecorder(inputs, before.address, run_count)
    events: tuple[Event, ...] = log.optional(JobStarted) if creates else ()
    if before.pending_retry is not None:
        events += (attrs.evolve(superseded(log, before.pending_retry), run_count=before.run_count),)
    transition = put(
        before, inputs.now_ms, events=events, claim=claim, run_count=run_count, pending_retry=None, **changes
    )
    return _execute(job, before, transition, claim, request, inputs, creates=creates)


def _has_room(row: Instance) -> bool:
    """Return whether a run's claim changes a row's claim and run count alone."""
    return (
        row.incarnation != 0
        and row.claim is None
        and row.event_claim is None
        and row.pending_retry is None
        and row.suspension is None
        and row.left is None
        and row.ended_ms is None
    )


def begin_attempt(
    job: AnyDefinition, before: Instance, pending_retry: PendingRetry, request: Request, inputs: TurnInputs
) -> Execute:
    """Begin a failed run's next attempt."""
    claim = attrs.evolve(
        _claim(request, inputs, cause=pending_retry.cause, run_id=pending_retry.run_id, creates=False),
        # Attempts and deliveries continue from the stored retry: services tell the deliveries of a run apart by them.
        attempt=pending_retry.attempt,
        deliveries=pending_retry.deliveries + 1,
        uncounted=pending_retry.uncounted,
    )
    return _execute(job, before, put(before, inputs.now_ms, claim=claim), claim, request, inputs, creates=False)


def _claim(request: Request, inputs: TurnInputs, *, cause: Cause, run_id: str, creates: bool) -> Claim:
    inbound = request.inbound
    return Claim(
        owner=inputs.epoch,
        cause=cause,
        run_id=run_id,
        claimed_ms=inputs.now_ms,
        created="here" if creates else "before",
        action=None if isinstance(request.command, AlarmDue) else request.action,
        # Kept for keyed requests alone: the answer is remembered with the payload's fingerprint at the end of the run.
        payload=request.payload if request.idempotency_key else None,
        key=request.idempotency_key,
        message_id=inbound.message_id if inbound else None,
        message_sender=str(inbound.sender) if inbound else None,
        by=request.by,
    )


def _execute(
    job: AnyDefinition,
    before: Instance,
    transition: Transition,
    claim: Claim,
    request: Request,
    inputs: TurnInputs,
    *,
    creates: bool,
) -> Execute:
    claimed = stored(transition) or before
    hook, program = job.program(claimed, claim, request.command)
    return Execute(
        hook=hook,
        program=program,
        instance=before,
        draft=job.draft(claimed, claim, inputs),
        claim=claim,
        # The key is stored with the claim, not at the end: a repeat that arrives during the run must not begin a second
        # one.
        claiming=transition if claim.key is None else _remembering(job, transition, claim, creates, request, inputs),
        claimed="before_run",
        request=request,
        started_ms=inputs.now_ms,
        is_row=before is inputs.row,
    )


def running_answer(*, created: bool) -> RunAnswer:
    """Return the result for a caller that does not wait for the run."""
    return RunAnswer(
        created=created,
        found="absent" if created else "exists",
        status="running",
        outcome=OutcomeRecord(form="running"),
    )


def _remembering(
    job: AnyDefinition,
    transition: Transition,
    claim: Claim,
    creates: bool,  # noqa: FBT001 - private
    request: Request,
    inputs: TurnInputs,
) -> Transition:
    """Store the result under the claim's idempotency key."""
    if claim.key is None or claim.action is None:
        return transition
    answer = running_answer(created=creates)
    digest = job.fingerprint(claim.action, claim.payload or "")
    remembered = remember(job, claim.key, claim.action, digest, answer, inputs)
    return attrs.evolve(transition, remember=(remembered,), new_keys=condition_of(request))


def superseded(log: EventRecorder, pending_retry: PendingRetry) -> JobFailed:
    """Record that a newer run replaced a pending retry."""
    return log.add(
        JobFailed,
        run_id=pending_retry.run_id,
        hook="superseded",
        attempt=pending_retry.attempt,
        delivery=pending_retry.deliveries,
        duration_ms=0,
        error=pending_retry.error,
    )


def paused_answer(instance: Instance) -> RunAnswer:
    """Return the result for a caller that triggers a paused or parked instance."""
    if instance.suspension == "paused" or instance.suspension is None:
        outcome = OutcomeRecord(form="paused")
    else:
        outcome = OutcomeRecord(form="parked", reason=instance.suspension)
    return RunAnswer(found="exists", status=instance.status, outcome=outcome)


# ---------------------------------------------------------------- success
def executed(log: EventRecorder, execute: Execute, inputs: TurnInputs) -> tuple[JobExecuted, ...]:
    """Record that a run succeeded, if the log keeps it or a sink listens."""
    if not inputs.wants_events:
        return ()
    claim = execute.claim
    done = log.add(
        JobExecuted,
        run_id=claim.run_id,
        cause=claim.cause,
        attempt=claim.attempt,
        delivery=claim.deliveries,
        duration_ms=max(0, inputs.now_ms - execute.started_ms),
    )
    return (done,)


def run_answer(execute: Execute, after: Instance | None, outcome: OutcomeRecord) -> RunAnswer:
    """Return the caller's result when a run ends."""
    created = execute.claim.created == "here"
    return RunAnswer(
        created=created,
        found="absent" if created else "exists",
        status=None if after is None else after.status,
        outcome=outcome,
    )


# ---------------------------------------------------------------- failure
def run_failed(
    job: AnyDefinition, execute: Execute, exit_: Failure[Any] | Raised | Halted, inputs: TurnInputs
) -> Commit | Execute:
    """Settle a failed attempt: schedule a retry, run ``on_error``, or end the run."""
    record = record_failure(exit_, job.plan.errors, secrets=secrets_of_run(job, execute), encode=execute.draft.encode)
    # No further retry or `on_error`: a handler that fails would be called for its own failure without end.
    if execute.prior is not None:  # on_error failed too: both errors are recorded
        return _exhausted(job, execute, inputs, record=execute.prior, reason=f"{execute.hook}_failed", also=record)
    again = _next_attempt(job, execute, exit_, inputs)
    is_stored = not isinstance(exit_, Raised) or exit_.cause is not execute.draft.too_large
    if isinstance(again, RetryAt) and is_stored:
        return _retried(job, execute, record, again.at_ms, inputs)
    # Not repeated: its effects have happened, and it would set the same state.
    reason = "state_not_stored" if isinstance(again, RetryAt) else again.reason
    return _given_up(job, execute, inputs, record=record, error=error_for_hook(exit_, record), reason=reason)


def result_not_stored(
    job: AnyDefinition, execute: Execute, problem: InvalidInput, inputs: TurnInputs
) -> Commit | Execute:
    """Settle a run whose value cannot be stored. It is not retried: its effects have happened."""
    found = record_failure(Raised(problem), job.plan.errors, secrets=secrets_of_run(job, execute))
    # Its traceback would point into the codec, and not to the job's code.
    record = attrs.evolve(found, error_type="ResultNotStored", traceback=None)
    error = Defect(record.error_type, record.message, None)
    return _given_up(job, execute, inputs, record=record, error=error, reason="result_not_stored")


def _given_up(
    job: AnyDefinition, execute: Execute, inputs: TurnInputs, *, record: FailureRecord, error: object, reason: str
) -> Commit | Execute:
    """Settle a run that is not retried: run ``on_error``, or end it."""
    program = job.error_handler(execute, error)
    if program is None:
        return _exhausted(job, execute, inputs, record=record, reason=reason)
    # A job with retries has used them up even if `on_error` succeeds: the reason makes `prior_failed` record it.
    return rescued(job, execute, program, record, inputs, reason=None if job.plan.retry is None else reason)


def rescued(
    job: AnyDefinition,
    execute: Execute,
    program: Any,
    record: FailureRecord,
    inputs: TurnInputs,
    *,
    reason: str | None = None,
) -> Execute:
    """Run ``on_error`` on a fresh draft for the stored instance.

    Args:
        job: the definition.
        execute: the run that failed.
        program: the hook.
        record: the failure.
        inputs: the clock and the ids.
        reason: why the run is not retried. None for an event, and for a job without retries.
    """
    # A fresh draft: `on_error` must not see, or commit, the changes of the run that failed.
    fresh = job.draft(execute.instance, execute.claim, inputs)
    fresh.know_as(execute.draft)  # the error may hold its objects
    return attrs.evolve(
        execute,
        hook=job.error_hook,
        program=program,
        draft=fresh,
        prior=record,
        prior_hook=execute.hook,
        prior_reason=reason,
    )


def _next_attempt(
    job: AnyDefinition, execute: Execute, exit_: Failure[Any] | Raised | Halted, inputs: TurnInputs
) -> RetryAt | Exhausted:
    retry = job.plan.retry
    if retry is None:
        return Exhausted("max_attempts")
    first_failed_ms = _first_failed_ms(execute, inputs)
    # Attempts from before a resumption do not count: otherwise a resumed run would be parked again at its first
    # failure.
    attempt = execute.claim.attempt - execute.claim.uncounted
    if isinstance(exit_, Failure):
        return retry.after_failure(
            exit_.failure(),
            attempt=attempt,
            first_failed_ms=first_failed_ms,
            now_ms=inputs.now_ms,
            jitter=inputs.jitter,
        )
    return retry.after_defect(
        attempt=attempt, first_failed_ms=first_failed_ms, now_ms=inputs.now_ms, jitter=inputs.jitter
    )


def _first_failed_ms(execute: Execute, inputs: TurnInputs) -> int:
    """Return when the first attempt that the policy counts failed: now, if it is this one."""
    pending_retry, claim = execute.instance.pending_retry, execute.claim
    return (
        inputs.now_ms
        # The first attempt after a resumption starts the time limit again, or a run that was parked for long would get
        # one attempt.
        if pending_retry is None or claim.attempt == claim.uncounted + 1
        else pending_retry.first_failed_ms
    )


def _retried(job: AnyDefinition, execute: Execute, record: FailureRecord, at_ms: int, inputs: TurnInputs) -> Commit:
    claim = execute.claim
    # The stored instance, and not the draft: the state and the messages of a failed attempt are discarded.
    left = job.alarm_consumed(execute.instance, claim, inputs)
    pending_retry = PendingRetry(
        run_id=claim.run_id,
        cause=claim.cause,
        attempt=claim.attempt + 1,
        first_failed_ms=_first_failed_ms(execute, inputs),
        at_ms=at_ms,
        error=record,
        uncounted=claim.uncounted,
    )
    log = EventRecorder(inputs, left.address, left.run_count)
    transition = put(
        left,
        inputs.now_ms,
        events=(attempt_failed(log, execute, record, inputs, at_ms),),
        claim=None,
        pending_retry=pending_retry,
        last_error=record,
    )
    return answered(
        transition,
        run_answer(execute, stored(transition), OutcomeRecord(form="retrying", error=record, at_ms=at_ms)),
    )


def attempt_failed(
    log: EventRecorder, execute: Execute, record: FailureRecord, inputs: TurnInputs, retry_at_ms: int | None = None
) -> JobFailed:
    """Record that an attempt failed."""
    return log.add(
        JobFailed,
        run_id=execute.claim.run_id,
        hook=execute.hook,
        attempt=execute.claim.attempt,
        delivery=execute.claim.deliveries,
        duration_ms=max(0, inputs.now_ms - execute.started_ms),
        error=record,
        retry_at_ms=retry_at_ms,
    )


def prior_failed(log: EventRecorder, execute: Execute, inputs: TurnInputs) -> tuple[Event, ...]:
    """Record the failure that ``on_error`` was called for, and succeeded. Record nothing if it was not called."""
    events = _prior_attempt(log, execute, inputs)
    if execute.prior is None or execute.prior_reason is None:
        return events
    return (*events, _retries_exhausted(log, execute, events[0].duration_ms, execute.prior_reason, execute.prior))


def _prior_attempt(log: EventRecorder, execute: Execute, inputs: TurnInputs) -> tuple[JobFailed, ...]:
    if execute.prior is None:
        return ()
    return (attempt_failed(log, attrs.evolve(execute, hook=execute.prior_hook), execute.prior, inputs),)


def _retries_exhausted(
    log: EventRecorder, execute: Execute, duration_ms: int, reason: str, record: FailureRecord
) -> JobRetryExhausted:
    """Record that a run is not retried."""
    return log.add(
        JobRetryExhausted,
        run_id=execute.claim.run_id,
        attempt=execute.claim.attempt,
        delivery=execute.claim.deliveries,
        duration_ms=duration_ms,
        reason=reason,
        error=record,
    )


def _exhausted(
    job: AnyDefinition,
    execute: Execute,
    inputs: TurnInputs,
    *,
    record: FailureRecord,
    reason: str,
    also: FailureRecord | None = None,
) -> Commit:
    log = EventRecorder(inputs, execute.instance.address, execute.instance.run_count)
    failed = attempt_failed(log, execute, also or record, inputs)
    events: tuple[Event, ...] = (*_prior_attempt(log, execute, inputs), failed)
    if job.plan.retry is not None:
        events += (_retries_exhausted(log, execute, failed.duration_ms, reason, record),)
    suspension = failed_for_good(reason)
    transition = _after_exhaustion(job, execute, log, events, record, inputs, suspension=suspension)
    return answered(transition, run_answer(execute, stored(transition), OutcomeRecord(form="failed", error=record)))


def _after_exhaustion(
    job: AnyDefinition,
    execute: Execute,
    log: EventRecorder,
    events: tuple[Event, ...],
    record: FailureRecord,
    inputs: TurnInputs,
    *,
    suspension: Suspension,
) -> Transition:
    claim = execute.claim
    if job.plan.exhausted == "park":
        left = job.alarm_consumed(execute.instance, claim, inputs)
        parked = log.add(JobParked, reason=suspension, detail=record.message)
        # It counts as a new attempt, so that its deliveries begin again at one.
        failed_run = attrs.evolve(claim, attempt=claim.attempt + 1, deliveries=0)
        pending_retry = park_run(
            failed_run, record, first_failed_ms=_first_failed_ms(execute, inputs), now_ms=inputs.now_ms
        )
        return put(
            left,
            inputs.now_ms,
            events=(*events, parked),
            claim=None,
            pending_retry=pending_retry,
            suspension=suspension,
            last_error=record,
        )
    # A continuous job stays and waits for its next tick; other kinds purge the instance.
    left_over = job.given_up(execute.instance, claim, inputs)
    if left_over is None:
        ended, last = log.add(JobTerminated, reason=suspension), job.last_messages(execute.instance, suspension, inputs)
        return purge(execute.instance, events=(*events, ended), messages=last)
    return put(left_over, inputs.now_ms, events=events, claim=None, pending_retry=None, last_error=record)


def park_run(claim: Claim, error: FailureRecord, *, first_failed_ms: int, now_ms: int) -> PendingRetry:
    """Keep a run that is parked: after its resumption the retry policy counts attempts from the next one.

    The attempt and delivery numbers continue, so that a program and its services can distinguish all the run's
    deliveries.
    """
    return PendingRetry(
        run_id=claim.run_id,
        cause=claim.cause,
        attempt=claim.attempt,
        first_failed_ms=first_failed_ms,
        at_ms=now_ms,
        error=error,
        deliveries=claim.deliveries,
        # All earlier attempts, also after a second resumption: each resumption gets the full number of attempts.
        uncounted=claim.attempt - 1,
    )


def begin_event(
    job: AnyDefinition,
    before: Instance,
    request: Request,
    inputs: TurnInputs,
    *,
    creates: bool,
    state: Decoded | None = None,
) -> Execute:
    """Begin to handle an event, on a state that is decoded already or is decoded here.

    Its claim is prepared for the handler's first effect.
    """
    claim = event_claim(request, before, inputs, creates=creates)
    hook, program = job.program(before, claim, request.command)
    known = state or inputs.decoded
    # `is`: the value must be of exactly this text, and the test must not cost as much as decoding a small state.
    if known is not None and known.text is job.state_of_run(before, claim):
        draft = job.draft_of(known.value, before, claim, inputs)
        if known.opened is not None:
            draft.found(known.opened)
    else:
        draft = job.draft(before, claim, inputs)
    draft.received = request.command
    return Execute(
        hook=hook,
        program=program,
        instance=before,
        draft=draft,
        claim=claim,
        # An event without effects needs one commit instead of two: its first effect commits the claim (decision 0009).
        claimed="before_effect",
        request=request,
        started_ms=inputs.now_ms,
        is_row=before is inputs.row,
    )


def mark_first_event(fresh: Instance, request: Request, inputs: TurnInputs) -> Mark:
    """Claim the event that creates an instance before the code runs that returns its first state.

    Args:
        fresh: the instance, without a state.
        request: the event's request.
        inputs: the epoch, the clock and the run's id.
    """
    claim = event_claim(request, fresh, inputs, creates=True)
    # `initial` is code of the job: if it ends the process, the next start must find a claim that counts.
    return Mark(transition=put(fresh, inputs.now_ms, event_claim=claim), claim=claim)


def broken_before(
    job: AnyDefinition, before: Instance, request: Request, hook: str, defect: BaseException, inputs: TurnInputs
) -> Commit:
    """Settle an event whose handler raised before it began: only the history is written, and no instance remains."""
    died = Raised(defect)
    record = record_failure(died, job.plan.errors, secrets=secrets_of_request(job, request))
    run_id = run_id_of(before.address, request, inputs.id)
    event = EventRecorder(inputs, before.address, before.run_count).add(
        JobFailed, run_id=run_id, hook=hook, attempt=request.attempt, delivery=1, duration_ms=0, error=record
    )
    # A row without a state must not remain: no code could decode it.
    return failed(purge(before, events=(event,)), refusal(died, record))


def claim_event(execute: Execute) -> Transition:
    """Return the transition that claims an event, before its handler's first effect."""
    before, claim = execute.instance, execute.claim
    after = before.changed(version=before.version + 1, updated_ms=claim.claimed_ms, event_claim=claim)
    is_narrow = execute.is_row and before.claim is None and before.event_claim is None and before.lane is None
    return Transition(
        address=before.address,
        expected=before.fence,
        # The narrow write stores the columns of the claim.
        write=Put(after, "event_claim" if is_narrow else "any"),
        new_keys=condition_of(execute.request),
        before=before if before.incarnation else None,
    )


def started(log: EventRecorder, execute: Execute) -> tuple[Event, ...]:
    """Return a created instance's event, if this event created it."""
    return log.optional(JobStarted) if execute.claim.created == "here" else ()


def event_failed(
    job: AnyDefinition, execute: Execute, exit_: Failure[Any] | Raised | Halted, inputs: TurnInputs
) -> Commit | Execute:
    """Settle an event whose handler failed: run ``on_error``, or return the error to the caller."""
    record = record_failure(exit_, job.plan.errors, secrets=secrets_of_run(job, execute), encode=execute.draft.encode)
    # `on_error` is called once, also if it fails: the second error goes to the caller.
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
    """Return a failure's events. A declared error goes only to the caller. A defect is recorded too."""
    events = prior_failed(log, execute, inputs)
    # A declared error is an answer, such as "out of stock". Recorded as a failure, it would fill the log and raise
    # alarms.
    if execute.prior is not None or not isinstance(exit_, Failure):
        events += (attempt_failed(log, execute, record, inputs),)
    return events


def _without(execute: Execute, events: tuple[Event, ...], inputs: TurnInputs) -> Transition:
    """Remove the event's claim, and the instance that the claim created."""
    instance = execute.instance
    if instance.event_claim is None:
        # No claim was stored, so there is nothing to remove: a write would only cost a version.
        return attrs.evolve(nothing(instance.address), events=events)
    # The claim created the row, which has no state. Kept, it would be an instance that no event has succeeded on.
    if execute.claim.created == "here":
        return purge(instance, events=events)
    return put(instance, inputs.now_ms, events=events, event_claim=None)
