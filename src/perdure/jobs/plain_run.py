"""The common case of a run that an alarm begins, decided in one step instead of many.

Its decisions are those that ``begin`` and ``finish`` reach for any request: a property holds them equal.
"""

from __future__ import annotations

from returns.result import Success

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import AlarmDue, Request
from perdure.jobs.step import Commit, Execute
from perdure.values.answer import OutcomeRecord, RunAnswer
from perdure.values.errors import InvalidInput
from perdure.values.event import Event, JobExecuted
from perdure.values.instance import Claim, Fence, Instance
from perdure.values.status import Status
from perdure.values.transition import Put, Transition
from perdure.values.turn_inputs import TurnInputs


def begin_plain_run(
    job: AnyDefinition, instance: Instance | None, request: Request, inputs: TurnInputs
) -> Execute | None:
    """Begin the run of a due alarm if nothing about its instance or the moment is special; None otherwise.

    Args:
        job: the definition of the instance.
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
        or job.plain_alarm != ("unqueued" if instance.lane is None else "queued")
        or instance.alarm_ms is None
        or instance.alarm_ms > inputs.now_ms
        or inputs.trace is not None
        or instance.alarm_trace is not None
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
            write=Put(claimed, "claim"),
            before=instance if instance.incarnation else None,
        ),
        form="plain_run",
    )


def plain_run_executed(
    execute: Execute, alarm_ms: int | None, more: tuple[Event, ...], inputs: TurnInputs
) -> Commit | None:
    """Settle a run that succeeded, in the way of `Task`; None if anything is special about it.

    Args:
        execute: the run.
        alarm_ms: the next alarm.
        more: the events after that of the run.
        inputs: the clock and the ids.
    """
    draft, before, now_ms = execute.draft, execute.instance, inputs.now_ms
    if draft.messages or execute.prior is not None or draft.left is not None:
        return None
    claim = execute.claim
    events = more
    if inputs.events == "wanted":
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
        write=Put(after, "run" if before.last_error is None and before.lane is None else "any"),
        events=events,
        before=before if before.incarnation else None,
    )
    return Commit(transition, _COMPLETED["idle" if alarm_ms is None else "scheduled"])


def _completed(status: Status) -> Success[RunAnswer]:
    return Success(RunAnswer(found="exists", status=status, outcome=OutcomeRecord(form="completed")))


_COMPLETED: dict[Status, Success[RunAnswer]] = {"idle": _completed("idle"), "scheduled": _completed("scheduled")}
