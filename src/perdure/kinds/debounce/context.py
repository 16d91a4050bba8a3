"""A debounce's context, commands and stored data."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import attrs

from perdure.codecs import Codec
from perdure.jobs.context import JobContext
from perdure.programs import Program
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen, turn_value

S = TypeVar("S")

FlushReason: TypeAlias = Literal["flush_after", "inactivity", "max_events", "manual"]
"""Why a batch flushed."""


@turn_value
class AddCommand:
    """Add an event to the batch."""

    __repr__ = fields_in_line

    event: Any  # of the definition's own type


@frozen
class FlushCommand:
    """Flush the batch now."""


@frozen
class ClearCommand:
    """Discard the batch."""


@turn_value(repr=False)
class DebounceContext(JobContext[S], Generic[S]):
    """The context that a debounce's hooks receive.

    In ``execute`` the state belongs to the batch being flushed. Changing it has no effect: the batch is dropped when
    the flush succeeds, and kept unchanged when it fails.

    Attributes:
        event_count: how many events the batch has. In ``on_event``, how many it had before this one.
        started_at: when the first event in the batch arrived.
        flush_reason: why the batch flushes. None in ``on_event``.
    """

    event_count: int = attrs.field(kw_only=True)
    started_at: datetime = attrs.field(kw_only=True)
    flush_reason: FlushReason | None = attrs.field(default=None, kw_only=True)


@frozen(kw_only=True)
class CollectingBatch:
    """The batch that collects events. Its state is the instance's own. Integer milliseconds UTC.

    Attributes:
        event_count: how many events in it.
        started_ms: when its first event arrived.
        reason: why it will flush then.
    """

    event_count: int
    started_ms: int
    flush_ms: int
    reason: FlushReason = "flush_after"


@frozen(kw_only=True)
class FrozenBatch:
    """The batch that is being flushed, waits for a retry, or is parked. No event is added to it."""

    __repr__ = fields_in_line

    state: str
    event_count: int
    started_ms: int
    reason: FlushReason


@frozen(kw_only=True)
class Batches:
    """A debounce's stored data, without the collecting batch's state."""

    collecting: CollectingBatch | None = None
    flushing: FrozenBatch | None = None


BATCHES: Codec[Batches] = Codec.of(Batches, what="batches of a debounce")

HookProgram = Callable[..., Program[Any, Any, Any]]  # a user's hook, of any types


@frozen(kw_only=True)
class Batching:
    """A debounce's timing and functions.

    Attributes:
        flush_after_ms: a batch flushes at the latest this long after its first event.
        inactivity_ms: a batch flushes this long after its last event. None: events do not delay the flush.
        max_events: a batch flushes immediately when it has this many events. None: no such limit.
        initial: an empty batch's encoded state. None: a batch begins with its first event as the state.
        on_event: adds an event to the state.
    """

    __repr__ = fields_in_line

    flush_after_ms: int
    inactivity_ms: int | None
    max_events: int | None
    initial: str | None
    on_event: HookProgram
    execute: HookProgram
