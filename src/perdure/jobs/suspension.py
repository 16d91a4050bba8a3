"""Terminates, pauses and resumes instances for every job kind, and leaves those that this code cannot read.

While its job is paused, a request that would begin a run begins none. While job code is suspect, a stored state's
upgrade has its own claim.
"""

from __future__ import annotations

from typing import Any, assert_never

import attrs

from perdure.codecs import UpcastFailed
from perdure.jobs.code_fingerprint import code_of
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.hooks import record_failure
from perdure.jobs.recovery import RELEASED, claimed_command
from perdure.jobs.redaction import secrets_of_instance
from perdure.jobs.request import Request, TakeUp, Terminate
from perdure.jobs.run import paused_answer
from perdure.jobs.step import Commit, Execute, Mark
from perdure.jobs.transitions import EventRecorder, answered, failed, purge, put, refuse, reply, stored
from perdure.programs import Raised
from perdure.values.address import Address
from perdure.values.answer import OutcomeRecord, PauseResult, RunAnswer, Terminated
from perdure.values.errors import InvalidInput, Undecodable
from perdure.values.event import Event, JobFailed, JobLeft, JobPaused, JobResumed, JobTerminated
from perdure.values.excerpt import REFERENCE, shortened, shown_value
from perdure.values.instance import Claim, Instance, left_by
from perdure.values.message import Message
from perdure.values.secret import why_unreadable
from perdure.values.status import FailureRecord
from perdure.values.transition import KeepInstance, Purge, Put
from perdure.values.turn_inputs import TurnInputs


def visible_text(job: AnyDefinition, instance: Instance) -> str | None:
    """Return the encoded state for ``get_state``, with all that newer code wrote. None while there is none.

    Raises:
        InvalidInput: it is not JSON, this code cannot upgrade it, or its upcasters killed the process.
    """
    claim = instance.event_claim
    # A tool that shows the instance must not run the upcasters that killed the process.
    if claim is not None and claim.cause == "upgrade" and instance.suspension == "recovery_exhausted":
        raise InvalidInput(job.plan.state.what, ("$: the process died each time that the upcasters ran on it",))
    text = job.visible_text(job.present(instance))
    if text is not None and text[:1] != REFERENCE:
        job.plan.state.check_json(text.encode())
    return text


def shown_text(job: AnyDefinition, instance: Instance) -> str | None:
    """Return the encoded state without secrets, and without the members that only newer code knows.

    Raises:
        InvalidInput: this code cannot read it.
    """
    text = visible_text(job, instance)
    if text is None:
        return None
    if text[:1] == REFERENCE:
        return shown_value(text)
    # Only to raise: a text that this code cannot read is not shown, because its secrets cannot be found.
    job.plan.state.open(text.encode())
    return job.plan.state.redact(text.encode()).decode()


def check_readable(job: AnyDefinition, instance: Instance) -> Instance:
    """Decode all that an instance stores: states, the kind's data, and the claims' inputs.

    Returns:
        The instance with its state in the present version.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    job.check_data(instance)
    present = job.present(instance)

    def decoded(encoded: str) -> str:
        job.plan.state.open(encoded.encode())
        return encoded

    job.map_states(present, decoded)
    for claim in (present.claim, present.event_claim):
        # A claim of an upgrade has no input.
        if claim is None or claim.cause == "upgrade":
            continue
        claimed_command(job, claim)
        text = job.state_of_run(present, claim)
        # Without one, it is the first event of the instance. The parts of one are read by the run.
        if text and text[:1] != REFERENCE:
            job.decode_state(present, claim)
    return present


def terminate(
    job: AnyDefinition, address: Address, instance: Instance | None, command: Terminate, inputs: TurnInputs
) -> Commit:
    """Purge the instance in any state, and send the last messages of its kind."""
    if instance is None:
        return reply(address, Terminated(terminated=False, reason="not_found"))
    ended = EventRecorder(inputs, address, instance.run_count).add(JobTerminated, reason=command.reason)
    transition = purge(instance, events=(ended,), messages=_last_messages(job, instance, command.reason, inputs))
    return answered(transition, Terminated(terminated=True, reason=command.reason))


def _last_messages(job: AnyDefinition, instance: Instance, reason: str, inputs: TurnInputs) -> tuple[Message, ...]:
    """Return an instance's last messages. None if this code cannot read it, which must not prevent its end."""
    try:
        # Decoding may fail here: an operator must be able to terminate an instance that no code reads any more.
        return job.last_messages(instance, reason, inputs)
    except InvalidInput:
        return ()


def pause(address: Address, instance: Instance | None, inputs: TurnInputs) -> Commit:
    """Suspend alarms and retries. A parked instance stays parked, and one that has ended stays as it ended."""
    # Pausing a parked instance would hide why it is parked, and resuming it would then start no new attempts.
    if instance is None or instance.suspension is not None or instance.ended_ms is not None:
        return reply(address, PauseResult(changed=False, status=None if instance is None else instance.status))
    paused = EventRecorder(inputs, address, instance.run_count).add(JobPaused)
    return _held(put(instance, inputs.now_ms, events=(paused,), suspension="paused"))


def resume(job: AnyDefinition, address: Address, instance: Instance | None, inputs: TurnInputs) -> Commit:
    """Resume the instance: an overdue alarm fires once, and a parked run starts new attempts."""
    if instance is None or instance.suspension is None:
        return reply(address, PauseResult(changed=False, status=None if instance is None else instance.status))
    resumed = EventRecorder(inputs, address, instance.run_count).add(JobResumed, was=instance.suspension)
    pending_retry = instance.pending_retry
    # A parked run starts now; the retry of a run that was only paused keeps its instant.
    if pending_retry is not None and instance.suspension != "paused":
        pending_retry = attrs.evolve(pending_retry, at_ms=inputs.now_ms)
    changed = attrs.evolve(
        job.rearmed(instance, inputs),
        suspension=None,
        pending_retry=pending_retry,
        claim=_fresh(instance.claim, inputs),
        event_claim=_fresh(instance.event_claim, inputs),
    )
    return _held(put(changed, inputs.now_ms, events=(resumed,)))


def _fresh(claim: Claim | None, inputs: TurnInputs) -> Claim | None:
    if claim is None:
        return None
    if inputs.others and (claim.owner in inputs.others or claim.run_id in inputs.running):
        return attrs.evolve(claim, recoveries=0)  # an engine runs it: released, another one would run it too
    # No recovery counts any more: an operator who resumes a run has fixed what killed its process.
    return attrs.evolve(claim, owner=RELEASED, recoveries=0)


def _held(transition: Any) -> Commit:
    after = stored(transition)
    return answered(transition, PauseResult(changed=True, status=None if after is None else after.status))


def leave(
    job: AnyDefinition, instance: Instance, problem: InvalidInput, inputs: TurnInputs, *, ended: str | None = None
) -> Commit:
    """Leave an instance that this code cannot read to other code: only the mark changes, and claims are released.

    A run that stops here keeps its claim, so that the code that continues it repeats it, marked, under the same run id.
    An upcaster's exception is recorded.

    Args:
        job: the definition.
        instance: the stored instance.
        problem: why this code cannot read it.
        inputs: the clock and the ids.
        ended: the id of the run that stops here, if one does.
    """
    error = Undecodable(str(instance.address), problem.problems)
    code = code_of(job, inputs.reads)
    released = _released(instance, ended, inputs)
    # Nothing new to write: each request to an instance that is left would otherwise be a commit and an event.
    if instance.left is not None and code in instance.left.codes and not released:
        return refuse(instance.address, error)
    log = EventRecorder(inputs, instance.address, instance.run_count)
    events: tuple[Event, ...] = ()
    if isinstance(problem, UpcastFailed):
        record = record_failure(Raised(problem.defect), None, secrets=secrets_of_instance(job, instance))
        events = (
            log.add(
                JobFailed,
                run_id=inputs.id(),
                hook=problem.upcast,
                attempt=1,
                delivery=1,
                duration_ms=0,
                error=record,
            ),
        )
    why = FailureRecord(form="defect", error_type=_type_of(problem, instance), message=_detail(problem))
    events = (*events, log.add(JobLeft, code=code, error_type=why.error_type, detail=why.message))
    mark = left_by(instance.left, code, why, inputs.now_ms)
    return failed(put(instance, inputs.now_ms, events=events, left=mark, **released), error)


def _detail(problem: InvalidInput) -> str:
    return shortened("; ".join(problem.problems))


def _type_of(problem: InvalidInput, instance: Instance) -> str:
    if any(why_unreadable(text) is not None for text in (instance.state, instance.data)):
        return "Unreadable"
    return type(problem).__name__


def _released(instance: Instance, ended: str | None, inputs: TurnInputs) -> dict[str, Any]:  # fields of Instance
    """Release this engine's claims that no run holds: it lives, and so no other engine would take them over."""
    return {
        name: attrs.evolve(claim, owner=RELEASED)
        for name, claim in (("claim", instance.claim), ("event_claim", instance.event_claim))
        if claim is not None
        and claim.owner == inputs.epoch
        and (claim.run_id == ended or claim.run_id not in inputs.running)
    }


def take_up(job: AnyDefinition, address: Address, instance: Instance | None, inputs: TurnInputs) -> Commit:
    """Continue an instance that other code left, if this code can read it: an overdue alarm fires once.

    Raises:
        InvalidInput: this code cannot read it either.
    """
    if instance is None or instance.left is None:
        return reply(address, PauseResult(changed=False, status=None if instance is None else instance.status))
    present = check_readable(job, instance)
    resumed = EventRecorder(inputs, address, instance.run_count).add(JobResumed, was="left")
    return _held(put(present, inputs.now_ms, events=(resumed,), left=None))


def resume_left(job: AnyDefinition, address: Address, instance: Instance, inputs: TurnInputs) -> Commit:
    """Try to read an instance that is left, whatever code left it, because a caller says so, and resume it.

    One that is paused as well is not paused afterwards, although this code cannot read it.

    Raises:
        InvalidInput: this code cannot read it.
    """
    try:
        present = check_readable(job, instance)
    except InvalidInput:
        # A pause is the operator's own and needs no decoding to be lifted. An instance that is parked or left does.
        if instance.suspension != "paused":
            raise
        resumed = EventRecorder(inputs, address, instance.run_count).add(JobResumed, was="paused")
        return _held(put(instance, inputs.now_ms, events=(resumed,), suspension=None))
    if instance.suspension is None:
        return take_up(job, address, instance, inputs)
    return resume(job, address, present.changed(left=None), inputs)


def upgrade_first(
    job: AnyDefinition, instance: Instance | None, request: Request, inputs: TurnInputs
) -> Commit | Mark | None:
    """Claim a stored state's upgrade before its upcasters run. None if it needs no claim.

    Runs can be in the claim's place only if the instance is left already. A start does not decode such an instance.
    """
    # Only after a process died: to claim each upgrade would cost one more commit for each row.
    if inputs.code == "trusted" or instance is None or instance.state_version >= job.plan.state_version:
        return None
    # The row has one place for such a claim, and an event in progress must not lose its own.
    if instance.event_claim is not None:
        return reply(instance.address, None) if isinstance(request.command, TakeUp) else None
    claim = Claim(owner=inputs.epoch, cause="upgrade", run_id=inputs.id(), claimed_ms=inputs.now_ms)
    return Mark(transition=put(instance, inputs.now_ms, event_claim=claim), claim=claim)


def upgrade(job: AnyDefinition, marked: Instance, inputs: TurnInputs) -> Commit:
    """Run the upcasters, write the state in the present version, and remove the claim.

    Args:
        job: the definition.
        marked: the instance as it is stored, with the claim.
        inputs: the clock and the ids.

    Returns:
        A commit that answers None, after which the request is decided again, or that leaves it to other code.
    """
    instance = marked.changed(event_claim=None)
    try:
        present = job.present(instance) if instance.left is None else check_readable(job, instance)
    except InvalidInput as problem:
        refused = leave(job, instance, problem, inputs)
        # The claim must go even if nothing else changes, or the next start would count a crash that did not happen.
        written = refused.transition if stored(refused.transition) else put(instance, inputs.now_ms)
        return failed(written, refused.result.failure())
    return answered(put(present, inputs.now_ms), None)


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
        return reply(address, paused_answer(instance))
    if step.claiming is None:
        return reply(address, RunAnswer(found="absent"))
    match step.claiming.write:
        case Put(claimed):
            # The run has not begun: its number is used when it begins after the release.
            fresh = claimed.changed(claim=None, version=step.instance.version, run_count=step.instance.run_count)
            created = put(fresh, inputs.now_ms, events=step.claiming.events, alarm_ms=inputs.now_ms)
            after = stored(created)
            status = None if after is None else after.status
            paused = OutcomeRecord(form="paused")
            return answered(created, RunAnswer(created=True, found="absent", status=status, outcome=paused))
        case Purge() | KeepInstance():
            return reply(address, RunAnswer(found="absent"))
        case _:
            assert_never(step.claiming.write)
