"""Redacts a job's stored data, to show it, and collects a run's secrets, to remove them from its errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
import orjson

from perdure.codecs import Codec
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.display import NOT_FOUND, report_status
from perdure.jobs.request import Request
from perdure.jobs.step import Commit, Execute, Step
from perdure.jobs.transitions import EventRecorder, stored
from perdure.values.errors import InvalidInput
from perdure.values.event import Event, JobAccepted
from perdure.values.instance import Claim, Instance
from perdure.values.message import StoredMessage
from perdure.values.secret import HIDDEN, Hide, hide, texts_of
from perdure.values.status import FailureRecord, InstanceStatus
from perdure.values.transition import Purge, Put, Transition
from perdure.values.turn_inputs import TurnInputs

_HIDDEN_JSON = orjson.dumps(HIDDEN).decode()


# ---------------------------------------------------------------- to show stored data
def redacted_instance(job: AnyDefinition, instance: Instance, *, hide: Hide = hide) -> Instance:
    """Return an instance with the secrets in its states, claims and errors replaced. Show it, and do not store it.

    Args:
        job: its definition.
        instance: the stored instance.
        hide: returns each secret's replacement. By default the text ``<secret>``.
    """
    retry, last_error = instance.pending_retry, instance.last_error
    return _with_own_data(job, _with_states(job, instance, hide), hide).changed(
        claim=_claim(job, instance.claim, hide),
        event_claim=_claim(job, instance.event_claim, hide),
        pending_retry=retry and attrs.evolve(retry, error=redacted_failure(job, retry.error, hide=hide)),
        last_error=last_error and redacted_failure(job, last_error, hide=hide),
    )


def redacted_message(job: AnyDefinition | None, stored: StoredMessage) -> StoredMessage:
    """Return a message with the secrets in its payload and its error replaced.

    Args:
        job: the target's definition. None if the app does not serve it: the payload is hidden completely, and a typed
            error's data is left out.
        stored: the message.
    """
    message, error = stored.message, stored.error
    if job is None:
        payload, error = _HIDDEN_JSON, error and attrs.evolve(error, data=None)
    else:
        payload = redacted_payload(job, message.action, message.payload)
        error = error and redacted_failure(job, error)
    return attrs.evolve(stored, message=attrs.evolve(message, payload=payload), error=error)


def redacted_payload(job: AnyDefinition, action: str, payload: str, *, hide: Hide = hide) -> str:
    """Return a command's input with its secrets replaced.

    Args:
        job: the definition.
        action: the command's name. An unknown command's input is hidden if the job has any secrets.
        payload: the encoded input.
        hide: returns each secret's replacement.
    """
    spec = job.plan.commands.get(action.rpartition(":")[2])  # without the subscription that a message is for
    # Another definition knows which parts are secret, so all of it is hidden.
    if spec is not None and payload and spec.carries == "another_job":
        hide(payload)
        return _HIDDEN_JSON
    # Unknown: the command may be one of newer code, whose secrets this code cannot find.
    if spec is None:
        return _HIDDEN_JSON if payload and has_secrets(job) else payload
    return _redacted(spec.input, payload, hide)


def redacted_failure(job: AnyDefinition, record: FailureRecord, *, hide: Hide = hide) -> FailureRecord:
    """Return a failure with the secrets in the data of its typed error replaced. Its texts never contain them."""
    if record.data is None or job.plan.errors is None:
        return record
    return attrs.evolve(record, data=_redacted(job.plan.errors, record.data, hide))


def redacted_status(job: AnyDefinition | None, status: InstanceStatus) -> InstanceStatus:
    """Return a status with the secrets in its last error replaced.

    Args:
        job: the definition. None if the app does not serve it: a typed error's data is left out.
        status: the status.
    """
    record = status.last_error
    if record is None or record.data is None:
        return status
    shown = attrs.evolve(record, data=None) if job is None else redacted_failure(job, record)
    return status if shown is record else attrs.evolve(status, last_error=shown)


def shown_status(job: AnyDefinition | None, instance: Instance | None) -> InstanceStatus:
    """Return a stored instance's status without secrets, from the data that all kinds have if its own does not decode.

    Args:
        job: its definition. None if the app does not serve it.
        instance: the instance. None if there is none.
    """
    if instance is None:
        return NOT_FOUND
    try:
        report = report_status(instance) if job is None else job.report(instance)
    # Its own data does not decode: the common part of the row still tells the status.
    except InvalidInput:
        report = report_status(instance)
    return redacted_status(job, report)


def redacted_events(job: AnyDefinition, transition: Transition) -> Transition:
    """Return a transition whose events carry no secret: events are written to be shown and exported."""
    # Also without secrets of its own: newer code may have marked a member that this code does not know.
    if not transition.events or not (has_secrets(job) or job.plan.state_in_events):  # which newer code may have written
        return transition
    return attrs.evolve(transition, events=tuple(_event(job, event) for event in transition.events))


def with_shown_events(job: AnyDefinition, step: Step) -> Step:
    """Return a decision whose events carry no secret."""
    match step:
        case Commit():
            transition = redacted_events(job, step.transition)
            return step if transition is step.transition else Commit(transition, step.result)
        case Execute(claiming=Transition() as claiming) if claiming.events:
            return attrs.evolve(step, claiming=redacted_events(job, claiming))
        case _:
            return step


MAX_PAYLOAD_IN_EVENT: Final = 16_384
"""Characters of the longest input that an event carries."""

_OWN_EVENTS: Final = frozenset(("terminate", "pause", "resume"))
"""Commands of all kinds, which have an event with their caller anyway."""


def accepting(
    job: AnyDefinition, transition: Transition, given: tuple[str, str], received_at_ms: int, inputs: TurnInputs
) -> Transition:
    """Return a transition that records the request that it accepts, unless it changes no instance.

    Args:
        job: the definition.
        transition: the commit that accepts it, or that claims its run.
        given: the action and the encoded input.
        received_at_ms: when the engine received it.
        inputs: the clock and the ids.
    """
    action, payload = given
    if not isinstance(transition.write, Put | Purge) or action not in job.plan.commands or action in _OWN_EVENTS:
        return transition
    shown = redacted_payload(job, action, payload) if payload and job.plan.accepted_in_events == "payload" else None
    # Not cut: half of a JSON text cannot be read, and half of a secret could be shown.
    if shown is not None and len(shown) > MAX_PAYLOAD_IN_EVENT:
        shown = None
    after = stored(transition)
    run_count = 0 if after is None else after.run_count
    log = EventRecorder(inputs, transition.address, run_count, used=1 + len(transition.events))
    accepted = log.optional(JobAccepted, action=action, received_at_ms=received_at_ms, payload=shown)
    return attrs.evolve(transition, events=(*transition.events, *accepted))


def has_secrets(job: AnyDefinition) -> bool:
    """Return whether a job type has a marked part."""
    return job.plan.has_secrets


def _event(job: AnyDefinition, event: Event) -> Event:
    error: object = getattr(event, "error", None)
    state: object = getattr(event, "state", None)
    changes: dict[str, Any] = {}  # fields of the event
    if isinstance(error, FailureRecord):
        changes["error"] = redacted_failure(job, error)
    if isinstance(state, str):
        changes["state"] = _redacted(job.plan.state, state, hide)
    return attrs.evolve(event, **changes) if changes else event


def _claim(job: AnyDefinition, claim: Claim | None, hide: Hide) -> Claim | None:
    if claim is None or claim.payload is None or claim.action is None:
        return claim
    return attrs.evolve(claim, payload=redacted_payload(job, claim.action, claim.payload, hide=hide))


def _with_states(job: AnyDefinition, instance: Instance, hide: Hide) -> Instance:
    codec = job.plan.upgrades.codec_of(instance.state_version)
    try:
        return job.map_states(
            instance, lambda encoded: _HIDDEN_JSON if codec is None else _redacted(codec, encoded, hide)
        )
    # Hidden, because a secret in unreadable data cannot be found, and showing it cannot be undone.
    except InvalidInput:  # the kind's own data cannot be decoded
        return instance.changed(state=_HIDDEN_JSON, data=_HIDDEN_JSON)


def _with_own_data(job: AnyDefinition, instance: Instance, hide: Hide) -> Instance:
    try:
        return job.redacted_data(instance, hide)
    except InvalidInput:  # as above
        return instance.changed(data=_HIDDEN_JSON)


def _redacted(codec: Codec[Any] | None, encoded: str, hide: Hide) -> str:
    return codec.redact(encoded.encode(), hide=hide).decode() if codec is not None and encoded else encoded


# ---------------------------------------------------------------- to remove secrets from text
def secrets_of_run(job: AnyDefinition, execute: Execute) -> frozenset[str]:
    """Return the secrets that a run's code had: in its state, its draft and its input."""
    if not has_secrets(job):
        return frozenset()
    # The draft too: an exception may print a secret that the program set just before it failed.
    drafted, codec = execute.draft.encoded, job.plan.state
    return (
        (execute.draft.secrets if drafted is None else codec.secrets(drafted.encode()) | execute.draft.secrets)
        | secrets_of_instance(job, execute.instance)
        | secrets_of_request(job, execute.request)
    )


def secrets_of_request(job: AnyDefinition, request: Request) -> frozenset[str]:
    """Return the secrets in a request's input."""
    return _noted(lambda note: redacted_payload(job, request.action, request.payload, hide=note))


def secrets_of_instance(job: AnyDefinition, instance: Instance | None) -> frozenset[str]:
    """Return an instance's stored secrets."""
    if instance is None:
        return frozenset()
    return _noted(lambda note: redacted_instance(job, instance, hide=note))


def _noted(redact: Callable[[Hide], object]) -> frozenset[str]:
    found = set[str]()

    def note(value: Any) -> str:
        found.update(texts_of(value))
        return HIDDEN

    redact(note)
    return frozenset(found)
