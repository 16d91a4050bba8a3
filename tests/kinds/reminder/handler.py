"""The pure handler of reminders."""

from __future__ import annotations

from typing import Any, TypeAlias, assert_never, cast

from perdure.jobs.definition import Definition
from perdure.jobs.request import AlarmDue, Request
from perdure.jobs.run import begin_attempt, begin_run, executed, run_answer
from perdure.jobs.step import Commit, Execute, Step
from perdure.jobs.transitions import EventRecorder, answered, purge, put, reply
from perdure.values.address import Address
from perdure.values.answer import OutcomeRecord, PauseResult
from perdure.values.instance import Instance
from perdure.values.turn_inputs import TurnInputs
from reminder.context import Snooze, Wish

MINUTE_MS = 60_000
Command: TypeAlias = Wish | Snooze | AlarmDue


def begin(
    job: Definition[Any, Any, Any], address: Address, instance: Instance | None, request: Request, inputs: TurnInputs
) -> Step:
    command = cast("Command", request.command)
    match command:
        case Wish():
            fresh = instance or Instance(address=address, created_ms=inputs.now_ms, updated_ms=inputs.now_ms)
            wished = put(fresh, inputs.now_ms, state=request.payload, alarm_ms=inputs.now_ms + MINUTE_MS)
            return answered(wished, PauseResult(changed=True, status="scheduled"))
        case Snooze(by_ms):
            if instance is None or instance.alarm_ms is None:
                return reply(address, PauseResult(changed=False, status=None))
            snoozed = put(instance, inputs.now_ms, alarm_ms=instance.alarm_ms + by_ms)
            return answered(snoozed, PauseResult(changed=True, status="scheduled"))
        case AlarmDue():
            if instance is None:
                return reply(address, None)
            if instance.pending_retry is not None:
                return begin_attempt(job, instance, instance.pending_retry, request, inputs)
            return begin_run(job, instance, request, inputs, cause="alarm")
        case _:
            assert_never(command)


def succeeded(execute: Execute, inputs: TurnInputs) -> Commit:
    instance = execute.instance
    log = EventRecorder(inputs, instance.address, instance.run_count)
    ended = purge(instance, events=executed(log, execute, inputs), messages=tuple(execute.draft.messages))
    return answered(ended, run_answer(execute, None, OutcomeRecord(form="completed")))
