"""Recovers abandoned claims: delivers them again, alone after two crashes, and parks them after three."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import Inbound, Request
from perdure.jobs.run import broken_before, park_run
from perdure.jobs.step import Commit, Execute, Mark
from perdure.jobs.transitions import EventRecorder, answered, purge, put, reply
from perdure.programs.instructions import ENDS_PROCESS
from perdure.values.address import Address
from perdure.values.answer import PauseResult
from perdure.values.event import JobParked, JobRecovered
from perdure.values.instance import Claim, Instance
from perdure.values.message import Kept
from perdure.values.status import FailureRecord
from perdure.values.transition import Transition
from perdure.values.turn_inputs import NO_OTHERS, OtherEngines, TurnInputs

MAX_RECOVERIES = 2
"""A run whose process died this often is delivered alone. By default, one more death parks it."""


def is_running(instance: Instance, inputs: TurnInputs) -> bool:
    """Return whether the instance has a run in progress, in this process or in another engine."""
    claim = instance.claim
    return claim is not None and (claim.run_id in inputs.running or claim.owner in inputs.others)


def is_claimed_elsewhere(instance: Instance, occupancy: Literal["mailbox", "claim_only"], inputs: TurnInputs) -> bool:
    """Return whether another engine holds the instance: it handles an event, or runs a program that holds the mailbox.

    Args:
        instance: the stored instance.
        occupancy: whether runs of its kind hold the mailbox.
        inputs: the other engines.
    """
    run, event = instance.claim, instance.event_claim
    if event is not None and event.owner in inputs.others:
        return True
    # Runs of a kind that holds no mailbox may proceed while requests are decided, also those of another engine.
    return occupancy == "mailbox" and run is not None and run.owner in inputs.others


def is_event_between(instance: Instance | None, running: tuple[str, ...], others: OtherEngines) -> bool:
    """Return whether the end of a run in the background must wait for an event of the instance.

    Another engine handles that event, or an engine died during it and it is delivered again next. Its claim is in the
    row that the run's end writes or deletes: written now, the event would be lost, or applied again without a mark.

    Args:
        instance: the stored instance.
        running: the ids of its runs that are in progress in this process.
        others: the other engines.
    """
    event = None if instance is None else instance.event_claim
    if instance is None or event is None or event.run_id in running:
        return False
    # "Not of this process" instead of "owned by a living engine": the event of an engine that died must be recovered
    # with its mark, too.
    return bool(others) or left_behind(instance, running) is event


def left_behind(instance: Instance, running: tuple[str, ...], others: OtherEngines = NO_OTHERS) -> Claim | None:
    """Return the claim that must be recovered, if there is one. A run's claim precedes an event's.

    A parked claim does not block the instance's other claim. If the instance is left, its runs wait. Its upgrade's
    claim does not.

    Args:
        instance: the stored instance.
        running: the ids of its runs that are in progress in this process.
        others: the other engines that may be alive: their claims are not abandoned.
    """
    if instance.claim is None and instance.event_claim is None:
        return None
    for claim in (instance.claim, instance.event_claim):
        # A claim of a living engine is not abandoned. Recovered, its run would be in progress twice.
        if claim is None or claim.run_id in running or claim.owner in others:
            continue
        # The exception: an upgrade that died is counted even if the instance is left, or each start would die of it.
        if instance.left is not None and claim.cause != "upgrade":
            continue
        if instance.suspension != "recovery_exhausted" or claim.recoveries < MAX_RECOVERIES:
            return claim
    return None


def is_delivered_beside_others(instance: Instance) -> bool:
    """Return whether the next delivery of an instance's claim does not have the engine for itself."""
    claims = (instance.claim, instance.event_claim)
    return all(claim is None or claim.recoveries + 1 < MAX_RECOVERIES for claim in claims)


def recover(job: AnyDefinition, instance: Instance, claim: Claim, inputs: TurnInputs) -> Commit | Mark:
    """Count another delivery of a run, before any job code runs, or park the run.

    This engine's own claim remains after a failed commit, or after a shutdown that released it: no process crashed, and
    no recovery is counted.
    """
    # An orderly stop is no crash: three deployments during one long run would park it.
    crashed = claim.owner not in (inputs.epoch, RELEASED)
    # The limit ends a loop of crashes: a run that kills its process would keep the engine from ever starting.
    if crashed and claim.recoveries + 1 >= job.plan.max_deaths:
        return _park(job, instance, claim, inputs)
    recoveries = claim.recoveries + 1 if crashed else claim.recoveries
    # Counted in the commit before the code runs: a count after it would be lost with the process.
    again = attrs.evolve(
        claim, owner=inputs.epoch, claimed_ms=inputs.now_ms, deliveries=claim.deliveries + 1, recoveries=recoveries
    )
    log = EventRecorder(inputs, instance.address, instance.run_count)
    recovered = log.add(
        JobRecovered,
        run_id=again.run_id,
        cause=again.cause,
        attempt=again.attempt,
        delivery=again.deliveries,
        recoveries=recoveries,
    )
    return Mark(
        transition=put(instance, inputs.now_ms, events=(recovered,), **_in_place(instance, claim, again)),
        claim=again,
        before=claim,
        # Alone, so that its next crash is its own: a run beside it would be counted, and parked, for a crash that it
        # did not cause.
        alone="alone" if recoveries >= MAX_RECOVERIES else "beside_others",
    )


def deliver(
    job: AnyDefinition, mark: Mark, instance: Instance, request: Request, inputs: TurnInputs
) -> Commit | Execute:
    """Deliver a run whose claim is recorded.

    Args:
        job: its definition.
        mark: the claim.
        instance: the instance as it is stored, with the claim.
        request: the request that recorded the claim.
        inputs: the clock and the ids.

    Raises:
        InvalidInput: this code cannot decode the state or the run's input.
    """
    claim, request, present = mark.claim, _request_of(mark.claim, request), job.present(instance)
    if not present.state:
        try:
            present = present.changed(state=job.first_state(present.address.id, inputs.limits))
        except ENDS_PROCESS:
            raise
        # Recorded as a defect of the job. Further up it would be taken for a defect of the engine.
        except BaseException as defect:  # noqa: BLE001 - `initial` is a hook like any other
            return broken_before(job, instance, request, "initial", defect, inputs)
    command = claimed_command(job, claim)
    hook, program = job.program(present, claim, command)
    draft = job.draft(present, claim, inputs)
    # The objects of the event are new, and take over no unknown members of the stored state.
    draft.received = command if claim.cause == "event" else None
    return Execute(
        hook=hook,
        program=program,
        instance=present,
        draft=draft,
        claim=claim,
        claimed="recorded",
        request=request,
        started_ms=inputs.now_ms,
        alone=mark.alone,
        is_row=present is instance,
    )


RELEASED = 0
"""The owner of a claim that a graceful shutdown released. Epochs begin at 1."""


def release(instance: Instance, run_id: str, inputs: TurnInputs) -> Commit:
    """Release a claim on a graceful shutdown: the next delivery counts no crash.

    A claim that another engine took over meanwhile is not released.
    """
    changes: dict[str, Any] = {  # fields of Instance
        name: attrs.evolve(claim, owner=RELEASED)
        for name, claim in (("claim", instance.claim), ("event_claim", instance.event_claim))
        # Another engine may have recovered the run meanwhile: its claim is not ours to release.
        if claim is not None and claim.run_id == run_id and claim.owner in (inputs.epoch, RELEASED)
    }
    if not changes:
        return reply(instance.address, PauseResult(changed=False, status=instance.status))
    return answered(put(instance, inputs.now_ms, **changes), PauseResult(changed=True, status=instance.status))


def keeping(transition: Transition, claim: Claim) -> Transition:
    """Require that a claim's message is living: another engine may have consumed it since it was read."""
    # Written with the claim: a message that another engine has consumed would be applied a second time.
    return transition if claim.message_id is None else attrs.evolve(transition, inbound=Kept(claim.message_id))


def withdraw(instance: Instance, claim: Claim, raised: BaseException, inputs: TurnInputs) -> Commit:
    """Settle a claim whose code ended the process in order before it began a program.

    An interrupt releases the claim. A first event that exits fails, and leaves no instance. Another claim remains.
    """
    if isinstance(raised, KeyboardInterrupt):
        return release(instance, claim.run_id, inputs)
    # Without a state, the row is only the claim of a first event that did not happen.
    if claim.created == "here" and not instance.state:
        return answered(purge(instance), None)
    return reply(instance.address, None)


def claimed_command(job: AnyDefinition, claim: Claim) -> object:
    """Rebuild a claimed event's command. None for a run, which needs none.

    Raises:
        InvalidInput: this code cannot decode the event.
    """
    if claim.cause != "event" or claim.action is None:
        return None
    return job.parse(claim.action, claim.payload or "").command


def _in_place(instance: Instance, claim: Claim, replacement: Claim) -> dict[str, Any]:  # fields of Instance
    return {"claim": replacement} if instance.claim is claim else {"event_claim": replacement}


def _request_of(claim: Claim, request: Request) -> Request:
    """Return the recovered run's request: with the claim's message and its action, if it has one."""
    if claim.message_id is None or claim.message_sender is None:
        return request
    inbound = Inbound(message_id=claim.message_id, sender=Address.parse(claim.message_sender))
    # The action as well: the sender learns which message was refused, or waits for the reply to it.
    return attrs.evolve(request, inbound=inbound, action=claim.action or request.action, payload=claim.payload or "")


def _park(job: AnyDefinition, instance: Instance, claim: Claim, inputs: TurnInputs) -> Commit:
    log = EventRecorder(inputs, instance.address, instance.run_count)
    died = claim.recoveries + 1
    detail = f"the process died {died} time{'' if died == 1 else 's'} during this run"
    parked = log.add(JobParked, reason="recovery_exhausted", detail=detail)
    changes: dict[str, Any] = {"left": None}  # of an instance that is left: else each start would try to read it again
    left = instance
    # Code with a greater limit, or of an earlier version, must not take a claim that is parked for one that is left
    # behind.
    if claim.recoveries < MAX_RECOVERIES:
        changes |= _in_place(instance, claim, attrs.evolve(claim, recoveries=MAX_RECOVERIES))
    # A run becomes a pending retry, which can be resumed. The claim of an event stays as it is: its input is in the
    # claim.
    if instance.claim is claim:
        left = job.alarm_consumed(instance, claim, inputs)
        record = FailureRecord(form="defect", error_type="RecoveryExhausted", message=detail)
        pending_retry = park_run(claim, record, first_failed_ms=inputs.now_ms, now_ms=inputs.now_ms)
        changes |= {"claim": None, "pending_retry": pending_retry, "last_error": record}
    transition = put(left, inputs.now_ms, events=(parked,), suspension="recovery_exhausted", **changes)
    return answered(transition, PauseResult(changed=True, status="parked"))
