"""Every engine limit, with its default."""

from __future__ import annotations

from typing import Any, Literal, get_args

import attrs

from perdure.values.errors import DefinitionError
from perdure.values.frozen import frozen
from perdure.values.times import Duration, duration_ms, format_duration

OnFull = Literal["reject", "block"]


def _normal(value: Duration, field: attrs.Attribute[Any]) -> str:
    """Format a duration in its shortest form, so that equal limits compare equal."""
    return format_duration(_checked_ms(value, field.name))


def _checked_ms(value: Duration, name: str) -> int:
    return duration_ms(value, what=f"{name} of the limits", minimum_ms=0 if name in MAY_BE_ZERO else 1)


def _duration(default: str) -> str:
    return attrs.field(default=default, converter=attrs.Converter(_normal, takes_field=True))


def _ms_of(name: str) -> int:
    def computed(limits: Limits) -> int:
        return _checked_ms(getattr(limits, name), name)

    return attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(computed, takes_self=True))


@frozen(kw_only=True)
class Limits:
    """The engine's limits, and the answer beyond each. A request that is refused changes nothing.

    Durations are a ``timedelta`` or text such as ``"30 seconds"``.

    Attributes:
        concurrency: user code runs at the same time, over all jobs. Further ones wait. A slot goes to the job with the
            fewest, and each job without a run has one kept, up to a quarter of the slots.
        mailbox_size: requests that wait for one instance, beside the one in progress. Beyond, see ``on_full``.
        max_pending: requests that wait or are being handled, in the whole engine: it also bounds its writes. Beyond,
            see ``on_full``. Besides, so many alarms of one job may wait or run. Further ones wait in the store.
        waits: callers that wait for an instance's status (``Client.until``). A further one fails with ``Overloaded``.
        on_full: how a full queue answers a request. With ``reject`` the request fails with ``Overloaded`` immediately.
            With ``block`` its caller waits for a slot, about in arrival order.
        state_bytes: the largest encoded state, item or item result. A larger one is a defect in the run that set it. In
            a ``start`` or a ``put``, ``InvalidInput``. A larger child state is a defect in the workflow that calls the
            child.
        payload_bytes: the largest encoded event, input, message or workflow step outcome. A larger one is
            ``InvalidInput``. In a program, a defect.
        messages_per_turn: messages that one turn may send. More are a defect in the run.
        keys_per_address: idempotency keys for one address. A further keyed request fails with ``Overloaded``.
        answers_per_address: how many of these keys, the newest ones, keep their answers. Repeating an older key fails
            with ``AnswerNotKept`` and is not applied again.
        idempotency_ttl: how long an idempotency key is kept. A later repeat is a new request.
        history_retention: how long events in the log are kept. Every ten minutes the engine deletes the older ones.
            ``"0 ms"``: no event is written.
        history_events: how many events the log keeps, over all instances. Every ten minutes the engine deletes the
            oldest beyond it. 0: no event is written.
        message_deliveries: a message's deliveries that end in a defect or an overload. After the last one it becomes a
            dead letter.
        dead_letter_retention: how long a dead letter is kept, from when its message was sent. Then it is deleted.
        alarm_batch: due instances that are read from the store at once while requests arrive. Otherwise three times
            as many.
        replay_chunk: instructions that a workflow replay answers before the engine's other work gets its turn.
        journal_page: workflow journal rows that one read returns, each up to ``payload_bytes``. A run keeps all journal
            rows in memory. One commit holds at most one result for each step that runs at the same time.
        message_batch: messages to one job that are delivered at the same time, one for each sender and target. Further
            ones wait in the store. Of several jobs, each next one has half of what the others leave of twice as many,
            and at least one.
        recovery_page: rows that the engine reads or deletes at a time when it looks after its store: runs that a crash
            interrupted, instances that other code left, rows past their retention.
        queued_items: waiting items in a pool in memory. Further ones are read from the store when their turn is near.
        lane_page: keys in a pool whose names, or whose first items, are read from the store at once.
        shutdown_timeout: how long a graceful shutdown waits for runs before it cancels them. The next start delivers
            them again.
        idempotency_ttl_ms: the same in milliseconds. The following fields likewise.
        history_retention_ms: see ``history_retention``.
        dead_letter_retention_ms: see ``dead_letter_retention``.
        shutdown_timeout_ms: see ``shutdown_timeout``.

    Raises:
        DefinitionError: a limit is not a whole number or duration in its range.
    """

    concurrency: int = 256
    mailbox_size: int = 1_000
    max_pending: int = 10_000
    waits: int = 10_000
    on_full: OnFull = "reject"
    state_bytes: int = 1_048_576
    payload_bytes: int = 262_144
    messages_per_turn: int = 1_000
    keys_per_address: int = 10_000_000
    answers_per_address: int = 10_000
    idempotency_ttl: Duration = _duration("1 day")
    history_retention: Duration = _duration("7 days")
    history_events: int = 1_000_000
    message_deliveries: int = 10
    dead_letter_retention: Duration = _duration("90 days")
    alarm_batch: int = 64
    replay_chunk: int = 500
    journal_page: int = 256
    message_batch: int = 256
    recovery_page: int = 500
    queued_items: int = 4_096
    lane_page: int = 64
    shutdown_timeout: Duration = _duration("30 seconds")
    idempotency_ttl_ms: int = _ms_of("idempotency_ttl")
    history_retention_ms: int = _ms_of("history_retention")
    dead_letter_retention_ms: int = _ms_of("dead_letter_retention")
    shutdown_timeout_ms: int = _ms_of("shutdown_timeout")

    def __attrs_post_init__(self) -> None:
        if self.on_full not in get_args(OnFull):
            raise DefinitionError("on_full of the limits", self.on_full, "'reject' or 'block'")
        for name in WHOLE_NUMBERS:
            value, least = getattr(self, name), 0 if name in MAY_BE_ZERO else 1
            if type(value) is not int or value < least:
                raise DefinitionError(f"{name} of the limits", value, f"a whole number from {least}")

    @property
    def keeps_history(self) -> bool:
        """Whether the log keeps events at all."""
        return self.history_events > 0 and self.history_retention_ms > 0


WHOLE_NUMBERS = (
    "concurrency",
    "mailbox_size",
    "max_pending",
    "waits",
    "state_bytes",
    "payload_bytes",
    "messages_per_turn",
    "keys_per_address",
    "answers_per_address",
    "history_events",
    "message_deliveries",
    "alarm_batch",
    "replay_chunk",
    "journal_page",
    "message_batch",
    "recovery_page",
    "queued_items",
    "lane_page",
)

MAY_BE_ZERO = ("messages_per_turn", "history_retention", "history_events", "shutdown_timeout")
"""Limits that may be 0: a turn may send no message, the log may keep no event, a shutdown may cancel runs at once."""
