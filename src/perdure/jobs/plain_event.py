"""The common case of an event, decided in one step instead of many.

Its decisions are those that ``begin`` and ``finish`` reach for any request: a property holds them equal.
"""

from __future__ import annotations

from returns.result import Success

from perdure.jobs.decision import Alarm
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.event_run import begin_event
from perdure.jobs.request import Request
from perdure.jobs.step import Commit, Execute
from perdure.values.answer import Sent
from perdure.values.errors import InvalidInput
from perdure.values.instance import Fence, Instance
from perdure.values.instant import from_ms
from perdure.values.transition import Put, Transition
from perdure.values.turn_inputs import TurnInputs


def begin_plain_event(
    job: AnyDefinition, instance: Instance | None, request: Request, inputs: TurnInputs
) -> Execute | None:
    """Begin to handle an event if nothing about its request, its instance or the moment is special; None otherwise.

    Args:
        job: the definition of the instance.
        instance: the stored instance.
        request: the request.
        inputs: the clock, the random value and the ids.
    """
    if (
        instance is None
        or type(request.command) is not job.plain_event
        or instance.claim is not None
        or instance.event_claim is not None
        or instance.suspension is not None
        or instance.state_version != job.plan.state_version
        or request.idempotency_key is not None
        or request.inbound is not None
        or request.by is not None
        or inputs.trace is not None
        or inputs.code != "trusted"
    ):
        return None
    try:
        return begin_event(job, instance, request, inputs, found="exists", form="plain")
    except InvalidInput:
        return None


def plain_event_handled(execute: Execute, inputs: TurnInputs) -> Commit | None:
    """Settle an event whose handler succeeded and left the alarm as it was; None if anything else happened.

    Args:
        execute: the run.
        inputs: the clock.
    """
    draft, before = execute.draft, execute.instance
    if draft.alarm is not Alarm.keep or execute.prior is not None or before.alarm_trace is not None:
        return None
    alarm_ms = before.alarm_ms
    after = before.changed(
        version=before.version + 1,
        updated_ms=inputs.now_ms,
        state=draft.encoded or before.state,
        event_count=before.event_count + 1,
    )
    transition = Transition(
        address=before.address,
        expected=Fence(before.incarnation, before.version) if before.incarnation else None,
        write=Put(after),
        messages=tuple(draft.messages),
        before=before if before.incarnation else None,
    )
    if alarm_ms is None and before.pending_retry is None:
        return Commit(transition, _IDLE)
    status = after.status
    scheduled_at = None if alarm_ms is None else from_ms(alarm_ms)
    return Commit(transition, Success(Sent(created=False, status=status, scheduled_at=scheduled_at)))


_IDLE: Success[Sent] = Success(Sent(created=False, status="idle", scheduled_at=None))
