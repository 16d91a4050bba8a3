"""Requests to a held job: those that would begin a run begin none."""

from __future__ import annotations

from typing import assert_never

from perdure.jobs.run import held_answer
from perdure.jobs.step import Commit, Execute
from perdure.jobs.writes import answered, put, reply, stored
from perdure.values.answer import OutcomeRecord, RunAnswer
from perdure.values.instance import Instance
from perdure.values.transition import KeepInstance, Purge, Put
from perdure.values.turn_inputs import TurnInputs

WITHOUT_RUN = frozenset({"event", "upgrade"})
"""Causes of claims that begin no run: events are handled while a job is held, as they are by a paused instance."""


def begins_run(step: Execute) -> bool:
    """Return whether a decision begins a run."""
    return step.claim.cause not in WITHOUT_RUN


def begun_later(step: Execute, instance: Instance | None, inputs: TurnInputs) -> Commit:
    """Answer a request that would begin a run as a paused instance answers it.

    An instance that the run would have created is created with an alarm that is due: it runs after the release.

    Args:
        step: the run.
        instance: the stored instance, if there is one.
        inputs: the clock.
    """
    address = step.instance.address
    if instance is not None:
        return reply(address, held_answer(instance))
    if step.claiming is None:
        return reply(address, RunAnswer(found="absent"))
    match step.claiming.write:
        case Put(claimed):
            fresh = claimed.changed(claim=None, version=step.instance.version, run_count=step.instance.run_count)
            created = put(fresh, inputs.now_ms, events=step.claiming.events, alarm_ms=inputs.now_ms)
            after = stored(created)
            status = None if after is None else after.status
            return answered(created, RunAnswer(found="created", status=status, outcome=OutcomeRecord(form="paused")))
        case Purge() | KeepInstance():
            return reply(address, RunAnswer(found="absent"))
        case _:
            assert_never(step.claiming.write)
