"""Messages between jobs: written with the turn that sends them, consumed by the commit of the turn that takes them."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from perdure.values.address import Address
from perdure.values.excerpt import fields_in_line
from perdure.values.failure import FailureRecord


@attrs.frozen(kw_only=True)
class Message:
    """A request from one instance to another.

    Attributes:
        sender: the instance whose turn sent it.
        target: the instance it is for.
        action: the command of the target's kind, by name.
        payload: the command's input as JSON; empty when it takes none.
        sent_ms: when its turn committed.
    """

    __repr__ = fields_in_line

    sender: Address
    target: Address
    action: str
    payload: str
    sent_ms: int


@attrs.frozen(kw_only=True)
class StoredMessage:
    """A message as the store keeps it until it is consumed.

    Attributes:
        message_id: the store's sequence number; the order of one (sender, target) pair.
        message: what was sent.
        attempts: deliveries that ended in a defect or an overload.
        not_before_ms: when it may be delivered next.
        error: why the last delivery did not succeed.
    """

    __repr__ = fields_in_line

    message_id: int
    message: Message
    attempts: int = 0
    not_before_ms: int = 0
    error: FailureRecord | None = None


@attrs.frozen
class Consumed:
    """The message was taken: the commit deletes it."""

    message_id: int


@attrs.frozen(kw_only=True)
class Postponed:
    """The message could not be taken now: it, and what follows it from the same sender, waits."""

    __repr__ = fields_in_line

    message_id: int
    attempts: int
    not_before_ms: int
    error: FailureRecord | None


@attrs.frozen(kw_only=True)
class DeadLettered:
    """The message failed too often: it is kept aside, and what follows it goes on."""

    __repr__ = fields_in_line

    message_id: int
    attempts: int
    error: FailureRecord


MessageFate: TypeAlias = Consumed | Postponed | DeadLettered
