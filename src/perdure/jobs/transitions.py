"""Build transitions and commits, one decision's events, and what every decision records beside its own.

That is the trace context, who caused it, and the state in its events.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeVar

import attrs
from returns.result import Failure, Success

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import Request
from perdure.jobs.step import Commit, Execute, Mark, Step, TurnResult
from perdure.values.address import Address
from perdure.values.errors import HookFailed, RequestError
from perdure.values.event import DebounceFlushed, Event, EventHeader, JobAccepted, JobExecuted, JobStarted
from perdure.values.excerpt import shown_value
from perdure.values.instance import Claim, Instance
from perdure.values.message import Message
from perdure.values.transition import JournalChange, Purge, Put, Transition
from perdure.values.turn_inputs import TurnInputs


def put(
    before: Instance,
    now_ms: int,
    /,
    *,
    events: tuple[Event, ...] = (),
    messages: tuple[Message, ...] = (),
    journal: JournalChange | None = None,
    **changes: Any,  # fields of Instance
) -> Transition:
    """Write an instance with changed fields, the next version, and this instant as ``updated_ms``."""
    if journal is not None:
        earlier = before.journal_length if journal.earlier == "kept" else 0
        changes["journal_length"] = earlier + len(journal.bodies)
    # Only a change of the suspension moves its instant: other commits of a parked instance keep "parked since".
    suspension = changes.get("suspension")
    if suspension is not None and suspension != before.suspension:
        changes["suspended_ms"] = now_ms
    # Each commit raises the version, and `expected` names the one before: this is the only guard against two decisions
    # on the same row.
    after = before.changed(version=before.version + 1, updated_ms=now_ms, **changes)
    return Transition(
        address=before.address,
        expected=before.fence,
        write=Put(after),
        events=events,
        messages=messages,
        journal=journal,
    )


def purge(
    before: Instance,
    *,
    events: tuple[Event, ...] = (),
    messages: tuple[Message, ...] = (),
    own_messages: Literal["dropped", "kept"] = "dropped",
) -> Transition:
    """Delete the instance, and its messages to itself unless they are kept.

    An instance that was never stored has nothing to delete: only its messages and events are written.
    """
    # A message to itself would create the instance again, right after its end.
    if own_messages == "dropped":
        messages = tuple(message for message in messages if message.target != before.address)
    if before.fence is None:
        return Transition(address=before.address, events=events, messages=messages)
    return Transition(
        address=before.address, expected=before.fence, write=Purge(own_messages), events=events, messages=messages
    )


def nothing(address: Address) -> Transition:
    """Change nothing."""
    return Transition(address=address)


def reply(address: Address, answer: object) -> Commit:
    """Return a result, and change nothing."""
    return Commit(nothing(address), Success(answer))


def refuse(address: Address, error: RequestError | HookFailed) -> Commit:
    """Return an error, and change nothing."""
    return Commit(nothing(address), Failure(error))


def answered(transition: Transition, answer: object) -> Commit:
    """Commit, then return a result."""
    return Commit(transition, Success(answer))


def stored(transition: Transition) -> Instance | None:
    """Return the instance as the transition leaves it. None if it is purged or unchanged."""
    return transition.write.instance if isinstance(transition.write, Put) else None


def failed(transition: Transition, error: RequestError | HookFailed) -> Commit:
    """Commit, then return an error."""
    result: TurnResult = Failure(error)
    return Commit(transition, result)


V = TypeVar("V", bound=EventHeader)


@attrs.define
class EventRecorder:
    """Creates one address's events, each with the next id.

    Attributes:
        inputs: the clock and the ids.
        used: how many ids the decision has used.
    """

    inputs: TurnInputs
    address: Address
    run_count: int
    used: int = 1  # offset 0 is the id of a run that begins in the same decision

    def optional(self, event_class: type[V], /, **fields: Any) -> tuple[V, ...]:  # the fields of the event class
        """Create the next event, unless the log keeps none and no sink listens."""
        return (self.add(event_class, **fields),) if self.inputs.wants_events else ()

    def add(self, event_class: type[V], /, **fields: Any) -> V:  # the fields of the event class
        """Create the next event."""
        event = event_class(
            event_id=self.inputs.id(self.used),
            at_ms=self.inputs.now_ms,
            address=str(self.address),
            run_count=self.run_count,
            **fields,
        )
        self.used += 1
        return event


# ---------------------------------------------------------------- one commit accepts a job and claims its run
def accepted_instance(commit: Commit, now_ms: int) -> Instance | None:
    """Return the instance that a commit writes, if its alarm is due now and nothing in it is in progress."""
    write = commit.transition.write
    if type(write) is not Put:
        return None
    instance = write.instance
    due_ms = instance.due_ms
    # A run that is claimed with its acceptance begins now: one that is due later would begin early.
    if due_ms is None or due_ms > now_ms or instance.pending_retry is not None:
        return None
    return instance if instance.claim is None and instance.event_claim is None else None


def as_found(instance: Instance) -> Instance:
    """Return an instance as its alarm would find it in the store, which numbers new ones."""
    # The store sets the number when it inserts the row, after this decision.
    return instance if instance.incarnation else instance.changed(incarnation=1)


def with_claim(commit: Commit, run: Execute) -> Transition | None:
    """Return one transition that accepts a job and claims its run. None if that needs two transitions.

    It is the acceptance, over the same row and with its key, messages, journal and message fate. But it writes the
    claimed instance, whose version counts one commit, and logs both transitions' events.

    Args:
        commit: writes the accepted instance.
        run: the decision about its alarm.
    """
    accepted, claiming = commit.transition.write, run.claiming
    if claiming is None or not isinstance(accepted, Put) or not isinstance(claiming.write, Put):
        return None
    # Anything else that the claim would write has no place in the acceptance, and would be lost.
    if run.claimed != "before_run" or claiming.messages or claiming.remember or claiming.inbound or claiming.journal:
        return None
    before = accepted.instance
    # One commit is one version: a second one would fail the next commit, which expects the version that the store
    # wrote.
    claimed = claiming.write.instance.changed(incarnation=before.incarnation, version=before.version)
    return attrs.evolve(commit.transition, write=Put(claimed), events=commit.transition.events + claiming.events)


def with_trace(step: Step, before: Instance | None, trace: str | None) -> Step:
    """Return a decision whose writes carry its turn's trace context.

    Args:
        step: the decision.
        before: the stored instance. None if there is none.
        trace: the context. None if the turn is not traced.
    """
    match step:
        case Commit():
            transition = _transition(step.transition, before, trace)
            return step if transition is step.transition else Commit(transition, step.result)
        case Execute():
            claim = step.claim if trace is None else attrs.evolve(step.claim, trace=trace)
            claiming = step.claiming and _claiming(_transition(step.claiming, before, trace), claim)
            return attrs.evolve(step, claim=claim, claiming=claiming)
        case Mark():
            claim = step.claim if trace is None else attrs.evolve(step.claim, trace=trace)
            transition = _claiming(_transition(step.transition, before, trace), claim)
            return attrs.evolve(step, claim=claim, transition=transition)
        case _:
            return step


def _claiming(transition: Transition, claim: Claim) -> Transition:
    """Return the transition that records a claim, with the claim that has the trace context."""
    if not isinstance(transition.write, Put):
        return transition
    instance = transition.write.instance
    field = "claim" if instance.claim is not None and instance.claim.run_id == claim.run_id else "event_claim"
    return attrs.evolve(transition, write=Put(instance.changed(**{field: claim})))


def _transition(transition: Transition, before: Instance | None, trace: str | None) -> Transition:
    changes: dict[str, Any] = {}  # fields of Transition
    if trace is not None and transition.messages:
        changes["messages"] = tuple(attrs.evolve(message, trace=trace) for message in transition.messages)
    if isinstance(transition.write, Put):
        fields = _fields(transition.write.instance, before, trace)
        if fields:
            changes["write"] = Put(transition.write.instance.changed(**fields))
    return attrs.evolve(transition, **changes) if changes else transition


def _fields(after: Instance, before: Instance | None, trace: str | None) -> dict[str, Any]:
    """Return an instance's changed fields. An alarm or a retry that the turn did not set keeps its context."""
    fields: dict[str, Any] = {}
    if after.alarm_ms is None:
        alarm_trace = None
    # An alarm that this turn did not set belongs to the trace that set it.
    elif before is not None and before.alarm_ms == after.alarm_ms:
        alarm_trace = before.alarm_trace
    else:
        alarm_trace = trace
    if after.alarm_trace != alarm_trace:
        fields["alarm_trace"] = alarm_trace
    retry = after.pending_retry
    is_new = retry is not None and (before is None or retry is not before.pending_retry)
    if retry is not None and is_new and retry.trace is None and trace is not None:
        fields["pending_retry"] = attrs.evolve(retry, trace=trace)
    return fields


MAX_TOLD: Final = 20
"""The number of receivers that an event names."""


def with_origin(step: Step, request: Request) -> Step:
    """Return a decision whose events name its request's origin."""
    told_by = None if request.inbound is None else str(request.inbound.sender)
    if request.by is None and told_by is None:
        return step
    match step:
        case Commit():
            return Commit(_named(step.transition, request.by, told_by), step.result)
        case Execute(claiming=Transition() as claiming):
            return attrs.evolve(step, claiming=_named(claiming, request.by, told_by))
        case _:
            return step


def with_origin_of_run(commit: Commit, execute: Execute) -> Commit:
    """Return a run's end, with events that name its origin and its messages' receivers.

    Args:
        commit: the decision about its end.
        execute: the run. Its claim names the origin, so that a delivery after a crash has it too.
    """
    claim, messages = execute.claim, commit.transition.messages
    if claim.by is None and claim.message_sender is None and not messages:
        return commit
    return Commit(_named(commit.transition, claim.by, claim.message_sender, messages), commit.result)


def _named(
    transition: Transition, by: str | None, told_by: str | None, messages: tuple[Message, ...] = ()
) -> Transition:
    if not transition.events:
        return transition
    # `dict.fromkeys` keeps the order of sending; a set would make the event differ between two runs of a simulation.
    told = tuple(dict.fromkeys(str(message.target) for message in messages))[:MAX_TOLD]
    return attrs.evolve(transition, events=tuple(_event(event, by, told_by, told) for event in transition.events))


def _event(event: Event, by: str | None, told_by: str | None, told: tuple[str, ...]) -> Event:
    changes: dict[str, Any] = {"by": by}  # fields of the event
    if isinstance(event, JobStarted | JobExecuted | JobAccepted):
        changes["told_by"] = told_by
    if isinstance(event, JobExecuted):
        changes["told"] = told
    return attrs.evolve(event, **changes)


WITH_STATE: Final = (JobStarted, JobExecuted, DebounceFlushed)
"""The events that can carry a state."""


def with_state(job: AnyDefinition, step: Step) -> Step:
    """Add the state that a decided request leaves to its events.

    Args:
        job: the instance's definition.
        step: the decision. A run's claim is written with the state at the run's start.
    """
    if not job.plan.state_in_events:
        return step
    match step:
        case Commit():
            return Commit(_with_state(step.transition, _state_after(step.transition)), step.result)
        case Execute(claiming=Transition() as claiming):
            return attrs.evolve(step, claiming=_with_state(claiming, _state_after(claiming)))
        case _:
            return step


def with_state_of_run(job: AnyDefinition, execute: Execute, commit: Commit) -> Commit:
    """Add a state to a settled run's events: the committed one, or the state at its start if it set none.

    Args:
        job: the instance's definition.
        execute: the run.
        commit: the decision about its end.
    """
    if not job.plan.state_in_events:
        return commit
    drafted, committed = execute.draft.encoded, _state_after(commit.transition)
    began_with = job.state_of_run(execute.instance, execute.claim)
    # A draft that was not committed, such as that of a failed run, must not appear in the log.
    state = committed if drafted is not None and drafted == committed else began_with
    return Commit(_with_state(commit.transition, state), commit.result)


def _state_after(transition: Transition) -> str:
    after = stored(transition)
    return "" if after is None else after.state


def _with_state(transition: Transition, state: str) -> Transition:
    if not state or not any(isinstance(event, WITH_STATE) for event in transition.events):
        return transition
    return attrs.evolve(transition, events=tuple(_carrying(event, state) for event in transition.events))


def _carrying(event: Event, state: str) -> Event:
    return attrs.evolve(event, state=shown_value(state)) if isinstance(event, WITH_STATE) else event
