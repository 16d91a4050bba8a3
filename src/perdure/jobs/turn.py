"""A turn's two pure functions, which make all the engine's decisions."""

from __future__ import annotations

from typing import Any, Final, assert_never

import attrs
from returns.result import Failure, Success

from perdure.jobs.code_fingerprint import code_of
from perdure.jobs.context import EndInstance
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.keys import ForgetKey, condition_of, forget, remember, remember_failure, replay
from perdure.jobs.messages import ASK_EVENT, rejection, reply_to, without_subscriber
from perdure.jobs.recovery import deliver, is_claimed_elsewhere, is_running, left_behind, recover
from perdure.jobs.redaction import accepting, redacted_events, with_shown_events
from perdure.jobs.request import (
    ENGINE_COMMANDS,
    AlarmDue,
    Inbound,
    Pause,
    Recover,
    Request,
    Resume,
    TakeUp,
    Terminate,
)
from perdure.jobs.run import event_failed, run_answer, run_failed
from perdure.jobs.step import Commit, Defer, Execute, Mark, RecoverFirst, Step
from perdure.jobs.suspension import (
    begins_run,
    begun_later,
    leave,
    pause,
    resume,
    resume_left,
    take_up,
    terminate,
    upgrade,
    upgrade_first,
)
from perdure.jobs.transitions import (
    EventRecorder,
    answered,
    nothing,
    purge,
    refuse,
    reply,
    stored,
    with_origin,
    with_origin_of_run,
    with_state,
    with_state_of_run,
    with_trace,
)
from perdure.programs import Exit, Halted, Raised
from perdure.values.address import Address
from perdure.values.answer import OutcomeRecord, RunAnswer
from perdure.values.errors import HookRaised, InstanceParked, InvalidInput, Overloaded, RunTimeout, Undecodable
from perdure.values.event import (
    Event,
    JobLeft,
    JobParked,
    JobResumed,
    JobStarted,
    JobTerminated,
)
from perdure.values.instance import Claim, Instance, Left
from perdure.values.message import Consumed
from perdure.values.transition import Loaded, NewKeys, Put, Transition, remembering
from perdure.values.turn_inputs import NO_OTHERS, OtherEngines, TurnInputs

FIRST_VERSION = 1
"""The version of an instance without a set version."""


def new_instance(step: Step, state_version: int) -> Step:
    """Set the state version in which a new instance is written.

    Args:
        step: the decision for an address without an instance.
        state_version: the version that the definition writes.
    """
    match step:
        case Commit(transition, result):
            return Commit(_stamped(transition, state_version), result)
        case Mark():
            return attrs.evolve(step, transition=_stamped(step.transition, state_version))
        case Execute(instance=instance, claiming=claiming):
            stamped = instance.changed(state_version=state_version)
            return attrs.evolve(
                step, instance=stamped, claiming=None if claiming is None else _stamped(claiming, state_version)
            )
        case _:
            return step


def _stamped(transition: Transition, state_version: int) -> Transition:
    if not isinstance(transition.write, Put):
        return transition
    return attrs.evolve(transition, write=Put(transition.write.instance.changed(state_version=state_version)))


# ---------------------------------------------------------------- begin
def begin(job: AnyDefinition, address: Address, loaded: Loaded, request: Request, inputs: TurnInputs) -> Step:
    """Decide a request.

    Args:
        job: the instance's definition.
        address: the instance.
        loaded: the stored instance, and the stored result for the request's idempotency key.
        request: the request.
        inputs: the clock, the random value and the ids.
    """
    key, row, command = request.idempotency_key, loaded.instance, type(request.command)
    if key is not None and command is ForgetKey:
        return with_origin(forget(address, loaded, key, inputs), request)
    if key is not None and (loaded.remembered is not None or loaded.keys_held >= inputs.limits.keys_per_address):
        remembered = replay(job, address, loaded, request, key, inputs)
        if remembered is not None:
            return remembered
        if loaded.remembered is not None:
            # Earlier attempts of this key may have had effects. Without the number, the handler would take the repeat
            # for the first attempt and repeat them.
            request = attrs.evolve(request, attempt=loaded.remembered.failures + 1)
    step: Step
    if row is None and request.inbound is not None and request.inbound.subscription is not None:
        return recorded(job, without_subscriber(address, request.inbound, inputs), row, request, inputs)
    try:
        # The common case first: the kind's own request to an instance without a claim, in the present version. Each
        # condition excludes a rule of `decide_any`, and a new rule needs its condition here.
        if (
            (row is None or (row.claim is None and row.event_claim is None and row.left is None))
            and (row is None or row.state_version == job.plan.state_version)
            and command not in SHARED_COMMANDS
            and inputs.hold == "released"
            and (command is not AlarmDue or _is_due(row, inputs))
        ):
            step = job.begin(address, row, request, inputs)
        else:
            step = decide_any(job, address, row, request, inputs)
    except InvalidInput as problem:
        # Without a stored row no mark can be written: the caller gets the error.
        if row is None:
            raise
        step = _left(job, row, problem, request, inputs)
    # A program whose claim is not written yet, of a stored instance: nothing is to be recorded before its end.
    if type(step) is Execute and step.claiming is None and row is not None and inputs.trace is None:
        return step
    return recorded(job, step, row, request, inputs)


SHARED_COMMANDS: Final = frozenset((Terminate, Pause, Resume, Recover, TakeUp))
"""The commands that no kind decides itself."""


def recorded(job: AnyDefinition, step: Step, row: Instance | None, request: Request, inputs: TurnInputs) -> Step:
    """Return a decision with what all decisions record: the trace, the origin, states in events, the key."""
    if row is None and job.plan.state_version != FIRST_VERSION:
        step = new_instance(step, job.plan.state_version)
    if inputs.trace is not None:
        step = with_trace(step, row, inputs.trace)
    if job.plan.accepted_in_events != "nothing":
        step = _with_accepted(job, step, request, inputs)
    writes = step.transition if isinstance(step, Commit) else step.claiming if isinstance(step, Execute) else None
    if writes is not None and writes.events:
        # Secrets are replaced last: `with_state` adds states to events, and the log and its exports keep events as they
        # are.
        step = with_shown_events(job, with_state(job, with_origin(step, request)))
    if not isinstance(step, Commit):
        return step
    # Parking is decided here too: a run that has died three times is parked without `finish`, and its parent waits for
    # the message.
    step = _with_parking(job, step, inputs) if step.transition.events else step
    if request.idempotency_key is None and request.inbound is None:
        return step
    return _concluded(job, step, request, inputs, condition_of(request))


def begin_marked(
    job: AnyDefinition, mark: Mark, marked: Instance, request: Request, inputs: TurnInputs
) -> Commit | Execute:
    """Decide a request whose claim is recorded: if the code that this runs ends the process, the next start counts it.

    Args:
        job: the instance's definition.
        mark: the claim.
        marked: the instance as it is stored, with the claim.
        request: the request.
        inputs: the clock, the random value and the ids.

    Returns:
        A run with its claim recorded. Or a commit that ends the claim. After a successful upgrade the request is
        decided again.
    """
    if mark.claim.cause == "upgrade":
        return _with_parking(job, upgrade(job, marked, inputs), inputs)
    step: Commit | Execute
    try:
        step = deliver(job, mark, marked, request, inputs)
    except InvalidInput as problem:
        # The claim from before this delivery: no code of the job ran, and a counted delivery would mark the next one as
        # a repeat.
        step = leave(job, _before(mark, marked), problem, inputs, ended=mark.claim.run_id)
    if isinstance(step, Execute):
        return step
    return _with_parking(job, Commit(redacted_events(job, step.transition), step.result), inputs)


def _before(mark: Mark, marked: Instance) -> Instance:
    """Return an instance with the claim as it was before this delivery, which did not happen."""
    return marked.changed(
        claim=mark.before if marked.claim == mark.claim else marked.claim,
        event_claim=mark.before if marked.event_claim == mark.claim else marked.event_claim,
    )


def _left(
    job: AnyDefinition, instance: Instance, problem: InvalidInput, request: Request, inputs: TurnInputs
) -> Commit:
    """Leave an instance that this code cannot read to other code. This is the only place where a turn decides that.

    A caller's request to an instance that nothing left yet only fails while another engine serves the job with other
    code: it may be able to read the instance, and the mark would delay its alarm.
    """
    address, is_first = instance.address, instance.left is None and not isinstance(request.command, ENGINE_COMMANDS)
    # A mark from a request would stop the alarms of an instance that another engine, with newer code, reads and runs.
    if is_first and inputs.others.serve_otherwise(address.kind, address.name, code_of(job, inputs.reads)):
        return refuse(address, Undecodable(str(address), problem.problems))
    return leave(job, instance, problem, inputs)


def decide_any(
    job: AnyDefinition, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs
) -> Step:
    """Decide any request: also those that all kinds share, and those to an instance that a claim or a mark is on."""
    command = request.command
    if isinstance(command, Terminate):
        if command.when == "after_run" and instance is not None and _is_occupied(job, instance, inputs):
            return Defer()
        return terminate(job, address, instance, command, inputs)
    # Terminate is decided above, before the recovery: it must also end an instance whose run kills every process.
    claim = None if instance is None else left_behind(instance, inputs.running, inputs.others)
    step: Step | None = None
    if inputs.others is not NO_OTHERS and instance is not None:
        step = _claimed_elsewhere(job, instance, request, inputs)
    if step is None and instance is not None and instance.left is not None:
        step = _decide_left(job, address, instance, instance.left, request, inputs)
    if step is None and instance is not None and claim is not None:
        step = _recovered(job, instance, claim, inputs) if isinstance(command, Recover) else RecoverFirst()
    if step is None and isinstance(command, Recover | TakeUp):
        return reply(address, None)
    if step is not None:
        return step
    # The hold of a job is applied to the decision, not before it: requests that begin no run are answered as usual.
    step = _decide_settled(job, address, instance, request, inputs)
    return step if inputs.hold == "released" else _held(job, step, instance, request, inputs)


def _is_occupied(job: AnyDefinition, instance: Instance, inputs: TurnInputs) -> bool:
    # Both: on a shared store the run may be in another engine.
    return is_running(instance, inputs) or is_claimed_elsewhere(instance, job.occupancy, inputs)


def _claimed_elsewhere(
    job: AnyDefinition, instance: Instance, request: Request, inputs: TurnInputs
) -> Commit | Defer | None:
    """Return the decision about an instance in a shared store that another engine holds.

    An engine's own requests do not wait for the other engine: it looks again.
    """
    if not is_claimed_elsewhere(instance, job.occupancy, inputs):
        return None
    return reply(instance.address, None) if isinstance(request.command, AlarmDue | TakeUp) else Defer()


def _recovered(job: AnyDefinition, instance: Instance, claim: Claim, inputs: TurnInputs) -> Commit | Mark:
    """Deliver an abandoned run again. Or leave it, uncounted, if newer code wrote its instance.

    Raises:
        InvalidInput: newer code wrote it.
    """
    # Checked before the claim is counted: code that cannot read the row must not use up its recoveries.
    job.plan.upgrades.check(instance.state_version)
    return recover(job, instance, claim, inputs)


def _decide_left(
    job: AnyDefinition, address: Address, instance: Instance, left: Left, request: Request, inputs: TurnInputs
) -> Step | None:
    """Decide a request to an instance that is left: its code tries again only if an operator says so.

    Raises:
        InvalidInput: this code cannot read it either.
    """
    match request.command:
        case Pause():
            return None
        case AlarmDue():
            return reply(address, None)
        case TakeUp(problem):
            if problem is not None:
                raise problem
            return upgrade_first(job, instance, request, inputs) or take_up(job, address, instance, inputs)
        case Resume():
            return upgrade_first(job, instance, request, inputs) or resume_left(job, address, instance, inputs)
        case Recover():
            return _recover_left(job, address, instance, left, request, inputs)
        case _:
            return _answered_unread(job, address, instance, left, request, inputs)


def _recover_left(
    job: AnyDefinition, address: Address, instance: Instance, left: Left, request: Request, inputs: TurnInputs
) -> Step | None:
    """Try to read an instance before a request to it. None if the claim of an upgrade must be recovered."""
    if left_behind(instance, inputs.running, inputs.others) is not None:
        return None
    # The same code would fail on the same row again, at every start and for each instance.
    if code_of(job, inputs.reads) in left.codes:
        return reply(address, None)
    return upgrade_first(job, instance, request, inputs) or take_up(job, address, instance, inputs)


def _answered_unread(
    job: AnyDefinition, address: Address, instance: Instance, left: Left, request: Request, inputs: TurnInputs
) -> Step:
    step = job.begin_unread(address, instance, request, inputs)
    if step is not None:
        return step
    if code_of(job, inputs.reads) not in left.codes:
        return RecoverFirst()  # and this code tries to read it
    return refuse(address, Undecodable(str(address), (left.error.message,)))


def _held(job: AnyDefinition, step: Step, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
    """Return a held job's decision: it begins no run."""
    if isinstance(step, Execute) and begins_run(step):
        return job.held(step, instance, request, inputs) or begun_later(step, instance, inputs)
    return step


def _decide_settled(
    job: AnyDefinition, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs
) -> Step:
    """Decide a request to an instance without an abandoned run."""
    match request.command:
        case Pause():
            return pause(address, instance, inputs)
        case Resume():
            return resume(job, address, instance, inputs)
        # The alarm may have been moved since the engine read it as due: the stored row decides.
        case AlarmDue() if inputs.hold == "held" or not _is_due(instance, inputs):
            return reply(address, None)
        case _ if instance is None or _is_refused(instance):
            return job.begin(address, instance, request, inputs)
        case _:
            # Before `present`: upcasters that end the process must find their claim in the store, or every start dies
            # again.
            first = upgrade_first(job, instance, request, inputs)
            return job.begin(address, job.present(instance), request, inputs) if first is None else first


def _is_refused(instance: Instance) -> bool:
    """Whether the kind needs no state to refuse a request, because the instance is parked with its event."""
    # Its event claim may be that of an upgrade that kills the process. Decoding the state here would run that again.
    return instance.suspension == "recovery_exhausted" and instance.event_claim is not None


def _is_due(instance: Instance | None, inputs: TurnInputs) -> bool:
    if instance is None:
        return False
    # A queued instance has no `due_ms`: a slot of its lane begins it, and not its alarm. Its rank is no instant: after
    # the clock went back it may be in the future.
    if instance.lane is not None:
        return instance.rank_ms is not None
    return instance.due_ms is not None and instance.due_ms <= inputs.now_ms


# ---------------------------------------------------------------- finish
def finish(job: AnyDefinition, execute: Execute, exit_: Exit[Any, Any], inputs: TurnInputs) -> Commit | Execute:
    """Decide on a program's exit.

    Args:
        job: the instance's definition.
        execute: the run. Its ``instance`` is the stored one.
        exit_: the program's exit.
        inputs: the clock, the random value and the ids, drawn after the exit.
    """
    # A run that dropped a member of newer code must not be committed, even if its program succeeded.
    left = None
    if execute.draft.left is not None or inputs.others is not NO_OTHERS:
        left = _unread(job, execute, inputs)
    # A kind may decide on any exit itself; a success is the common case of the others.
    step = left or job.exited(execute, exit_, inputs)
    if step is None:
        match exit_:
            case Success(value):
                step = job.succeeded(execute, value, inputs)
            case _:
                step = _failed(job, execute, exit_, inputs)
    if type(step) is Execute:
        return step
    claim, request = execute.claim, execute.request
    if claim.trace is not None or execute.instance.alarm_trace is not None:
        step = _traced(step, execute)
    if step.transition.events or job.plan.accepted_in_events != "nothing":
        step = with_state_of_run(job, execute, with_origin_of_run(_with_event(job, execute, step, inputs), execute))
        step = _with_parking(job, Commit(redacted_events(job, step.transition), step.result), inputs)
    if claim.key is None and request.inbound is None:
        return step
    if claim.key is not None and claim.key != request.idempotency_key:
        # Rebuilt from the claim: after a crash the request of this delivery is `recover`, whose key and message are not
        # the run's.
        request = attrs.evolve(
            request,
            action=claim.action or request.action,
            payload=claim.payload or request.payload,
            idempotency_key=claim.key,
        )
    # A claim was stored under the condition that the key is new, and may have stored the key itself.
    new_keys = None if execute.claimed == "recorded" else condition_of(request)
    if execute.instance.event_claim is not None and type(step.result) is not Success:
        step = _marked(job, step, execute, request, inputs)
    return _concluded(job, step, request, inputs, new_keys)


def _marked(job: AnyDefinition, commit: Commit, execute: Execute, request: Request, inputs: TurnInputs) -> Commit:
    """Note that a keyed event failed and may have had effects: its repeat is the same run's next attempt."""
    # Without a stored claim no effect has begun, so a repeat needs no mark.
    key = request.idempotency_key
    if key is None:
        return commit
    failed = remember_failure(job, key, request, execute.claim.attempt, inputs)
    return Commit(attrs.evolve(commit.transition, remember=(failed,)), commit.result)


def _unread(job: AnyDefinition, execute: Execute, inputs: TurnInputs) -> Commit | None:
    """Leave a run that this code cannot end: it read or wrote newer code's values. None if it can end it.

    A run that has effects keeps its claim, so that the code that reads the instance repeats it, marked. A run that ends
    beside the mailbox may find data that other code has written meanwhile.
    """
    # None = execute.draft.left | The program may have caught the error of the refused state: the draft remembers it, so
    # that the run cannot commit without the member.
    problem: InvalidInput | None = execute.draft.left
    if problem is None and inputs.others and job.occupancy == "claim_only" and execute.claim.cause != "event":
        try:
            job.check_data(execute.instance)
        except InvalidInput as unread:
            problem = unread
    if problem is None:
        return None
    if execute.claimed != "recorded":
        return _left(job, execute.instance, problem, execute.request, inputs)
    # It keeps its claim: effects may have happened, and the other code must repeat the run as a repeat, under the same
    # id.
    return leave(job, execute.instance, problem, inputs, ended=execute.claim.run_id)


def _traced(commit: Commit, execute: Execute) -> Commit:
    traced = with_trace(commit, execute.instance, execute.claim.trace)
    return traced if isinstance(traced, Commit) else commit


def _failed(
    job: AnyDefinition, execute: Execute, exit_: Failure[Any] | Halted | Raised, inputs: TurnInputs
) -> Commit | Execute:
    match exit_:
        case Halted(EndInstance(reason)):
            return _ended(job, execute, reason, inputs)
        case Failure() | Halted() | Raised():
            fail = event_failed if execute.claim.cause == "event" else run_failed
            return fail(job, execute, exit_, inputs)
        case _:
            assert_never(exit_)


def _ended(job: AnyDefinition, execute: Execute, reason: str, inputs: TurnInputs) -> Commit:
    """Purge an instance whose program terminated it. Its messages to other instances are sent."""
    instance = execute.instance
    log = EventRecorder(inputs, instance.address, instance.run_count)
    created_now = execute.claim.cause == "event" and execute.claim.created == "here"
    started = log.optional(JobStarted) if created_now else ()
    events: tuple[Event, ...] = (*started, *log.optional(JobTerminated, reason=reason))
    # The last turn is a turn like any other: the messages that it sent belong to its commit.
    last = job.last_messages(instance, reason, inputs)
    transition = purge(instance, events=events, messages=(*execute.draft.messages, *last))
    if execute.claim.cause == "event":
        return answered(transition, job.ended(execute))
    return answered(transition, run_answer(execute, None, OutcomeRecord(form="terminated", reason=reason)))


def interrupted(job: AnyDefinition, execute: Execute) -> object:
    """Return the caller's result when a terminate interrupts its run."""
    if execute.claim.cause == "event":
        execute.draft.replies = None  # dropped, as its other changes
        return job.ended(execute)
    return run_answer(execute, None, OutcomeRecord(form="terminated", reason="interrupted"))


# ---------------------------------------------------------------- common parts of every commit
def _with_accepted(job: AnyDefinition, step: Step, request: Request, inputs: TurnInputs) -> Step:
    """Record a request with the commit that it causes, or with the claim of its run. An event's handler ends first."""
    match step:
        case Commit(transition, Success()):
            accepted = accepting(job, transition, (request.action, request.payload), inputs.now_ms, inputs)
            return Commit(accepted, step.result)
        case Execute(claiming=Transition() as claiming) if step.claim.cause != "event":
            accepted = accepting(job, claiming, (request.action, request.payload), inputs.now_ms, inputs)
            return attrs.evolve(step, claiming=accepted)
        case _:
            return step


def _with_event(job: AnyDefinition, execute: Execute, step: Commit, inputs: TurnInputs) -> Commit:
    """Record an event that its handler accepted: the claim names it, also in a delivery after a crash."""
    claim = execute.claim
    if job.plan.accepted_in_events == "nothing" or claim.cause != "event" or not isinstance(step.result, Success):
        return step
    given = (claim.action or execute.request.action, claim.payload or "")
    return Commit(accepting(job, step.transition, given, claim.claimed_ms, inputs), step.result)


def _with_parking(job: AnyDefinition, commit: Commit, inputs: TurnInputs) -> Commit:
    """Add the kind's messages about an instance that a commit parks, leaves or resumes.

    An instance that this code cannot read sends none: that must not keep it from being left.
    """
    transition = commit.transition
    event = next((each for each in transition.events if isinstance(each, JobParked | JobLeft | JobResumed)), None)
    # The messages are built from the row as this commit leaves it, in which the suspension is set.
    after = None if event is None else stored(transition)
    if event is None or after is None:
        return commit
    try:
        messages = job.parking_messages(after, event, inputs)
    except InvalidInput:
        return commit
    return Commit(attrs.evolve(transition, messages=(*transition.messages, *messages)), commit.result)


def _concluded(
    job: AnyDefinition, commit: Commit, request: Request, inputs: TurnInputs, new_keys: NewKeys | None
) -> Commit:
    """Store the result under the request's key, and settle the request's message."""
    transition = commit.transition
    # Only results: a stored refusal would answer every repeat for the key's lifetime, also after its cause is fixed.
    match commit.result:
        case Success(answer) if request.idempotency_key is not None:
            digest = job.fingerprint(request.action, request.payload)
            remembered = remember(job, request.idempotency_key, request.action, digest, answer, inputs)
            transition = remembering(transition, remembered, new_keys)
        case _:
            pass
    if request.inbound is not None:
        return _consumed(job, Commit(transition, commit.result), request, request.inbound, inputs)
    return Commit(transition, commit.result)


def _consumed(job: AnyDefinition, commit: Commit, request: Request, inbound: Inbound, inputs: TurnInputs) -> Commit:
    """Consume the message in this commit, unless it must be delivered again."""
    # In the commit of the turn, and so exactly once: a separate commit could be lost after the effect of the message.
    transition = attrs.evolve(commit.transition, inbound=Consumed(inbound.message_id))
    if isinstance(commit.result, Success):
        if request.action[: len(ASK_EVENT)] == ASK_EVENT:
            transition = reply_to(job, transition, request, commit.result, inputs)
        return Commit(transition, commit.result)
    error = commit.result.failure()
    # These may succeed later, with other code or load. A rejection is final and deletes the message.
    if isinstance(error, (HookRaised, RunTimeout, Overloaded, InstanceParked, Undecodable)):
        return commit
    return Commit(rejection(job, transition, error, request, inbound, inputs), commit.result)


def merge_background_run(execute: Execute, loaded: Loaded, others: OtherEngines = NO_OTHERS) -> Execute | Commit:
    """Merge a run that ran beside the mailbox with the instance as it is stored at its end.

    If the instance or the claim no longer exists, or another engine took the claim over, the run changes nothing.
    """
    instance = loaded.instance
    claim = None if instance is None else instance.claim
    # The run is compared, and not only the claim's presence: meanwhile a new run of the instance may have begun, or
    # another engine may have recovered this one.
    same = claim is not None and claim.run_id == execute.claim.run_id and claim.owner not in others
    if instance is not None and same:
        return attrs.evolve(execute, instance=instance)
    return answered(
        nothing(execute.instance.address),
        RunAnswer(found="exists", outcome=OutcomeRecord(form="terminated", reason="gone")),
    )
