"""Ending, pausing, resuming and parking: the same for every kind of job."""

from __future__ import annotations

from typing import Any

import attrs

from perdure.codecs import UpcastFailed
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.failures import record_failure
from perdure.jobs.log import Log
from perdure.jobs.readable import check_readable
from perdure.jobs.recovery import RELEASED
from perdure.jobs.request import Terminate
from perdure.jobs.step import Commit
from perdure.jobs.writes import answered, failed, purge, put, refuse, reply, stored
from perdure.program import Died
from perdure.values.address import Address
from perdure.values.answer import HoldChanged, Terminated
from perdure.values.errors import InvalidInput, Undecodable
from perdure.values.event import Event, JobFailed, JobParked, JobPaused, JobResumed, JobTerminated
from perdure.values.facts import Facts
from perdure.values.instance import Claim, Instance


def terminate(address: Address, instance: Instance | None, command: Terminate, facts: Facts) -> Commit:
    """Purge the instance, whatever it is doing."""
    if instance is None:
        return reply(address, Terminated(terminated=False, reason="not_found"))
    ended = Log(facts, address, instance.run_count).add(JobTerminated, reason=command.reason)
    return answered(purge(instance, events=(ended,)), Terminated(terminated=True, reason=command.reason))


def pause(address: Address, instance: Instance | None, facts: Facts) -> Commit:
    """Hold alarms and retries. A parked instance is held already and stays parked."""
    if instance is None or instance.hold is not None:
        return reply(address, HoldChanged(changed=False, status=None if instance is None else instance.status))
    paused = Log(facts, address, instance.run_count).add(JobPaused)
    return _held(put(instance, facts.now_ms, events=(paused,), hold="paused"))


def resume(job: AnyDefinition, address: Address, instance: Instance | None, facts: Facts) -> Commit:
    """Let the instance go on: its alarm fires once if it is overdue, a parked run begins its attempts again."""
    if instance is None or instance.hold is None:
        return reply(address, HoldChanged(changed=False, status=None if instance is None else instance.status))
    resumed = Log(facts, address, instance.run_count).add(JobResumed, was=instance.hold)
    retrial = instance.retrial
    if retrial is not None and instance.hold != "paused":
        retrial = attrs.evolve(retrial, at_ms=facts.now_ms)
    changed = attrs.evolve(
        job.rearmed(instance, facts),
        hold=None,
        retrial=retrial,
        claim=_fresh(instance.claim),
        event_claim=_fresh(instance.event_claim),
    )
    return _held(put(changed, facts.now_ms, events=(resumed,)))


def _fresh(claim: Claim | None) -> Claim | None:
    return None if claim is None else attrs.evolve(claim, owner=RELEASED, recoveries=0)


def _held(transition: Any) -> Commit:
    after = stored(transition)
    return answered(transition, HoldChanged(changed=True, status=None if after is None else after.status))


def undecodable(instance: Instance, problem: InvalidInput, facts: Facts) -> Commit:
    """Park what this code cannot read: only its status changes, the bytes are kept. A broken upcaster is in the log."""
    error = Undecodable(str(instance.address), problem.problems)
    if instance.hold is not None:
        return refuse(instance.address, error)
    log = Log(facts, instance.address, instance.run_count)
    events: tuple[Event, ...] = ()
    if isinstance(problem, UpcastFailed):
        record = record_failure(Died(problem.defect), None)
        events = (
            log.add(
                JobFailed,
                run_id=facts.id(),
                hook=problem.upcast,
                attempt=1,
                delivery=1,
                duration_ms=0,
                error=record,
            ),
        )
    parked = log.add(JobParked, reason="undecodable", detail="; ".join(problem.problems))
    return failed(put(instance, facts.now_ms, events=(*events, parked), hold="undecodable"), error)


def redecode(job: AnyDefinition, address: Address, instance: Instance | None, facts: Facts) -> Commit:
    """Resume an instance that was parked as undecodable, if this code can read it.

    Raises:
        InvalidInput: it still cannot.
    """
    if instance is None or instance.hold != "undecodable":
        return reply(address, HoldChanged(changed=False, status=None if instance is None else instance.status))
    return resume(job, address, check_readable(job, instance), facts)
