"""The pure handler for continuous jobs: starts, triggers and ticks."""

from __future__ import annotations

from typing import Any, TypeAlias, assert_never, cast

import attrs

from perdure.codecs.codec import RowCodec
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import AlarmDue, Request, too_large
from perdure.jobs.run import begin_attempt, begin_run, executed, paused_answer, run_answer
from perdure.jobs.step import Commit, Execute, Step
from perdure.jobs.transitions import EventRecorder, answered, put, refuse, reply, stored
from perdure.kinds.continuous.context import (
    TICKS,
    ContinuousContext,
    FailedRun,
    Recurrence,
    StartCommand,
    StoredTicks,
    TriggerCommand,
)
from perdure.programs import Program
from perdure.values.address import Address
from perdure.values.answer import OutcomeRecord, RunAnswer
from perdure.values.event import JobStarted
from perdure.values.instance import Claim, Instance, PendingRetry
from perdure.values.schedule import Due, Every, Run, Skip, could_be_set, due, first_tick, latest_due, offset_ms, settle
from perdure.values.status import InstanceStatus, LastRunForm
from perdure.values.times import from_ms
from perdure.values.turn_inputs import TurnInputs

ContinuousCommand: TypeAlias = StartCommand | TriggerCommand | AlarmDue


# ---------------------------------------------------------------- begin
def begin(
    job: AnyDefinition,
    what: Recurrence,
    address: Address,
    instance: Instance | None,
    request: Request,
    inputs: TurnInputs,
) -> Step:
    """Decide a continuous job's command or alarm."""
    command = cast("ContinuousCommand", request.command)
    match command:
        case StartCommand():
            return _start(job, what, address, instance, request, inputs)
        case TriggerCommand():
            return _trigger(job, address, instance, command, request, inputs)
        case AlarmDue():
            return _alarm(job, what, address, instance, request, inputs)
        case _:
            assert_never(command)


def _start(
    job: AnyDefinition,
    what: Recurrence,
    address: Address,
    instance: Instance | None,
    request: Request,
    inputs: TurnInputs,
) -> Step:
    if instance is not None:
        return reply(address, RunAnswer(found="exists", status=instance.status))
    # Measured here, because the payload becomes the state as it is: no draft checks its size.
    refused = too_large(request.payload, inputs.limits.state_bytes, what=job.plan.state.what)
    if refused is not None:
        return refuse(address, refused)
    ticks = StoredTicks(anchor_ms=inputs.now_ms)
    fresh = Instance(
        address=address,
        created_ms=inputs.now_ms,
        updated_ms=inputs.now_ms,
        state=request.payload,
        data=_encode(ticks),
    )
    if what.start == "immediately":
        return begin_run(job, fresh, request, inputs, cause="start", creates=True)
    started = EventRecorder(inputs, address, 0).optional(JobStarted)
    first_ms = first_tick(what.schedule, inputs.now_ms)
    transition = put(fresh, inputs.now_ms, events=started, **_armed(what, address, ticks, first_ms))
    after = stored(transition)
    return answered(transition, RunAnswer(created=True, found="absent", status=None if after is None else after.status))


def _trigger(
    job: AnyDefinition,
    address: Address,
    instance: Instance | None,
    command: TriggerCommand,
    request: Request,
    inputs: TurnInputs,
) -> Step:
    if instance is None:
        return reply(address, RunAnswer(found="absent"))
    if instance.suspension is not None:
        return reply(address, paused_answer(instance))
    ticks = ticks_of(instance)
    # Also a run that failed for good: a trigger after a fix must repeat that run, under its id, and not begin another
    # one.
    left = instance.pending_retry or _left(ticks, instance, inputs)
    if left is not None and not command.options.new_run:
        return begin_attempt(job, instance, left, request, inputs)
    return begin_run(job, instance, request, inputs, cause="trigger", data=_encode(attrs.evolve(ticks, failed=None)))


def _left(ticks: StoredTicks, instance: Instance, inputs: TurnInputs) -> PendingRetry | None:
    """Return the last run's next attempt, if that failed for good. The retry policy counts from there."""
    failed = ticks.failed
    if failed is None or instance.last_error is None:
        return None
    return PendingRetry(
        run_id=failed.run_id,
        cause=failed.cause,
        attempt=failed.attempts + 1,
        first_failed_ms=inputs.now_ms,
        at_ms=inputs.now_ms,
        error=instance.last_error,
        uncounted=failed.attempts,
    )


def _alarm(
    job: AnyDefinition,
    what: Recurrence,
    address: Address,
    instance: Instance | None,
    request: Request,
    inputs: TurnInputs,
) -> Step:
    if instance is None:
        return reply(address, None)
    if instance.pending_retry is not None:
        return begin_attempt(job, instance, instance.pending_retry, request, inputs)
    ticks = ticks_of(instance)
    next_ms = ticks.next_ms if ticks.next_ms is not None else inputs.now_ms
    # A pause owes one run even where missed ticks are skipped: resuming must not do nothing.
    policy = _once(what) if ticks.owed_ms == next_ms and what.schedule.catch_up == "skip" else what
    match _due(policy, address, ticks, next_ms, inputs):
        case Run(nominal_ms, missed):
            # The sum: an earlier skip has counted ticks that this run must report as missed.
            taken = attrs.evolve(ticks, taken_ms=nominal_ms, missed=ticks.missed + missed, failed=None)
            return begin_run(job, instance, request, inputs, cause="alarm", data=_encode(taken))
        case Skip(next_nominal_ms, missed):
            skipped = attrs.evolve(ticks, missed=ticks.missed + missed)
            return answered(put(instance, inputs.now_ms, **_armed(what, address, skipped, next_nominal_ms)), None)


# ---------------------------------------------------------------- the program of a claim
def program(what: Recurrence, instance: Instance, claim: Claim) -> tuple[str, Program[Any, Any, Any]]:
    """Return ``execute`` and its program for a claim."""
    ticks = ticks_of(instance)
    tick_ms = _tick_ms(ticks, claim)
    tick = None if tick_ms is None else from_ms(tick_ms)
    ctx: ContinuousContext[Any] = ContinuousContext(instance, claim, tick=tick, missed=ticks.missed)
    return "execute", what.execute(ctx)


def _tick_ms(ticks: StoredTicks, claim: Claim) -> int | None:
    """Return a run's tick. None for a start or a trigger."""
    # A run that a trigger continues keeps its tick, which services may use as a key.
    if ticks.failed is not None and ticks.failed.run_id == claim.run_id:
        return ticks.failed.tick_ms
    return ticks.taken_ms if claim.cause == "alarm" else None


# ---------------------------------------------------------------- finish
def succeeded(what: Recurrence, execute: Execute, inputs: TurnInputs) -> Commit:
    """Commit the run's draft, and arm the next tick."""
    instance = execute.instance
    transition = put(
        settled(what, instance, "succeeded", inputs),
        inputs.now_ms,
        events=executed(EventRecorder(inputs, instance.address, instance.run_count), execute, inputs),
        messages=tuple(execute.draft.messages),
        state=execute.draft.encoded or instance.state,
        claim=None,
        pending_retry=None,
        last_error=None,
    )
    return answered(transition, run_answer(execute, stored(transition), OutcomeRecord(form="completed")))


def settled(what: Recurrence, instance: Instance, form: LastRunForm, inputs: TurnInputs) -> Instance:
    """Arm the next tick after a run has ended, for any reason, and note its end.

    After a tick's run, the next tick follows. A start or a trigger does not move a fixed interval's pending tick. A
    schedule that counts from the end of runs restarts from this end.
    """
    ticks = ticks_of(instance)
    last: tuple[int, LastRunForm] = (inputs.now_ms, form)
    from_end = isinstance(what.schedule, Every) and what.schedule.align == "completion"
    # A trigger must not move the ticks of a fixed interval.
    if ticks.taken_ms is None and instance.alarm_ms is not None and not from_end:
        return instance.changed(data=_encode(attrs.evolve(ticks, missed=0, failed=None, last=last)))
    next_ms = settle(
        what.schedule,
        anchor_ms=ticks.anchor_ms,
        nominal_ms=_latest_ms(ticks),
        ended_ms=inputs.now_ms,
        offset_ms=offset_ms(what.schedule, str(instance.address)),
    )
    # Every end of a run comes here, also that of a failed one: an instance without an alarm would stay silent for ever.
    # Without `missed` and `failed`: the run that has ended has reported both.
    ended = StoredTicks(anchor_ms=ticks.anchor_ms, last=last)
    return instance.changed(**_armed(what, instance.address, ended, next_ms))


def given_up(what: Recurrence, instance: Instance, claim: Claim, inputs: TurnInputs) -> Instance:
    """Arm the next tick after a run that failed for good, which a trigger before that tick continues."""
    failed = FailedRun(
        run_id=claim.run_id, cause=claim.cause, attempts=claim.attempt, tick_ms=_tick_ms(ticks_of(instance), claim)
    )
    left = settled(what, instance, "failed", inputs)
    return left.changed(data=_encode(attrs.evolve(ticks_of(left), failed=failed)))


def rearmed(what: Recurrence, instance: Instance, inputs: TurnInputs) -> Instance:
    """Skip the ticks inside a pause except the last one: an overdue alarm remains due and owes one run.

    If a retry is pending, it is that run. Before the first tick is known, the ticks inside the pause are only recorded,
    so that the schedule continues after them.
    """
    ticks = ticks_of(instance)
    # No tick was inside the pause.
    if instance.alarm_ms is not None and instance.alarm_ms > inputs.now_ms:
        return instance
    nominal_ms = latest_due(
        what.schedule,
        anchor_ms=ticks.anchor_ms,
        nominal_ms=_latest_ms(ticks),
        now_ms=inputs.now_ms,
        offset_ms=offset_ms(what.schedule, str(instance.address)),
    )
    return instance.changed(data=_encode(attrs.evolve(ticks, next_ms=nominal_ms, owed_ms=nominal_ms)))


# ---------------------------------------------------------------- reports
def report(instance: Instance, status: InstanceStatus) -> InstanceStatus:
    """Add the last run to a status report."""
    last = ticks_of(instance).last if instance.data else None  # an instance that a test made has no ticks
    return status if last is None else attrs.evolve(status, last_run_at=from_ms(last[0]), last_run=last[1])


# ---------------------------------------------------------------- ticks
def _latest_ms(ticks: StoredTicks) -> int:
    """Return the instance's latest tick: run, pending, or skipped by a pause. Its start before the first."""
    # The latest, whatever its source: an earlier one would make ticks due a second time.
    return max(tick_ms for tick_ms in (ticks.anchor_ms, ticks.next_ms, ticks.taken_ms) if tick_ms is not None)


def stale_alarm(what: Recurrence, instance: Instance) -> str | None:
    """Return a text if another schedule set the alarm, as far as the row shows."""
    ticks, schedule = ticks_of(instance), what.schedule
    if instance.alarm_ms is None or ticks.next_ms is None:
        return None
    stands = could_be_set(schedule, anchor_ms=ticks.anchor_ms, nominal_ms=ticks.next_ms, changed_ms=instance.updated_ms)
    if stands and instance.alarm_ms == ticks.next_ms + offset_ms(schedule, str(instance.address)):
        return None
    return f"another schedule than {schedule} set its alarm, which remains until it fires"


def _once(what: Recurrence) -> Recurrence:
    return attrs.evolve(what, schedule=attrs.evolve(what.schedule, catch_up="once"))


def _due(what: Recurrence, address: Address, ticks: StoredTicks, next_ms: int, inputs: TurnInputs) -> Due:
    return due(
        what.schedule,
        anchor_ms=ticks.anchor_ms,
        nominal_ms=next_ms,
        now_ms=inputs.now_ms,
        offset_ms=offset_ms(what.schedule, str(address)),
    )


def _armed(what: Recurrence, address: Address, ticks: StoredTicks, next_ms: int) -> dict[str, Any]:
    """Return the instance fields that set the alarm for this tick."""
    return {
        # The offset depends on the address alone, so that a restart, or another engine, computes the same alarm.
        "alarm_ms": next_ms + offset_ms(what.schedule, str(address)),
        "data": _encode(attrs.evolve(ticks, next_ms=next_ms)),
    }


# Left out, so that an instance before its first end has the bytes that earlier versions read.
_DATA: RowCodec[StoredTicks] = RowCodec(TICKS, left_out=(',"last":null}',))


def ticks_of(instance: Instance) -> StoredTicks:
    """Decode the schedule's stored data.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    return _DATA.read(instance.data)


def _encode(ticks: StoredTicks) -> str:
    return _DATA.write(ticks)
