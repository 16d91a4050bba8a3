"""Messages between jobs: stored by the turn that sends them, deleted by the turn that handles them."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from perdure.values.address import Address
from perdure.values.excerpt import fields_in_line, size_only
from perdure.values.status import FailureRecord


@attrs.frozen(kw_only=True)
class Message:
    """A request from one instance to another.

    Attributes:
        sender: the instance whose turn sent it.
        target: the instance that receives it.
        action: a command name that the target's kind has.
        payload: the command's input as JSON. Empty when it has none.
        sent_ms: when the sender's turn committed.
        trace: that turn's trace context. None if it was not traced.
    """

    __repr__ = fields_in_line

    sender: Address
    target: Address
    action: str
    payload: str = attrs.field(repr=size_only)
    sent_ms: int
    trace: str | None = None


@attrs.frozen(kw_only=True)
class StoredMessage:
    """A message as the store keeps it until it is consumed.

    Attributes:
        message_id: the store's sequence number. It orders one (sender, target) pair.
        deliveries: those that ended in a defect or an overload.
        not_before_ms: the next delivery's earliest time.
        error: why the last delivery did not succeed.
        codes: the code versions that could not read it, or its target, and left it to others. See `Left`.
    """

    __repr__ = fields_in_line

    message_id: int
    message: Message
    deliveries: int = 0
    not_before_ms: int = 0
    error: FailureRecord | None = None
    codes: tuple[str, ...] = ()


@attrs.frozen
class Consumed:
    """The message was handled: the commit deletes it."""

    message_id: int


@attrs.frozen(kw_only=True)
class Postponed:
    """The message could not be handled now: it waits, and so do later messages from the same sender.

    Engines whose code is not in ``codes`` deliver it immediately.
    """

    __repr__ = fields_in_line

    message_id: int
    deliveries: int
    not_before_ms: int
    error: FailureRecord | None
    codes: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class DeadLettered:
    """The message failed too often: it is stored as a dead letter, and later messages from the same sender continue."""

    __repr__ = fields_in_line

    message_id: int
    deliveries: int
    error: FailureRecord


@attrs.frozen
class Kept:
    """The message must be living, and stays: a later commit decides on it.

    On a shared store the claim of the run that handles the message carries this fate, because another engine may have
    consumed the message since it was read.
    """

    message_id: int


MessageFate: TypeAlias = Consumed | Postponed | DeadLettered | Kept
