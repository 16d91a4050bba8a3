"""Reads messages, decides the outcome for one that its target did not consume, and records dead letter events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import attrs
import orjson
from returns.result import Failure

from perdure._lazy import lazy_module
from perdure.codecs import NewerOnly
from perdure.jobs.hooks import record_failure
from perdure.jobs.parts import NamedValue, value_named_in
from perdure.jobs.redaction import redacted_failure, secrets_of_request
from perdure.jobs.request import Inbound, Request
from perdure.jobs.step import Commit, TurnResult
from perdure.jobs.transitions import EventRecorder, answered, nothing, put
from perdure.programs import Raised
from perdure.values.address import Address
from perdure.values.errors import HookRaised, InstanceParked, PerdureError, SignalRefused
from perdure.values.event import MessageDeadLettered, MessageRedriven, MessageRejected
from perdure.values.instance import MAX_CODES, Instance
from perdure.values.message import DeadLettered, Message, MessageFate, Postponed, StoredMessage
from perdure.values.retry import Backoff
from perdure.values.status import FailureRecord
from perdure.values.transition import Purge, Transition
from perdure.values.turn_inputs import TurnInputs

if TYPE_CHECKING:
    from perdure.codecs import unknown_members
    from perdure.codecs.unknown_members import ValueRest
    from perdure.jobs.definition import AnyDefinition
else:
    unknown_members = lazy_module("perdure.codecs.unknown_members")  # for values of newer code only

SUBSCRIBED: Final = "subscribed:"
"""Begins the action when a message is for a subscriber. Code that does not know it leaves the message to other code."""


def subscribed_action(subscription: int, action: str) -> str:
    """Return the action for a subscriber's message: no instance is created for it.

    >>> plain_action(subscribed_action(7, "signal.prices"))
    ('signal.prices', 7)
    """
    return f"{SUBSCRIBED}{subscription}:{action}"


def plain_action(action: str) -> tuple[str, int | None]:
    """Return a message's command, and the subscription that it was sent for, if any."""
    subscription, colon, command = action.removeprefix(SUBSCRIBED).partition(":")
    if colon and action.startswith(SUBSCRIBED) and subscription.isdecimal():
        return command, int(subscription)
    return action, None


def subscriber_gone(address: Address, inbound: Inbound, now_ms: int) -> tuple[Message, ...]:
    """Return the message that ends the subscription for which one was sent, if any."""
    if inbound.subscription is None:
        return ()
    payload = orjson.dumps({"renewed": inbound.subscription}).decode()
    return (Message(sender=address, target=inbound.sender, action="unsubscribe", payload=payload, sent_ms=now_ms),)


ASK_EVENT: Final = "ask_send."
"""Begins the action with which a workflow sends an event and waits for the reply of this name."""


def reply_to(
    job: AnyDefinition, transition: Transition, request: Request, result: TurnResult, inputs: TurnInputs
) -> Transition:
    """Add the message to a workflow that waits for the result, in the commit that consumes the workflow's message."""
    messages = job.replied(transition.address, request, result, inputs.now_ms)
    return attrs.evolve(transition, messages=(*transition.messages, *messages))


def rejection(
    job: AnyDefinition, transition: Transition, error: object, request: Request, inbound: Inbound, inputs: TurnInputs
) -> Transition:
    """Return a refused message's transition, which notes the refusal in the sender's history.

    Args:
        job: the target's definition.
        transition: consumes the message.
        error: why it is refused.
        request: the request that it was.
        inbound: the message.
        inputs: the clock and the ids.
    """
    if request.action.startswith(ASK_EVENT):  # the sender has the error as its reply
        return reply_to(job, transition, request, Failure(cast("Any", error)), inputs)
    # One decision draws one id and counts up. Without the offset this event would have the id of another one.
    log = EventRecorder(inputs, inbound.sender, 0, used=1 + len(transition.events))
    secrets = secrets_of_request(job, request)
    refusal = record_failure(Failure(getattr(error, "error", error)), job.plan.errors, secrets=secrets)
    event = log.add(
        MessageRejected,
        target=str(transition.address),
        action=request.action,
        error=redacted_failure(job, refusal),
    )
    gone = subscriber_gone(transition.address, inbound, inputs.now_ms) if isinstance(error, SignalRefused) else ()
    return attrs.evolve(transition, events=(*transition.events, event), messages=(*transition.messages, *gone))


def without_subscriber(address: Address, inbound: Inbound, inputs: TurnInputs) -> Commit:
    """Consume a subscriber's message without an instance: none begins for it."""
    messages = subscriber_gone(address, inbound, inputs.now_ms)
    return answered(attrs.evolve(nothing(address), messages=messages), None)


MESSAGE_BACKOFF = Backoff.exponential("1 second", max="5 minutes")
HELD_MS = 60_000
"""How often a message to an instance that is parked or left is delivered again, in case its resumption was missed."""


def value_named(job: AnyDefinition, action: str, payload: str) -> NamedValue | None:
    """Return the value in parts that a message names. None if it names none, or this kind has no such command."""
    spec = job.plan.commands.get(plain_action(action)[0] if ":" in action else action)
    return None if spec is None or spec.carries != "another_job" else value_named_in(payload)


def received(job: AnyDefinition, action: str, payload: str) -> Request:
    """Build a request from a message. The part that the instance stores may have members that this code does not know.

    Raises:
        UnknownAction: this kind has no such command.
        NewerOnly: this code does not know a part of the input, which the instance would not store.
        InvalidInput: the payload is not a valid input for the command.
    """
    if ":" in action:
        action = plain_action(action)[0]
    try:
        return job.parse(action, payload)
    except NewerOnly:
        spec = job.spec(action)
        if spec.input is None or spec.stored is None:
            raise
        opened = spec.input.open(payload.encode())
        # Anything else that is unknown would be lost: no row keeps it.
        if opened.rest is None or not _is_in(spec.stored, opened.rest):
            raise
    carried = unknown_members.CarriedMembers()
    carried.note(opened.value, opened.rest)
    written = spec.input.carry(spec.input.encode(opened.value), opened.value, carried).decode()
    return Request(command=spec.command(opened.value), action=action, payload=written, carried=carried)


def _is_in(stored: tuple[str, ...], rest: ValueRest) -> bool:
    """Return whether everything unknown is in fields of the input that are stored, or the complete input is."""
    return not stored or (not rest.unknown and all(place in stored for place in rest.parts))


def left_message(stored: StoredMessage, error: BaseException, code: str, inputs: TurnInputs) -> Transition:
    """Return the transition that leaves a message to other code, because this code cannot read it, or its target.

    It had the right type when it was sent, so other code can read it: engines with other code deliver it immediately.
    This one looks again later.

    Args:
        stored: the message.
        error: why this code cannot read it.
        code: this code's fingerprint.
        inputs: the clock and the ids.
    """
    fate = Postponed(
        message_id=stored.message_id,
        deliveries=stored.deliveries,
        not_before_ms=inputs.now_ms + HELD_MS,
        error=_record(error),
        # The codes that cannot read it: engines of other code deliver it without waiting.
        codes=(*(one for one in stored.codes if one != code), code)[-MAX_CODES:],
    )
    return _settled(stored, fate, inputs)


def postponement(stored: StoredMessage, error: PerdureError, inputs: TurnInputs) -> Transition:
    """Return the transition that postpones a message.

    Messages to a parked instance wait without limit. After a defect or an overload the message is retried with backoff,
    and becomes a dead letter after ``message_deliveries`` deliveries, and after as many more when it is redriven.
    """
    return _settled(stored, _fate(stored, error, inputs), inputs)


def unclaimed(transition: Transition, target: Instance | None, now_ms: int) -> Transition | None:
    """Return a dead letter on a shared store: it is written only if its target has not changed.

    After it, a run that handles the message could never commit its end.

    Returns:
        The transition. None if the target has a claim for the message.
    """
    if target is None:
        return attrs.evolve(transition, write=Purge(own_messages="kept"))
    fate = transition.inbound
    claims = (target.claim, target.event_claim)
    # Another engine handles it now. Its commit would find the message gone, and its effects would have no end.
    if fate is not None and any(claim.message_id == fate.message_id for claim in claims if claim is not None):
        return None
    # An unchanged row with the next version: a claim that is written meanwhile fails on the version, or fails this.
    unchanged = put(target, now_ms)
    return attrs.evolve(transition, write=unchanged.write, expected=unchanged.expected)


def buried(stored: StoredMessage, error: FailureRecord, by: str | None, inputs: TurnInputs) -> Transition:
    """Return the transition that makes a message a dead letter, because an operator decided that no code will read it.

    Args:
        stored: the message, which code left.
        error: why code left it.
        by: the caller. None for one in this process.
        inputs: the clock and the ids.
    """
    fate = DeadLettered(message_id=stored.message_id, deliveries=stored.deliveries, error=error)
    transition = _settled(stored, fate, inputs)
    # The log names the operator who gave the message up.
    return attrs.evolve(transition, events=tuple(attrs.evolve(event, by=by) for event in transition.events))


def redriven(stored: StoredMessage, by: str | None, inputs: TurnInputs) -> MessageRedriven:
    """Return the event for a dead letter that becomes a message again.

    Args:
        stored: the dead letter.
        by: the caller. None for one in this process.
        inputs: the clock and the ids.
    """
    message = stored.message
    log = EventRecorder(inputs, message.target, 0)
    event = log.add(MessageRedriven, message_id=stored.message_id, sender=str(message.sender), action=message.action)
    return event if by is None else attrs.evolve(event, by=by)


def _settled(stored: StoredMessage, fate: MessageFate, inputs: TurnInputs) -> Transition:
    message = stored.message
    transition = attrs.evolve(nothing(message.target), inbound=fate)
    if not isinstance(fate, DeadLettered):
        return transition
    event = EventRecorder(inputs, message.target, 0).add(
        MessageDeadLettered,
        message_id=stored.message_id,
        sender=str(message.sender),
        action=message.action,
        deliveries=fate.deliveries,
        error=fate.error,
    )
    return attrs.evolve(transition, events=(event,))


def _fate(stored: StoredMessage, error: PerdureError, inputs: TurnInputs) -> MessageFate:
    record = _record(error)
    # Not counted: the message is fine, and waits until an operator resumes its target.
    if isinstance(error, InstanceParked):
        return Postponed(
            message_id=stored.message_id,
            deliveries=stored.deliveries,
            not_before_ms=inputs.now_ms + HELD_MS,
            error=record,
        )
    deliveries, most = stored.deliveries + 1, inputs.limits.message_deliveries
    # Modulo, because a dead letter that is redriven keeps its count and gets as many again.
    if deliveries % most == 0:
        return DeadLettered(message_id=stored.message_id, deliveries=deliveries, error=record)
    return Postponed(
        message_id=stored.message_id,
        deliveries=deliveries,
        not_before_ms=inputs.now_ms + MESSAGE_BACKOFF.delay_ms(deliveries % most),
        error=record,
    )


def _record(error: BaseException) -> FailureRecord:
    if isinstance(error, HookRaised):
        return FailureRecord(
            form="defect", error_type=error.error_type, message=error.message, traceback=error.traceback
        )
    return record_failure(Raised(error), None)
