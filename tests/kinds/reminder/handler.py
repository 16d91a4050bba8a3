"""The pure handler of reminders."""

from __future__ import annotations

from typing import Any, TypeAlias, assert_never, cast

from perdure.jobs.definition import Definition
from perdure.jobs.log import Log
from perdure.jobs.request import Alarm, Request
from perdure.jobs.run import begin_attempt, begin_run, executed, run_answer
from perdure.jobs.step import Commit, Execute, Step
from perdure.jobs.writes import answered, purge, put, reply
from perdure.values.address import Address
from perdure.values.answer import HoldChanged, OutcomeRecord
from perdure.values.facts import Facts
from perdure.values.instance import Instance
from reminder.context import Snooze, Wish

MINUTE_MS = 60_000
Command: TypeAlias = Wish | Snooze | Alarm


def begin(
    job: Definition[Any, Any, Any], address: Address, instance: Instance | None, request: Request, facts: Facts
) -> Step:
    command = cast("Command", request.command)
    match command:
        case Wish():
            fresh = instance or Instance(address=address, created_ms=facts.now_ms, updated_ms=facts.now_ms)
            wished = put(fresh, facts.now_ms, state=request.payload, alarm_ms=facts.now_ms + MINUTE_MS)
            return answered(wished, HoldChanged(changed=True, status="scheduled"))
        case Snooze(by_ms):
            if instance is None or instance.alarm_ms is None:
                return reply(address, HoldChanged(changed=False, status=None))
            snoozed = put(instance, facts.now_ms, alarm_ms=instance.alarm_ms + by_ms)
            return answered(snoozed, HoldChanged(changed=True, status="scheduled"))
        case Alarm():
            if instance is None:
                return reply(address, None)
            if instance.retrial is not None:
                return begin_attempt(job, instance, instance.retrial, request, facts)
            return begin_run(job, instance, request, facts, cause="alarm")
        case _:
            assert_never(command)


def succeeded(execute: Execute, facts: Facts) -> Commit:
    instance = execute.instance
    log = Log(facts, instance.address, instance.run_count)
    ended = purge(instance, events=(executed(log, execute, facts),), messages=tuple(execute.draft.messages))
    return answered(ended, run_answer(execute, None, OutcomeRecord(form="ran")))
