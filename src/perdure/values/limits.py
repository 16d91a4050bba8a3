"""Every bound of the engine, with its default."""

from __future__ import annotations

from typing import Literal

import attrs

from perdure.values.errors import DefinitionError

_DAY_MS = 86_400_000


@attrs.frozen(kw_only=True)
class Limits:
    """What the engine takes at most. A full queue answers ``Overloaded``; an oversized value is a typed error.

    Attributes:
        concurrency: runs of user code at the same time, over all jobs.
        mailbox: requests that wait for one instance.
        pending: requests that wait or are being served, in the whole engine.
        when_full: what becomes of a request for which there is no room: ``refuse`` answers ``Overloaded`` at once;
            ``wait`` lets its caller wait for room, about in the order of arrival, and be refused never.
        state_bytes: an encoded state.
        payload_bytes: an encoded event, input or message.
        messages_per_turn: messages that one turn may send.
        keys_per_address: unexpired idempotency keys of one address.
        key_window_ms: how long an idempotency key is remembered.
        history_age_ms: how long events of the log are kept.
        history_events: how many events the log keeps, over all instances.
        message_attempts: deliveries of a message before it becomes a dead letter.
        dead_letter_age_ms: how long a dead letter is kept, from when its message was sent.
        due_batch: due instances read from the store at once.
        drain_ms: how long a graceful shutdown waits for runs before it cancels and releases them.
    """

    concurrency: int = 256
    mailbox: int = 1_000
    pending: int = 10_000
    when_full: Literal["refuse", "wait"] = "refuse"
    state_bytes: int = 1_048_576
    payload_bytes: int = 262_144
    messages_per_turn: int = 1_000
    keys_per_address: int = 10_000
    key_window_ms: int = _DAY_MS
    history_age_ms: int = 7 * _DAY_MS
    history_events: int = 1_000_000
    message_attempts: int = 10
    dead_letter_age_ms: int = 90 * _DAY_MS
    due_batch: int = 64
    drain_ms: int = 30_000

    def __attrs_post_init__(self) -> None:
        for name, value in attrs.asdict(self).items():
            if name == "when_full":
                if value not in ("refuse", "wait"):
                    raise DefinitionError("when_full of the limits", value, "'refuse' or 'wait'")
                continue
            least = 0 if name in MAY_BE_NONE_AT_ALL else 1
            if type(value) is not int or value < least:
                raise DefinitionError(f"{name} of the limits", value, f"a whole number from {least}")


MAY_BE_NONE_AT_ALL = ("messages_per_turn", "history_age_ms", "history_events", "drain_ms")
"""Limits that may be 0: a turn may send nothing, the log may keep nothing, a stop may wait for nobody."""
