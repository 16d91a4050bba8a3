"""Live events: what an engine does besides its transitions. Sinks receive them. No store keeps them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar, Literal, TypeAlias

import attrs

from perdure.values.event import Event
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Cause
from perdure.values.status import FailureRecord
from perdure.values.times import from_ms


@attrs.frozen(kw_only=True)
class LiveHeader:
    """Every live event's field.

    Attributes:
        at_ms: the event's time, integer milliseconds UTC.
    """

    __repr__ = fields_in_line

    at_ms: int

    @property
    def at(self) -> datetime:
        """The event's time, in UTC."""
        return from_ms(self.at_ms)


@attrs.frozen(kw_only=True, repr=False)
class EngineStarted(LiveHeader):
    """An engine started on a store.

    Attributes:
        store: the store's name.
        epoch: how many times the store has been opened.
        recovered: how many claims from an earlier engine it delivers again. 0 on a shared store, where the engine takes
            its share after it has started.
    """

    type: ClassVar[str] = "engine.started"
    store: str
    epoch: int
    recovered: int


@attrs.frozen(kw_only=True, repr=False)
class EngineStopped(LiveHeader):
    """An engine stopped, or accepts no more requests after a fatal error. Told once.

    Attributes:
        store: the store's name.
        reason: why it stopped itself. Empty if it was told to stop.
    """

    type: ClassVar[str] = "engine.stopped"
    store: str
    reason: str = ""


@attrs.frozen(kw_only=True, repr=False)
class LeaseLost(LiveHeader):
    """An engine's lease on a shared store ended before the engine closed the store.

    Each engine that shared the store with it reports that, and so does the engine itself if its process still works.

    Attributes:
        store: the store's name.
        epoch: the engine whose lease ended.
        label: that engine's process.
    """

    type: ClassVar[str] = "engine.lease_lost"
    store: str
    epoch: int
    label: str


RequestOutcome: TypeAlias = Literal["ok", "rejected", "failed", "refused", "unavailable", "unknown", "cancelled"]
"""How a request ended for its caller: ``ok``; ``rejected`` by a typed error of the job; ``failed`` by a defect, by a
timeout, or because its run failed; ``refused`` before it changed anything; the store was ``unavailable``; its outcome
is ``unknown``; or the caller ``cancelled`` it and gets no answer."""


@attrs.frozen(kw_only=True, repr=False)
class RequestEnded(LiveHeader):
    """A caller's request ended. Alarms and messages are not callers' requests.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        action: the command.
        outcome: how it ended.
        error: the error's class. The job's own error class if the job rejected the request. Empty if there is none.
        waited_ms: how long it waited in its instance's mailbox, in milliseconds.
        took_ms: the time from its acceptance to its answer, in milliseconds.
        by: the caller's token name. None for a caller in this process.
    """

    type: ClassVar[str] = "request.ended"
    address: str
    action: str
    outcome: RequestOutcome
    error: str = ""
    waited_ms: float
    took_ms: float
    by: str | None = None


@attrs.frozen(kw_only=True, repr=False)
class EventRejected(LiveHeader):
    """A job's ``on_event`` hook rejected an event with a typed error. Nothing was stored.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        error: the error.
    """

    type: ClassVar[str] = "event.rejected"
    address: str
    error: FailureRecord


@attrs.frozen(kw_only=True, repr=False)
class EngineOverloaded(LiveHeader):
    """A full queue refused a request.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        queue: the queue that was full.
        limit: its size.
    """

    type: ClassVar[str] = "engine.overloaded"
    address: str
    queue: str
    limit: int


@attrs.frozen(kw_only=True, repr=False)
class AlarmFired(LiveHeader):
    """A due alarm's turn began.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        due_ms: when it was due, integer milliseconds UTC.
    """

    type: ClassVar[str] = "alarm.fired"
    address: str
    due_ms: int

    @property
    def lateness(self) -> timedelta:
        """How late the turn began. Never negative."""
        return timedelta(milliseconds=max(0, self.at_ms - self.due_ms))


@attrs.frozen(kw_only=True, repr=False)
class RunClaimed(LiveHeader):
    """A run was claimed: its program may perform effects now.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        run_id: the run.
        cause: its cause.
        attempt: the run's failures, plus 1.
        delivery: this attempt's claims, this one included.
    """

    type: ClassVar[str] = "run.claimed"
    address: str
    run_id: str
    cause: Cause
    attempt: int
    delivery: int


CommitOutcome: TypeAlias = Literal["committed", "conflict", "unavailable", "unknown"]
"""What the store answered to a commit."""


@attrs.frozen(kw_only=True, repr=False)
class StoreCommitted(LiveHeader):
    """The store answered a commit.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        outcome: the answer.
        took_ms: how long it took, in milliseconds.
        size_bytes: the state's size, the messages and the transition's stored answer.
    """

    type: ClassVar[str] = "store.committed"
    address: str
    outcome: CommitOutcome
    took_ms: float
    size_bytes: int


@attrs.frozen(kw_only=True, repr=False)
class CommitSlow(LiveHeader):
    """A commit took longer than a second.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        took_ms: how long it took, in milliseconds.
    """

    type: ClassVar[str] = "store.slow"
    address: str
    took_ms: float


@attrs.frozen(kw_only=True, repr=False)
class MessageDelivered(LiveHeader):
    """A message was delivered to its target.

    Attributes:
        message_id: the message.
        sender: the instance that sent it, printed ``kind:name:id``.
        target: the instance that received it.
        action: the command.
        outcome: whether it is done, will be delivered again, or failed for good.
        waited_ms: the time since its sender's turn began, in milliseconds.
    """

    type: ClassVar[str] = "message.delivered"
    message_id: int
    sender: str
    target: str
    action: str
    outcome: Literal["consumed", "postponed", "dead_lettered"]
    waited_ms: int


@attrs.frozen(kw_only=True, repr=False)
class LoopBlocked(LiveHeader):
    """One call held the event loop for longer than the limit. Nothing else ran in this process's loop meanwhile.

    Attributes:
        function: the hook, the effect, or another function of the application.
        place: its file and line, as ``path:line``.
        took_ms: how long it held the loop at least, in milliseconds.
    """

    type: ClassVar[str] = "loop.blocked"
    function: str
    place: str
    took_ms: float


LiveEvent: TypeAlias = (
    EngineStarted
    | EngineStopped
    | LeaseLost
    | RequestEnded
    | EventRejected
    | EngineOverloaded
    | AlarmFired
    | RunClaimed
    | StoreCommitted
    | CommitSlow
    | MessageDelivered
    | LoopBlocked
)

AnyEvent: TypeAlias = Event | LiveEvent
"""Everything that a sink is told."""

LIVE_EVENT_TYPES: dict[str, type[LiveEvent]] = {
    cls.type: cls
    for cls in (
        EngineStarted,
        EngineStopped,
        LeaseLost,
        RequestEnded,
        EventRejected,
        EngineOverloaded,
        AlarmFired,
        RunClaimed,
        StoreCommitted,
        CommitSlow,
        MessageDelivered,
        LoopBlocked,
    )
}
"""Every live event class by the name of its type."""
