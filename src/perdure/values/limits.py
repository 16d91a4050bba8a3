"""Every bound of the engine, with its default."""

from __future__ import annotations

import attrs

_DAY_MS = 86_400_000


@attrs.frozen(kw_only=True)
class Limits:
    """What the engine takes at most. A full queue answers ``Overloaded``; an oversized value is a typed error.

    Attributes:
        concurrency: runs of user code at the same time, over all jobs.
        mailbox: requests that wait for one instance.
        pending: requests that wait in the whole engine.
        state_bytes: an encoded state.
        payload_bytes: an encoded event, input or message.
        messages_per_turn: messages that one turn may send.
        keys_per_address: unexpired idempotency keys of one address.
        key_window_ms: how long an idempotency key is remembered.
        history_age_ms: how long events of the log are kept.
        history_events: how many events the log keeps, over all instances.
        message_attempts: deliveries of a message before it becomes a dead letter.
        due_batch: due instances read from the store at once.
        drain_ms: how long a graceful shutdown waits for runs before it cancels and releases them.
    """

    concurrency: int = 256
    mailbox: int = 1_000
    pending: int = 10_000
    state_bytes: int = 1_048_576
    payload_bytes: int = 262_144
    messages_per_turn: int = 1_000
    keys_per_address: int = 10_000
    key_window_ms: int = _DAY_MS
    history_age_ms: int = 7 * _DAY_MS
    history_events: int = 1_000_000
    message_attempts: int = 10
    due_batch: int = 256
    drain_ms: int = 30_000
