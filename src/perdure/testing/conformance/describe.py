"""Describe operations and their results in a few words, for failure reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never, cast

import attrs
from returns.result import Failure, Result

from perdure.stores.values import LoggedEvent, Query, Retention
from perdure.values.address import Address
from perdure.values.event import JobStarted
from perdure.values.instance import Fence, Instance
from perdure.values.message import Consumed, DeadLettered, Kept, MessageFate, Postponed, StoredMessage
from perdure.values.transition import KeepInstance, Loaded, Purge, Put, Remembered, Transition, Write

_ALWAYS = {"address", "version", "incarnation", "created_ms", "updated_ms"}


def asked(operation: str, *arguments: object) -> str:
    """Describe a call."""
    match arguments:
        case (Transition() as transition,):
            return f"{operation} {told(transition)}"
        case _:
            given = ", ".join(shown(one) for one in arguments if one is not None)
            return f"{operation}({given})"


def told(transition: Transition) -> str:
    """Describe a transition."""
    parts = [_written(transition.write, transition.expected)]
    if transition.inbound is not None:
        parts.append(_fate(transition.inbound))
    if transition.remember is not None:
        parts.append(f"remember {shown(transition.remember)}")
    if transition.messages:
        parts.append("send " + ", ".join(f"{one.sender.id} -> {one.target.id}" for one in transition.messages))
    if transition.events:
        parts.append("log " + ", ".join(f"{one.address.partition(':')[2]} @{one.at_ms}" for one in transition.events))
    if transition.journal is not None:
        cut = "cut the journal, " if transition.journal.earlier == "cut" else ""
        parts.append(f"{cut}append {list(transition.journal.bodies)}")
    return f"{transition.address}: " + "; ".join(parts)


def shown(value: object) -> str:
    """Describe a value, without fields that hold their default."""
    match value:
        case Result():
            return outcome(cast("Result[object, object]", value))
        case tuple() | list():
            return "[" + ", ".join(shown(one) for one in cast("Sequence[object]", value)) + "]"
        case _:
            return _record(value)


def _record(value: object) -> str:
    match value:
        case Instance():
            return _instance(value)
        case Address():
            return str(value)
        case Fence(incarnation, version):
            return f"Fence({incarnation}, {version})"
        case LoggedEvent(sequence=sequence, event=event):
            return f"#{sequence} {shown(event)}"
        case _:
            return _stored(value)


def _stored(value: object) -> str:
    match value:
        case Loaded(instance=instance, remembered=remembered, keys_held=keys_held):
            return f"Loaded({shown(instance)}, {shown(remembered)}, keys_held={keys_held})"
        case Remembered(key=key, answer=given, expires_ms=expires_ms, failures=failures):
            return f"{key}={given} until {expires_ms}" + (f" after {failures} failures" if failures else "")
        case StoredMessage():
            return _message(value)
        case JobStarted():  # the only event that the cases look into
            return f"{value.address.partition(':')[2]} @{value.at_ms}"
        case Query() | Retention():
            return ", ".join(_set_fields(value))
        case _:
            return repr(value)


def _message(stored: StoredMessage) -> str:
    message = stored.message
    parts = [f"#{stored.message_id} {message.sender.id} -> {message.target.id} {message.payload}"]
    parts += [f"from {stored.not_before_ms} on"] if stored.not_before_ms else []
    parts += [f"after {stored.attempts} attempts"] if stored.attempts else []
    parts += [f"failed with {stored.error.error_type}"] if stored.error is not None else []
    return " ".join(parts)


def _instance(instance: Instance) -> str:
    fields = [one for one in _set_fields(instance) if one.partition("=")[0] not in _ALWAYS]
    return f"{instance.address} v{instance.version}" + (f" ({', '.join(fields)})" if fields else "")


def _set_fields(value: object) -> list[str]:
    """Return the fields that do not hold their default."""
    found: list[str] = []
    for field in attrs.fields(type(value)):  # type: ignore[arg-type] # called with attrs classes only
        held: object = getattr(value, field.name)
        if held == field.default:
            continue
        is_record = not isinstance(held, str | int | Address)
        found.append(field.name if is_record else f"{field.name}={held}")
    return found


def _written(write: Write, expected: Fence | None) -> str:
    over = "nothing" if expected is None else shown(expected)
    match write:
        case Put(instance):
            fields = [one for one in _set_fields(instance) if one.partition("=")[0] not in _ALWAYS]
            return f"put {', '.join(fields) or 'an instance'} over {over}"
        case Purge(own_messages):
            return f"purge over {over}" + ("" if own_messages == "dropped" else ", keeping its messages to itself")
        case KeepInstance():
            return "keep"
        case _:
            assert_never(write)


def _fate(fate: MessageFate) -> str:
    match fate:
        case Consumed(message_id):
            return f"consume message #{message_id}"
        case Postponed(message_id=message_id, not_before_ms=not_before_ms):
            return f"postpone message #{message_id} until {not_before_ms}"
        case DeadLettered(message_id=message_id):
            return f"dead-letter message #{message_id}"
        case Kept(message_id):
            return f"keep message #{message_id}"
        case _:
            assert_never(fate)


def outcome(result: Result[Any, Any] | None) -> str:
    """Describe the result of an operation; None when there is none."""
    match result:
        case None:
            return "not answered"
        case Failure(error):
            return f"{type(error).__name__}: {error}"
        case _:
            return shown(result.unwrap())
