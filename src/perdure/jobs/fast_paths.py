"""The common case for an event, an alarm, and an accepted job, decided in one step instead of many.

The decisions are those that ``begin`` and ``finish`` reach for any request: properties hold them equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from returns.result import Success

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.keys import remember
from perdure.jobs.request import AlarmDue, Request
from perdure.jobs.step import HOOK, Commit, Execute, FastEvent
from perdure.programs import Program
from perdure.values.address import Address
from perdure.values.answer import OutcomeRecord, RunAnswer, Sent
from perdure.values.errors import InvalidInput
from perdure.values.event import Event, JobExecuted, JobStarted
from perdure.values.instance import Claim, Fence, Instance
from perdure.values.limits import Limits
from perdure.values.status import Status
from perdure.values.times import from_ms
from perdure.values.transition import Changes, NewKeys, Put, Transition
from perdure.values.turn_inputs import Decoded, TurnInputs


def begin_fast_event(
    job: AnyDefinition,
    address: Address,
    instance: Instance | None,
    request: Request,
    decoded: Decoded | None,
    *,
    now_ms: int,
    limits: Limits,
    epoch: int,
    new_id: Callable[[], int],
) -> tuple[FastEvent, Program[Any, Any, Any]] | None:
    """Return an event and its handler's program, if nothing about its request and its instance is special.

    Args:
        job: the instance's definition.
        address: the instance.
        instance: the stored instance. None if the event is the first one.
        request: the request, which is not traced. Its key is a new one, or is taken for one.
        decoded: the row's decoded state, if it is kept.
        now_ms: the clock.
        limits: the engine's limits.
        epoch: the number under which this engine opened the store.
        new_id: draws an id.
    """
    if (
        # Each condition excludes a rule that only the general path knows. A new rule of `begin_any` or of a kind needs
        # a condition here; the laws compare both paths.
        type(request.command) is not job.fast_event
        or request.attempt > 1
        or request.inbound is not None
        or request.by is not None
    ):
        return None
    if instance is None:
        first = job.fast_first_state(limits)
        if first is None:
            return None
        instance, state, opened = _created(job, address, first, now_ms), first.value, None
    elif (
        instance.claim is not None
        or instance.event_claim is not None
        or instance.suspension is not None
        or instance.left is not None
        or instance.alarm_trace is not None
        or instance.state_version != job.plan.state_version
    ):
        return None
    # `is`, and not `==`: the value belongs to exactly this text, and comparing long states would take the time that
    # this saves.
    elif decoded is not None and decoded.text is instance.state:
        state, opened = decoded.value, decoded.opened
    else:
        try:
            read = job.open_state(instance)
        # The general path reads the state again, and decides who may read the instance instead.
        except InvalidInput:
            return None
        state, opened = read.value, read.with_rest()
    event = FastEvent(job.plan.state, instance, request, state, now_ms, limits, epoch, new_id, opened)
    program = job.event_program(instance, event, request.command)
    return None if program is None else (event, program)


def _created(job: AnyDefinition, address: Address, first: Decoded, now_ms: int) -> Instance:
    return Instance(
        address=address,
        created_ms=now_ms,
        updated_ms=now_ms,
        state=first.text,
        state_version=job.plan.state_version,
    )


def fast_event_handled(event: FastEvent) -> Commit:
    """Settle an event whose handler succeeded, on a stored instance whose alarm stays as it is."""
    before = event.instance
    alarm_ms = before.alarm_ms
    after = before.after_event(event.encoded or before.state, event.now_ms, alarm_ms)
    changes: Changes = "state"
    if before.event_claim is not None:
        changes = "event_end" if before.lane is None else "any"
    transition = Transition(
        address=before.address,
        expected=Fence(before.incarnation, before.version),
        # The narrow write stores the state and few more columns. A field that this path changes in addition would be
        # lost.
        write=Put(after, changes),
        messages=tuple(event.messages) if event.messages else (),
        before=before,
    )
    if alarm_ms is None and before.pending_retry is None:
        return Commit(transition, _IDLE)
    scheduled_at = None if alarm_ms is None else from_ms(alarm_ms)
    return Commit(transition, Success(Sent(created=False, status=after.status, scheduled_at=scheduled_at)))


def claimed_event_handled(job: AnyDefinition, execute: Execute, inputs: TurnInputs) -> Commit | None:
    """Settle an event in the common case that was claimed and whose handler succeeded. None if anything is special."""
    event = execute.draft
    if not isinstance(event, FastEvent) or execute.claimed != "recorded" or execute.hook != HOOK:
        return None
    if event.left is not None or execute.claim.created == "here":
        return None
    event.instance, event.now_ms = execute.instance, inputs.now_ms
    commit = job.fast_event_handled(event, wants_events=inputs.wants_events)
    if commit is None or event.request.idempotency_key is None:
        return commit
    return with_key(job, commit, event, None)


def with_key(job: AnyDefinition, commit: Commit, event: FastEvent, new_keys: NewKeys | None) -> Commit:
    """Return the commit for an event whose handler succeeded, with its result stored under its key."""
    request, decided = event.request, commit.transition
    answer, digest = commit.result.unwrap(), job.fingerprint(request.action, request.payload)
    remembered = remember(job, request.idempotency_key or "", request.action, digest, answer, event)
    transition = Transition(
        address=decided.address,
        expected=decided.expected,
        write=decided.write,
        remember=(remembered,),
        new_keys=new_keys,
        messages=decided.messages,
        events=decided.events,
        before=decided.before,
    )
    return Commit(transition, commit.result)


def fast_event_started(event: FastEvent) -> tuple[Event, ...]:
    """Return the log's event for an instance that this event creates."""
    if not event.creates:
        return ()
    return (JobStarted(event_id=event.id(1), at_ms=event.now_ms, address=str(event.address)),)


def fast_event_scheduled(event: FastEvent, alarm_ms: int | None, events: tuple[Event, ...]) -> Commit:
    """Settle an event whose handler succeeded, and which creates the instance or changes its alarm.

    Args:
        event: the event.
        alarm_ms: the alarm.
        events: the log's events.
    """
    before = event.instance
    after = before.after_event(event.encoded or before.state, event.now_ms, alarm_ms)
    is_stored = before.incarnation != 0
    transition = Transition(
        address=before.address,
        expected=Fence(before.incarnation, before.version) if is_stored else None,
        write=Put(after),
        messages=tuple(event.messages) if event.messages else (),
        events=events,
        before=before if is_stored else None,
    )
    scheduled_at = None if alarm_ms is None else from_ms(alarm_ms)
    answer = Sent(created=event.creates, status=after.status, scheduled_at=scheduled_at)
    return Commit(transition, Success(answer))


_IDLE: Final[Success[Sent]] = Success(Sent(created=False, status="idle", scheduled_at=None))


def begin_fast_run(
    job: AnyDefinition, instance: Instance | None, request: Request, inputs: TurnInputs
) -> Execute | None:
    """Begin a due alarm's run if nothing about its instance or the moment is special. None otherwise.

    Args:
        job: the instance's definition.
        instance: the stored instance.
        request: the request.
        inputs: the clock, the random value and the ids.
    """
    if (
        instance is None
        or type(request.command) is not AlarmDue
        or instance.claim is not None
        or instance.event_claim is not None
        or instance.suspension is not None
        or instance.pending_retry is not None
        or instance.ended_ms is not None
        or instance.left is not None
        or instance.state_version != job.plan.state_version
        or job.fast_alarm != ("unqueued" if instance.lane is None else "queued")
        or instance.alarm_ms is None
        or (instance.lane is None and instance.alarm_ms > inputs.now_ms)
        or inputs.trace is not None
        or instance.alarm_trace is not None
        # Suspect code must find its claim stored before it runs, as `Mark` does it.
        or inputs.code != "trusted"
        or inputs.hold != "released"
    ):
        return None
    now_ms, version = inputs.now_ms, instance.version
    claim = Claim(owner=inputs.epoch, cause="alarm", run_id=inputs.id(), claimed_ms=now_ms)
    claimed = instance.changed(version=version + 1, updated_ms=now_ms, claim=claim, run_count=instance.run_count + 1)
    try:
        hook, program = job.program(claimed, claim, request.command)
        draft = job.draft(claimed, claim, inputs)
    except InvalidInput:
        return None
    return Execute(
        hook=hook,
        program=program,
        instance=instance,
        draft=draft,
        claim=claim,
        claimed="before_run",
        request=request,
        started_ms=now_ms,
        claiming=Transition(
            address=instance.address,
            expected=Fence(instance.incarnation, version) if instance.incarnation else None,
            # The narrow write stores the columns of a claim. Any other change in `claimed` would be lost.
            write=Put(claimed, "claim"),
            before=instance if instance.incarnation else None,
        ),
        is_fast_run=True,
    )


def fast_run_executed(
    execute: Execute, alarm_ms: int | None, more: tuple[Event, ...], inputs: TurnInputs
) -> Commit | None:
    """Settle a run that succeeded, as `Task` does. None if anything is special about it.

    Args:
        execute: the run.
        alarm_ms: the next alarm.
        more: the events after the run's own.
        inputs: the clock and the ids.
    """
    draft, before, now_ms = execute.draft, execute.instance, inputs.now_ms
    # A state that lost a member of newer code must go to `_unread`, which leaves the run.
    if draft.messages or execute.prior is not None or draft.left is not None:
        return None
    claim = execute.claim
    events = more
    if inputs.wants_events:
        executed = JobExecuted(
            event_id=inputs.id(1),
            at_ms=now_ms,
            address=str(before.address),
            run_count=before.run_count,
            run_id=claim.run_id,
            cause=claim.cause,
            attempt=claim.attempt,
            delivery=claim.deliveries,
            duration_ms=max(0, now_ms - execute.started_ms),
        )
        events = (executed, *more) if more else (executed,)
    after = before.changed(
        version=before.version + 1,
        updated_ms=now_ms,
        state=draft.encoded or before.state,
        alarm_ms=alarm_ms,
        claim=None,
        last_error=None,
    )
    transition = Transition(
        address=before.address,
        expected=Fence(before.incarnation, before.version) if before.incarnation else None,
        # The narrow write does not clear an old error or a lane.
        write=Put(after, "run" if before.last_error is None and before.lane is None else "any"),
        events=events,
        before=before if before.incarnation else None,
    )
    return Commit(transition, _COMPLETED["idle" if alarm_ms is None else "scheduled"])


def _completed(status: Status) -> Success[RunAnswer]:
    return Success(RunAnswer(found="exists", status=status, outcome=OutcomeRecord(form="completed")))


_COMPLETED: dict[Status, Success[RunAnswer]] = {"idle": _completed("idle"), "scheduled": _completed("scheduled")}


def accepted_instance(commit: Commit, now_ms: int) -> Instance | None:
    """Return the instance that a commit writes, if its alarm is due now and nothing in it is in progress."""
    write = commit.transition.write
    if type(write) is not Put:
        return None
    instance = write.instance
    due_ms = instance.due_ms
    # A run that is claimed with its acceptance begins now: one that is due later would begin early.
    if due_ms is None or due_ms > now_ms or instance.pending_retry is not None:
        return None
    return instance if instance.claim is None and instance.event_claim is None else None


def as_found(instance: Instance) -> Instance:
    """Return an instance as its alarm would find it in the store, which numbers new ones."""
    # The store sets the number when it inserts the row, after this decision.
    return instance if instance.incarnation else instance.changed(incarnation=1)


def with_claim(commit: Commit, run: Execute) -> Transition | None:
    """Return one transition that accepts a job and claims its run. None if that needs two transitions.

    It is the acceptance, over the same row and with its key, messages, journal and message fate. But it writes the
    claimed instance, whose version counts one commit, and logs both transitions' events.

    Args:
        commit: writes the accepted instance.
        run: the decision about its alarm.
    """
    accepted, claiming = commit.transition.write, run.claiming
    if claiming is None or not isinstance(accepted, Put) or not isinstance(claiming.write, Put):
        return None
    # Anything else that the claim would write has no place in the acceptance, and would be lost.
    if run.claimed != "before_run" or claiming.messages or claiming.remember or claiming.inbound or claiming.journal:
        return None
    before = accepted.instance
    # One commit is one version: a second one would fail the next commit, which expects the version that the store
    # wrote.
    claimed = claiming.write.instance.changed(incarnation=before.incarnation, version=before.version)
    return attrs.evolve(commit.transition, write=Put(claimed), events=commit.transition.events + claiming.events)
