"""What one turn changes, as a value: written whole, or not at all."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from perdure.values.address import Address
from perdure.values.event import Event
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Fence, Instance
from perdure.values.message import Message, MessageFate
from perdure.values.turn_value import turn_value


@turn_value
class Put:
    """Write this instance. Its version is one more than the one expected."""

    __repr__ = fields_in_line

    instance: Instance


@attrs.frozen
class Purge:
    """Delete the instance. Its idempotency keys and its history stay.

    Attributes:
        own_messages: what becomes of the messages it sent to itself, those of this turn included: a termination drops
            them; an instance that is merely used up leaves them to its successor.
    """

    own_messages: Literal["dropped", "kept"] = "dropped"


@attrs.frozen
class KeepInstance:
    """Leave the instance as it is; the fence is not looked at."""


Write: TypeAlias = Put | Purge | KeepInstance


@attrs.frozen(kw_only=True)
class Remembered:
    """An idempotency key with the answer to replay.

    Attributes:
        key: what the caller chose.
        action: the command it was used for.
        fingerprint: of action and payload, so that a reuse with another request is noticed.
        answer: the encoded answer.
        expires_ms: until when repeats get this answer.
    """

    __repr__ = fields_in_line

    key: str
    action: str
    fingerprint: str
    answer: str
    expires_ms: int


@turn_value(kw_only=True)
class Transition:
    """Everything that one turn leaves, committed atomically.

    Attributes:
        address: whose turn it was.
        expected: the fence that must still hold for ``Put`` and ``Purge``; None: nothing may be stored there.
        write: what happens to the instance.
        remember: the idempotency key to remember, replacing what the same key had.
        messages: messages out, in order.
        inbound: what becomes of the message that this turn was delivered.
        events: what goes into the log, in order.
    """

    __repr__ = fields_in_line

    address: Address
    expected: Fence | None = None
    write: Write = KeepInstance()
    remember: Remembered | None = None
    messages: tuple[Message, ...] = ()
    inbound: MessageFate | None = None
    events: tuple[Event, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return (
            type(self.write) is KeepInstance
            and self.remember is None
            and self.inbound is None
            and not self.messages
            and not self.events
        )


@turn_value(kw_only=True)
class Loaded:
    """What a store knows of an address, read at one moment.

    Attributes:
        instance: what is stored, or None.
        remembered: the answer kept for the idempotency key that was asked for, unless it expired.
        keys_held: how many unexpired keys the address holds; counted only when a key was asked for.
    """

    __repr__ = fields_in_line

    instance: Instance | None = None
    remembered: Remembered | None = None
    keys_held: int = 0
